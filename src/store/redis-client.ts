/** The client library, set up for wherever Redis is. */

import { Redis } from 'ioredis';
import { Fault } from '../errors.ts';
import { redisCode } from './redis-fault.ts';
import { fixedOptions, type HostPort, isSame, type RedisAccess, type RedisTarget } from './redis-options.ts';
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

export type RedisClient = {
  readonly redis: Redis;
  /** Another connection to the server that is in use, which goes where that one goes. */
  readonly openBeside: () => Redis;
  readonly close: () => Promise<void>;
};

const besideDelayMs = 500;

/** A failover has left us with what is no longer the primary: it is looked for anew. */
const misplaced: ReadonlySet<string> = new Set(['READONLY', 'MOVED', 'CLUSTERDOWN', 'MASTERDOWN']);

export function createRedisClient(options: RedisClientOptions): RedisClient {
  const { access, target, timeoutMs, logins, onLocated, retryDelayMs } = options;
  const { place } = target;
  const openSocket = createOpenSocket(target.tls);
  const asking = { timeoutMs, openSocket, tls: target.tls, login: locatorLogin(access, logins) };
  const locate = createLocate({ place, ...asking });
  let current: HostPort | null = null;
  const beside = new Map<Redis, HostPort>();
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
        for (const [other, its] of beside) if (!isSame(at, its)) other.disconnect(true);
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

  function openBeside(): Redis {
    const other: Redis = new Redis({
      ...fixedOptions(timeoutMs),
      ...loginOptions(logins.current()),
      ...(target.tls === null ? {} : { tls: {} }),
      Connector: connectorTo({
        locate: async () => {
          if (current === null) throw new Fault('DISCONNECTED', 'is not connected');
          return current;
        },
        openSocket,
        onLocated: (at) => beside.set(other, at),
      }),
      retryStrategy: () => {
        // The password is read again by the connection that checks its server.
        Object.assign(other.options, loginOptions(logins.current()));
        return besideDelayMs * (0.75 + Math.random() / 2);
      },
    });
    // What is wrong with the server is told by the connection that this one goes beside.
    other.on('error', () => {});
    other.once('end', () => beside.delete(other));
    return other;
  }

  return {
    redis,
    openBeside,
    close: async () => {
      watch?.close();
      logins.close();
      await Promise.all([redis, ...beside.keys()].map(disconnect));
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
