/** One connection to Redis that comes back by itself, and knows whether the server at its end is fit for use. */

import { Redis } from 'ioredis';
import { Fault, StoreFault } from '../errors.ts';
import { redisCode, storeFault } from './redis-fault.ts';
import { addressOptions, fixedOptions, parseAddress } from './redis-options.ts';

export type StoreState = 'up' | 'down';

/** The part of a pino logger that the store uses. */
export type StoreLogger = {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
};

export type RedisConnectionOptions = {
  /** redis:// or rediss://, with an optional user, password and database number, and nothing else. */
  readonly url: string;
  /** Goes before a password in the URL. */
  readonly password?: string | undefined;
  readonly timeoutMs: number;
  /** Called on each change, and once for the first connection or its failure. Must not throw. */
  readonly onStateChange?: ((state: StoreState) => void) | undefined;
  readonly logger?: StoreLogger | undefined;
};

export type RedisConnection = {
  readonly redis: Redis;
  isUp(): boolean;
  /** Why the connection can't be used right now. */
  fault(): StoreFault;
  /** Turns an error of the client library into a fault. */
  translate(error: unknown): StoreFault;
  /** The fault by this code; see redis-fault.ts. */
  faultOf(code: 'TIMEOUT' | 'BACKLOG' | 'ANSWER'): StoreFault;
  /** Resolves when the connection is usable; rejects with why not after the timeout. */
  whenUp(): Promise<void>;
  /** Settles with `promise`, or rejects with a fault after the timeout. */
  within<T>(promise: Promise<T>): Promise<T>;
  close(): Promise<void>;
};

const reconnectDelayMaxMs = 2000;

export function createRedisConnection(options: RedisConnectionOptions): RedisConnection {
  const { timeoutMs, onStateChange, logger } = options;
  const address = parseAddress(options.url);
  const server = `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
  let failures = 0;
  let state: StoreState | null = null;
  let problem = 'DISCONNECTED';
  let isClosed = false;
  const waiting = createWaiting();

  const redis = new Redis({
    ...fixedOptions(timeoutMs),
    ...addressOptions(address, options.password ?? address.password),
    // Doubles from 50 ms, with jitter so that a fleet does not return in step. Ours counts until a server proves fit.
    retryStrategy: () => Math.min(50 * 2 ** Math.min(failures++, 10), reconnectDelayMaxMs) * (0.75 + Math.random() / 4),
    // A failover left us with what is now a replica: the name may lead to the new primary.
    reconnectOnError: (error: unknown) => redisCode(error) === 'READONLY',
  });

  function change(next: StoreState): void {
    if (state === next || isClosed) return;
    state = next;
    if (next === 'up') {
      waiting.wakeAll();
      logger?.info({ server }, 'the store is up');
    } else {
      logger?.warn({ server, code: problem }, storeFault(server, problem).message);
    }
    onStateChange?.(next);
  }

  redis.on('error', (error: unknown) => {
    problem = redisCode(error);
  });
  redis.on('close', () => {
    change('down');
  });
  redis.on('ready', () => {
    const inspected = within(redis.info()).then(
      (info) => inspectInfo(info, server, logger),
      (error: unknown) => inspectFailure(error, server, logger),
    );
    inspected.then((found) => {
      if (isClosed) return;
      if (found !== null) {
        problem = found;
        change('down');
        redis.disconnect(true);
        return;
      }
      failures = 0;
      problem = 'DISCONNECTED';
      change('up');
    });
  });

  function within<T>(promise: Promise<T>): Promise<T> {
    return settledWithin(promise, timeoutMs, () => storeFault(server, 'TIMEOUT'));
  }

  const fault = () => storeFault(server, isClosed ? 'CLOSED' : problem);

  return {
    redis,
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
      return disconnect(redis);
    },
  };
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

/** Null where the server is fit for use, else the code of what is wrong with it. */
function inspectInfo(info: string, server: string, logger: StoreLogger | undefined): string | null {
  const fields = new Map(info.split('\r\n').map((line) => [line.split(':', 1)[0], line.slice(line.indexOf(':') + 1)]));
  if (fields.get('loading') === '1') return 'LOADING';
  if (fields.get('role') === 'slave') return 'READONLY';
  if (!isVersionAtLeast(fields.get('redis_version') ?? '', 6, 2)) return 'VERSION';
  const policy = fields.get('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    logger?.warn(
      { server, policy },
      'Redis may evict keys when memory is short, and with them revocations and used proofs; ' +
        'set maxmemory-policy noeviction',
    );
  }
  return null;
}

function inspectFailure(error: unknown, server: string, logger: StoreLogger | undefined): string | null {
  const code = error instanceof Fault ? 'TIMEOUT' : redisCode(error);
  if (code !== 'NOPERM') return code;
  logger?.warn({ server }, 'the Redis user may not run INFO, so version and maxmemory-policy are unchecked');
  return null;
}

function isVersionAtLeast(version: string, major: number, minor: number): boolean {
  const [first = 0, second = 0] = version.split('.').map(Number);
  return first > major || (first === major && second >= minor);
}
