/** One connection to Redis that comes back by itself, and knows whether the server at its end is fit for use. */

import type { Redis } from 'ioredis';
import { Fault, StoreFault } from '../errors.ts';
import { createRedisClient } from './redis-client.ts';
import { redisCode, storeFault } from './redis-fault.ts';
import { createWarn, faultIn, readInfo, type ServerInfo } from './redis-fitness.ts';
import { formatHostPort, type RedisAccess, type RedisPlace, readTarget } from './redis-options.ts';
import { createLogins } from './redis-password.ts';

export type StoreState = 'up' | 'down';

/** The part of a pino logger that the store uses. */
export type StoreLogger = {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
};

export type RedisConnectionOptions = RedisAccess & {
  readonly timeoutMs: number;
  /** Called on each change, and once for the first connection or its failure. Must not throw. */
  readonly onStateChange?: ((state: StoreState) => void) | undefined;
  readonly logger?: StoreLogger | undefined;
  /** Compared with the clock of Redis. */
  readonly clock?: (() => number) | undefined;
  readonly passwordPollMs?: number | undefined;
};

export type RedisConnection = {
  readonly redis: Redis;
  /** Another connection to the same server, for what would keep this one busy. Ends with this one. */
  openBeside(): Redis;
  isUp(): boolean;
  /** Why the connection can't be used right now. */
  fault(): StoreFault;
  /** Turns an error of the client library into a fault. */
  translate(error: unknown): StoreFault;
  /** The fault by this code; see redis-fault.ts. */
  faultOf(code: 'TIMEOUT' | 'BACKLOG' | 'ANSWER' | 'EMPTIED'): StoreFault;
  /** Resolves when the connection is usable; rejects with why not after the timeout. */
  whenUp(): Promise<void>;
  /** Settles with `promise`, or rejects with a fault after the timeout. */
  within<T>(promise: Promise<T>): Promise<T>;
  close(): Promise<void>;
};

const reconnectDelayMaxMs = 2000;
const passwordPollMsUsual = 5000;

export function createRedisConnection(options: RedisConnectionOptions): RedisConnection {
  const { timeoutMs, onStateChange, logger, clock = Date.now } = options;
  const target = readTarget(options);
  const { place } = target;
  let server = describePlace(place);
  let failures = 0;
  let state: StoreState | null = null;
  let problem: Problem = { code: 'DISCONNECTED', detail: null };
  let isClosed = false;
  const waiting = createWaiting();

  const logins = createLogins({
    username: target.username,
    file: options.passwordFile,
    fixed: target.password,
    pollMs: options.passwordPollMs ?? passwordPollMsUsual,
    authenticate: (password) =>
      state === 'up' ? within(redis.call('AUTH', credentials(target.username, password))) : null,
    onNews: (level, text) => logger?.[level]({ server }, text),
  });
  const client = createRedisClient({
    access: options,
    target,
    timeoutMs,
    logins,
    onLocated: (at) => {
      server = formatHostPort(at);
    },
    // Doubles from 50 ms, with jitter so that a fleet does not return in step. Ours counts until a server proves fit.
    retryDelayMs: () => Math.min(50 * 2 ** Math.min(failures++, 10), reconnectDelayMaxMs) * (0.75 + Math.random() / 4),
  });
  const { redis } = client;
  const warn = createWarn(place.kind, clock, ({ check, text }) => logger?.warn({ server, check }, text));

  function change(next: StoreState): void {
    if (state === next || isClosed) return;
    state = next;
    if (next === 'up') {
      waiting.wakeAll();
      logger?.info({ server }, 'the store is up');
    } else {
      logger?.warn({ server, code: problem.code }, fault().message);
    }
    onStateChange?.(next);
  }

  redis.on('error', (error: unknown) => {
    problem = problemOf(error);
  });
  redis.on('close', () => {
    change('down');
  });
  redis.on('ready', () => {
    within(inspect()).then(
      (info) => {
        if (isClosed) return;
        failures = 0;
        problem = { code: 'DISCONNECTED', detail: null };
        change('up');
        // A connection that is cut meanwhile is looked at again when it is back.
        within(warn(redis, info)).catch(() => {});
      },
      (error: unknown) => {
        if (isClosed) return;
        problem = problemOf(error);
        change('down');
        redis.disconnect(true);
      },
    );
  });

  async function inspect(): Promise<ServerInfo> {
    const info = await readInfo(redis);
    const code = await faultIn(redis, info, place.kind);
    if (code !== null) throw new Fault(code, code);
    return info;
  }

  function within<T>(promise: Promise<T>): Promise<T> {
    return settledWithin(promise, timeoutMs, () => storeFault(server, 'TIMEOUT'));
  }

  function fault(): StoreFault {
    return isClosed ? storeFault(server, 'CLOSED') : storeFault(server, problem.code, problem.detail);
  }

  return {
    redis,
    openBeside: client.openBeside,
    isUp: () => state === 'up' && !isClosed,
    fault,
    faultOf: (code) => storeFault(server, code),
    translate: (error) => {
      if (error instanceof StoreFault) return error;
      const code = redisCode(error);
      return code === 'DISCONNECTED' ? fault() : storeFault(server, code);
    },
    whenUp: async () => {
      if (isClosed) throw fault();
      if (state !== 'up') await settledWithin(waiting.next(), timeoutMs, fault);
    },
    within,
    close: () => {
      isClosed = true;
      return client.close();
    },
  };
}

/** What AUTH takes. */
function credentials(username: string | null, password: string): string[] {
  return username === null ? [password] : [username, password];
}

function describePlace(place: RedisPlace): string {
  if (place.kind === 'server') return formatHostPort(place.at);
  return place.kind === 'sentinel' ? `${place.name} of Sentinel` : place.seeds.map(formatHostPort).join();
}

type Problem = { readonly code: string; readonly detail: string | null };

function problemOf(error: unknown): Problem {
  if (error instanceof StoreFault) return { code: 'TIMEOUT', detail: null };
  const code = redisCode(error);
  return { code, detail: error instanceof Fault && error.message !== code ? error.message : null };
}

/** One promise for all who wait for the connection, so that asking often while it is down costs nothing. */
function createWaiting() {
  let shared = Promise.withResolvers<void>();
  return {
    next: () => shared.promise,
    wakeAll: () => {
      shared.resolve();
      shared = Promise.withResolvers();
    },
  };
}

/** Settles with `promise`, or rejects with the fault of that moment after the timeout. */
function settledWithin<T>(promise: Promise<T>, timeoutMs: number, fault: () => StoreFault): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(fault()), timeoutMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
