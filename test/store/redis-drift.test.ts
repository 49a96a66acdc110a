import { Redis } from 'ioredis';
import { expect, inject, onTestFinished, test } from 'vitest';
import { StoreFault } from '../../src/errors.ts';
import { createRedisConnection } from '../../src/store/redis-connection.ts';
import { createRedisDrift } from '../../src/store/redis-drift.ts';
import { uniquePrefix } from '../support/redis-server.ts';
import { driftStoreContract } from './drift.contract.ts';

const url = inject('redisUrl');

async function open(prefix = uniquePrefix()) {
  const connections = [0, 1].map(() => createRedisConnection({ url, timeoutMs: 5000 }));
  const stores = connections.map((connection) => createRedisDrift(connection, prefix));
  for (const connection of connections) onTestFinished(() => connection.close());
  await Promise.all(connections.map((connection) => connection.whenUp()));
  const [one, other] = stores;
  if (one === undefined || other === undefined) throw new Error('two stores were opened');
  return [one, other] as const;
}

driftStoreContract(() => open());

test('keeps its keys in the one slot of all others, and lets them expire', async () => {
  const prefix = uniquePrefix();
  const [store] = await open(prefix);
  await store.write('agent:a', null, Uint8Array.of(1), 60_000);
  const redis = new Redis(url);
  onTestFinished(() => redis.disconnect());
  const key = `${prefix}{v1}:drift:agent:a`;
  expect(await redis.keys(`${prefix}*`)).toEqual([key]);
  expect(await redis.pttl(key)).toBeGreaterThan(50_000);
});

test('is a fault of the store where Redis holds something else', async () => {
  const prefix = uniquePrefix();
  const [store] = await open(prefix);
  const redis = new Redis(url);
  onTestFinished(() => redis.disconnect());
  await redis.set(`${prefix}{v1}:drift:a`, 'x');
  await expect(store.read('a')).rejects.toBeInstanceOf(StoreFault);
  await expect(store.write('a', null, Uint8Array.of(1), null)).rejects.toBeInstanceOf(StoreFault);
});
