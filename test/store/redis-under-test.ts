/** Redis servers and stores that end with the test that opened them. */

import { inspect } from 'node:util';
import { expect, onTestFinished, vi } from 'vitest';
import { Fault, StoreFault } from '../../src/errors.ts';
import type { Store } from '../../src/store/port.ts';
import { createRedisStore, type RedisStore, type RedisStoreOptions } from '../../src/store/redis.ts';
import { type RedisServer, type RedisServerOptions, startRedis, uniquePrefix } from '../support/redis-server.ts';

/** How long a test waits for what takes a reconnect or two. */
export const waitMs = 10_000;

/** A server of the test's own. */
export async function serve(options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await startRedis(options);
  onTestFinished(() => server.stop());
  return server;
}

export function open(url: string, options: Partial<RedisStoreOptions> = {}): Store {
  return openAt({ url, ...options });
}

/** Where there is no one URL. */
export function openAt(options: Partial<RedisStoreOptions>): RedisStore {
  const store = createRedisStore({ prefix: uniquePrefix(), timeoutMs: 2000, ...options });
  onTestFinished(() => store.close());
  return store;
}

export async function usable(store: Store): Promise<void> {
  await vi.waitFor(() => store.ping(), waitMs);
}

/** The finer code of the fault that a call ends with. */
export async function faultCode(call: Promise<unknown>): Promise<string> {
  const error: unknown = await call.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof StoreFault) || !(error.cause instanceof Fault))
    throw new Error(`no store fault: ${inspect(error)}`);
  expect(error.code).toBe('store_unavailable');
  return error.cause.code;
}

export function recorder() {
  const lines: { readonly level: string; readonly fields: object; readonly message: string }[] = [];
  const log = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields, message });
  };
  return { lines, logger: { info: log('info'), warn: log('warn') } };
}
