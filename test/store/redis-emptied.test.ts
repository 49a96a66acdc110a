import { Redis } from 'ioredis';
import { expect, inject, onTestFinished, test } from 'vitest';
import type { CheckRequest, Store } from '../../src/store/port.ts';
import { createRedisStore } from '../../src/store/redis.ts';
import { createTestClock } from '../support/clock.ts';
import { uniquePrefix } from '../support/redis-server.ts';
import { meter, proof, request, revocation } from './samples.ts';

const calmMs = 10_000;
const emptied = { cause: { code: 'redis_emptied' } };

async function openStore(prefix: string): Promise<Store> {
  const store = createRedisStore({ url: inject('redisUrl'), prefix, timeoutMs: 5000, clock: createTestClock() });
  onTestFinished(() => store.close());
  await store.ping();
  return store;
}

/** Copies nothing: only how far it has come matters here. */
async function follow(store: Store): Promise<void> {
  const { outcome, position } = await store.changes(null);
  expect(outcome).toBe('gap');
  expect((await store.changes(position)).outcome).toBe('followed');
}

async function startFollowed() {
  const prefix = uniquePrefix();
  const store = await openStore(prefix);
  await follow(store);
  const { position } = await store.changes(null);
  const redis = new Redis(inject('redisUrl'));
  onTestFinished(() => redis.disconnect());
  const empty = async () => void (await redis.del(...(await redis.keys(`${prefix}*`))));
  return { store, prefix, position, redis, empty };
}

const nowMs = createTestClock()();
const at = (ms: number, more: Partial<CheckRequest> = {}) => request({ nowMs: nowMs + ms, ...more });

test('a store is asked at once where nobody has known another one', async () => {
  const { store } = await startFollowed();
  expect(await store.check(at(0, { singleUse: { ...proof('p'), madeAtMs: nowMs } }))).toMatchObject({
    isReplay: false,
  });
});

test('an emptied store gives no answer, and counts nothing, until it has been followed anew', async () => {
  const { store, position, redis, prefix, empty } = await startFollowed();
  await empty();
  const asked = at(60_000, { singleUse: { ...proof('p'), madeAtMs: nowMs + 60_000 }, meters: [meter()] });
  await expect(store.check(asked)).rejects.toMatchObject(emptied);
  expect((await store.changes(position)).outcome).toBe('lost');
  await expect(store.check(asked)).rejects.toMatchObject(emptied);
  expect(await redis.keys(`${prefix}*proof*`)).toEqual([]);
  expect(await redis.keys(`${prefix}*meter*`)).toEqual([]);
  await follow(store);
  expect(await store.check(asked)).toMatchObject({ isReplay: false, counts: [1] });
});

test('what was made until ten seconds after is refused for good, by sidecars that have come since too', async () => {
  const { store, position, redis, prefix, empty } = await startFollowed();
  await empty();
  expect((await store.changes(position)).outcome).toBe('lost');
  await follow(store);
  const other = await openStore(prefix);
  for (const asker of [store, other]) {
    await expect(asker.check(at(calmMs - 1))).rejects.toMatchObject(emptied);
    const made = { ...proof('p'), madeAtMs: nowMs + calmMs - 1 };
    await expect(asker.check(at(calmMs + 50_000, { singleUse: made, meters: [meter()] }))).rejects.toMatchObject(
      emptied,
    );
    // A proof that is dated ahead says nothing about what is revoked.
    const ahead = { ...proof('p'), madeAtMs: nowMs + calmMs };
    await expect(asker.check(at(calmMs - 1, { singleUse: ahead }))).rejects.toMatchObject(emptied);
  }
  expect(await redis.keys(`${prefix}*proof*`)).toEqual([]);
  const fresh = { ...proof('p'), madeAtMs: nowMs + calmMs };
  const asked = at(calmMs, { singleUse: fresh, meters: [meter()] });
  expect(await store.check(asked)).toMatchObject({ isReplay: false, counts: [1] });
  expect(await other.check(asked)).toMatchObject({ isReplay: true });
});

test('what is known to be revoked is said meanwhile, and others of the same batch get no answer', async () => {
  const { store, position, empty } = await startFollowed();
  await empty();
  await store.changes(position);
  await follow(store);
  await store.revoke(revocation({ handle: 'a' }));
  const [revoked, unknown] = await Promise.allSettled([store.check(at(1, { handles: ['a'] })), store.check(at(1))]);
  expect(revoked).toMatchObject({ status: 'fulfilled', value: { revokedIndex: 0 } });
  expect(unknown).toMatchObject({ status: 'rejected', reason: emptied });
});

test('the ten seconds begin once, however many sidecars notice', async () => {
  const { store, position, prefix, redis, empty } = await startFollowed();
  await empty();
  await store.changes(position);
  const key = `${prefix}{v1}:revoked:meta`;
  await redis.hset(key, 'emptied', String(nowMs - 3000));
  expect((await store.changes(position)).outcome).toBe('lost');
  expect(await redis.hget(key, 'emptied')).toBe(String(nowMs - 3000));
});
