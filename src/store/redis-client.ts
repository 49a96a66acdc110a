/** The client library, set up for wherever Redis is. */

import { Redis } from 'ioredis';
import { redisCode } from './redis-fault.ts';
import { fixedOptions, type HostPort, type RedisAccess, type RedisTarget } from './redis-options.ts';
import { type Login, type Logins, loginOptions, readPasswordFile } from './redis-password.ts';
import { createLocate } from './redis-primary.ts';
import { connectorTo, createOpenSocket } from './redis-socket.ts';
import { watchSentinels } from './redis-watch.ts';

export type RedisClientOptions = {
  readonly access: RedisAccess;
  readonly target: RedisTarget;
  readonly timeoutMs: number;
  readonly logins: Logins;
  /** Called with the server that is about to be connected to. */
  readonly onLocated: (at: HostPort) => void;
  /** How long to wait before connecting anew. */
  readonly retryDelayMs: () => number;
};

export type RedisClient = { readonly redis: Redis; readonly close: () => Promise<void> };

/** A failover has left us with what is no longer the primary: it is looked for anew. */
const misplaced: ReadonlySet<string> = new Set(['READONLY', 'MOVED', 'CLUSTERDOWN', 'MASTERDOWN']);

export function createRedisClient(options: RedisClientOptions): RedisClient {
  const { access, target, timeoutMs, logins, onLocated, retryDelayMs } = options;
  const { place } = target;
  const openSocket = createOpenSocket(target.tls);
  const asking = { timeoutMs, openSocket, tls: target.tls, login: locatorLogin(access, logins) };
  const locate = createLocate({ place, ...asking });
  let current: HostPort | null = null;
  const redis: Redis = new Redis({
    ...fixedOptions(timeoutMs),
    ...loginOptions(logins.current()),
    db: target.db,
    ...(target.tls === null ? {} : { tls: {} }),
    Connector: connectorTo({
      locate,
      openSocket,
      onLocated: (at) => {
        current = at;
        onLocated(at);
      },
    }),
    retryStrategy: () => {
      current = null;
      Object.assign(redis.options, loginOptions(logins.read()));
      return retryDelayMs();
    },
    reconnectOnError: (error: unknown) => misplaced.has(redisCode(error)),
  });
  const watch =
    place.kind === 'sentinel'
      ? watchSentinels({
          ...asking,
          sentinels: place.seeds,
          locate,
          current: () => current,
          onMoved: () => redis.disconnect(true),
        })
      : null;
  return {
    redis,
    close: () => {
      watch?.close();
      logins.close();
      return disconnect(redis);
    },
  };
}

/** Sentinels have accounts of their own; cluster nodes have the same. */
function locatorLogin(access: RedisAccess, logins: Logins): () => Login {
  const { sentinels, sentinelUsername = null, sentinelPasswordFile } = access;
  if (sentinels === undefined) return logins.current;
  return () => ({
    username: sentinelUsername,
    password: sentinelPasswordFile === undefined ? null : readPasswordFile(sentinelPasswordFile),
  });
}

function disconnect(redis: Redis): Promise<void> {
  const isOpen = redis.status === 'connecting' || redis.status === 'connect' || redis.status === 'ready';
  const ended = new Promise<void>((resolve) => {
    if (!isOpen) return resolve();
    // The library destroys a socket that does not end in time, so this always comes.
    redis.once('end', () => resolve());
  });
  redis.disconnect();
  return ended;
}
