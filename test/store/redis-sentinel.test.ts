import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { createRedisStore, type RedisStoreOptions } from '../../src/store/redis.ts';
import { type RedisServer, uniquePrefix } from '../support/redis-server.ts';
import { type Sentinels, startSentinels, using } from '../support/redis-topologies.ts';
import { faultCode, openAt, recorder, usable, waitMs } from './redis-under-test.ts';
import { proof, request, revocation } from './samples.ts';
import { storeContract } from './store.contract.ts';

let trio: Sentinels;
beforeAll(async () => {
  trio = await startSentinels();
});
afterAll(() => trio.stop());

const place = (): Partial<RedisStoreOptions> => ({ sentinels: trio.addresses, sentinelName: trio.name });

/** Everything written so far is on the replica when this resolves. */
const replicated = (server: RedisServer) =>
  using(server, async (redis) => expect(await redis.wait(1, 5000)).toBeGreaterThanOrEqual(1));

describe('the Redis store under Sentinels', () => {
  storeContract(async ({ maxRevocations }) => {
    const prefix = uniquePrefix();
    const open = async () => {
      const store = createRedisStore({ ...place(), prefix, timeoutMs: 5000, maxRevocations });
      await store.ping();
      return store;
    };
    return {
      clients: [await open(), await open()],
      eventually: (probe) => vi.waitFor(async () => expect(await probe()).toBe(true), waitMs),
    };
  });
});

describe('finding the primary', () => {
  test('needs only one Sentinel that answers', async () => {
    const [alive = '', ...others] = trio.addresses;
    const store = openAt({ ...place(), sentinels: [...others.map(() => '127.0.0.1:1'), alive] });
    await usable(store);
  });

  test('fails with a fault that says so where no Sentinel knows the name', async () => {
    const store = openAt({ ...place(), sentinelName: 'another' });
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe('redis_noprimary'), waitMs);
  });

  test('fails with a fault that says so where no Sentinel answers, and is no obstacle to closing', async () => {
    const store = openAt({ ...place(), sentinels: ['127.0.0.1:1'] });
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe('redis_noprimary'), waitMs);
    await store.close();
  });

  test('takes a Sentinel for what it is where it is named as the server', async () => {
    const store = openAt({ url: `redis://${trio.addresses[0]}` });
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe('redis_sentinel'), waitMs);
  });

  test('warns that a failover can forget what no replica has', async () => {
    const { lines, logger } = recorder();
    await usable(openAt({ ...place(), logger }));
    const about = (check: string) => expect.objectContaining({ fields: expect.objectContaining({ check }) });
    await vi.waitFor(() => expect(lines).toContainEqual(about('replicas')), waitMs);
    const primary = await trio.primary();
    await using(primary, (redis) => redis.config('SET', 'min-replicas-to-write', '1'));
    onTestFinished(() =>
      using(primary, async (redis) => void (await redis.config('SET', 'min-replicas-to-write', '0'))),
    );
    const { lines: quiet, logger: other } = recorder();
    await usable(openAt({ ...place(), logger: other }));
    await vi.waitFor(() => expect(quiet).toContainEqual(about('persistence')), waitMs);
    expect(quiet).not.toContainEqual(about('replicas'));
  });
});

describe('a failover', () => {
  test('that is asked for moves the connection to the new primary', async () => {
    const store = openAt(place());
    await usable(store);
    await store.revoke(revocation({ handle: 'h' }));
    const before = await trio.primary();
    await replicated(before);
    await vi.waitFor(() => using(trio.sentinels[0], (redis) => redis.call('SENTINEL', 'FAILOVER', trio.name)), waitMs);
    await vi.waitFor(async () => expect((await trio.primary()).port).not.toBe(before.port), waitMs);
    // The old primary lives on and takes writes, until the Sentinels make a replica of it some ten seconds later.
    const after = await trio.primary();
    const clients = () => using(after, async (redis) => String(await redis.client('LIST')));
    await vi.waitFor(async () => expect((await clients()).split('name=postern ')).toHaveLength(2), waitMs);
    await usable(store);
    expect(await store.check(request({ handles: ['h'] }))).toMatchObject({ revokedIndex: 0 });
    await using(before, (redis) => redis.replicaof('127.0.0.1', after.port));
  });

  test('refuses until a replica is promoted, and then knows every revocation and proof', async () => {
    const prefix = uniquePrefix();
    const [one, other] = [openAt({ ...place(), prefix }), openAt({ ...place(), prefix })];
    await Promise.all([usable(one), usable(other)]);
    await one.revoke(revocation({ handle: 'h' }));
    expect(await one.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: false });
    const before = await trio.primary();
    await replicated(before);
    // It stands still, so that it comes back later and does not know that it was replaced.
    before.pause();
    expect(await faultCode(one.check(request({ singleUse: proof('q') })))).toBe('redis_timeout');
    await vi.waitFor(async () => expect((await trio.primary()).port).not.toBe(before.port), waitMs);
    for (const store of [one, other]) {
      await usable(store);
      expect(await store.check(request({ handles: ['h'] }))).toMatchObject({ revokedIndex: 0 });
      expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: true });
    }
    expect(await one.check(request({ singleUse: proof('r') }))).toMatchObject({ isReplay: false });
    // Back again it takes itself for the primary still, and gets no question: not from those that left it, nor from new ones.
    before.resume();
    const late = openAt({ ...place(), prefix });
    await usable(late);
    for (const store of [one, other, late]) {
      expect(await store.check(request({ singleUse: proof('r') }))).toMatchObject({ isReplay: true });
    }
  });
});
