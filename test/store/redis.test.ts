import { Redis } from 'ioredis';
import { describe, expect, inject, onTestFinished, test, vi } from 'vitest';
import type { FeedPosition, RevocationPage, Store } from '../../src/store/port.ts';
import { createRedisStore, type RedisStoreOptions } from '../../src/store/redis.ts';
import { uniquePrefix } from '../support/redis-server.ts';
import { firstPage, meter, nowMs, proof, request, revocation } from './samples.ts';
import { storeContract } from './store.contract.ts';

const redisUrl = inject('redisUrl');

/** Generous, because the machine that runs the tests may be busy; the timeout itself has tests of its own. */
const timeoutMs = 5000;

async function open(options: Partial<RedisStoreOptions> = {}): Promise<Store> {
  const store = createRedisStore({ url: redisUrl, prefix: uniquePrefix(), timeoutMs, ...options });
  await store.ping();
  return store;
}

/** A client that looks at what the store has written. */
function observer(): Redis {
  const redis = new Redis(redisUrl);
  onTestFinished(() => redis.disconnect());
  return redis;
}

describe('the Redis store', () => {
  storeContract(async ({ maxRevocations }) => {
    const prefix = uniquePrefix();
    return {
      clients: [await open({ prefix, maxRevocations }), await open({ prefix, maxRevocations })],
      eventually: (probe) =>
        vi.waitFor(async () => {
          if (!(await probe())) throw new Error('not yet');
        }, timeoutMs),
    };
  });
});

describe('what the Redis store keeps', () => {
  test('remembers a proof for its whole lifetime from now, and gives every other key of a request an expiry', async () => {
    const prefix = uniquePrefix();
    const store = await open({ prefix });
    onTestFinished(() => store.close());
    await store.check(request({ singleUse: proof('p', 120_000.2), meters: [meter({ windowMs: 3_600_000 })] }));
    const redis = observer();
    const left = await redis.pttl(`${prefix}{v1}:proof:p`);
    expect(left).toBeGreaterThan(119_000);
    expect(left).toBeLessThanOrEqual(120_001);
    const meterLeft = await redis.pttl(`${prefix}{v1}:meter:3600000:calls:agent-7`);
    expect(meterLeft).toBeGreaterThan(3_600_000);
    expect(meterLeft).toBeLessThan(4_000_000);
    expect((await redis.keys(`${prefix}*`)).sort()).toEqual([
      `${prefix}{v1}:meter:3600000:calls:agent-7`,
      `${prefix}{v1}:proof:p`,
    ]);
  });

  test('keeps 34 buckets of a meter at most, however long it is in use', async () => {
    const prefix = uniquePrefix();
    const store = await open({ prefix });
    onTestFinished(() => store.close());
    for (let i = 0; i < 200; i++) {
      await store.check(request({ nowMs: nowMs + i * 1000, meters: [meter({ windowMs: 60_000 })] }));
    }
    expect(await observer().hlen(`${prefix}{v1}:meter:60000:calls:agent-7`)).toBeLessThanOrEqual(34);
  });

  test('leaves nothing of a lifted or replaced revocation but that it happened', async () => {
    const prefix = uniquePrefix();
    const store = await open({ prefix });
    onTestFinished(() => store.close());
    await store.revoke(revocation({ id: 'r-1' }));
    await store.revoke(revocation({ id: 'r-2' }));
    await store.lift('r-2');
    const redis = observer();
    expect((await redis.keys(`${prefix}*`)).toSorted()).toEqual(
      ['feed', 'lifted', 'meta'].map((name) => `${prefix}{v1}:revoked:${name}`),
    );
    expect(await redis.zrange(`${prefix}{v1}:revoked:lifted`, '0', '-1')).toEqual(['r-1', 'r-2']);
  });

  test('forgets an expired revocation an hour late, so that one fast clock cannot forget for all', async () => {
    const prefix = uniquePrefix();
    const clock = { timeMs: nowMs };
    const store = await open({ prefix, clock: () => clock.timeMs });
    onTestFinished(() => store.close());
    await store.revoke(revocation({ id: 'r-1', handle: 'a', expiresAtMs: nowMs + 1000 }));
    const redis = observer();
    clock.timeMs = nowMs + 3_600_999;
    await store.revoke(revocation({ id: 'r-2', handle: 'b' }));
    expect(await redis.hlen(`${prefix}{v1}:revoked:handles`)).toBe(2);
    clock.timeMs = nowMs + 3_601_000;
    await store.revoke(revocation({ id: 'r-3', handle: 'b' }));
    expect(await redis.hkeys(`${prefix}{v1}:revoked:handles`)).toEqual(['b']);
    expect(await redis.hkeys(`${prefix}{v1}:revoked:entries`)).toEqual(['r-3']);
    expect(await redis.zcard(`${prefix}{v1}:revoked:order`)).toBe(1);
    expect(await redis.exists(`${prefix}{v1}:revoked:expiries`)).toBe(0);
  });

  test('copies more entries than one piece of the scan holds', async () => {
    const store = await open();
    onTestFinished(() => store.close());
    const entries = Array.from({ length: 1300 }, (_, i) =>
      revocation({ id: `r-${i}`, handle: `h-${i}`, createdAtMs: nowMs + i }),
    );
    await Promise.all(entries.map((entry) => store.revoke(entry)));
    const copied = new Map<string, unknown>();
    for (let cursor: string | null = null, isFirst = true; isFirst || cursor !== null; isFirst = false) {
      const page: RevocationPage = await store.copy(cursor);
      for (const entry of page.entries) copied.set(entry.id, entry);
      cursor = page.next;
    }
    expect([...copied.keys()].toSorted()).toEqual(entries.map(({ id }) => id).toSorted());
    expect(copied.get('r-7')).toEqual(entries[7]);
    expect((await store.revocations({ ...firstPage, limit: 5 })).entries).toEqual(entries.slice(-5).reverse());
  });

  test('keeps stores under different prefixes apart', async () => {
    const [one, two] = [await open(), await open()];
    onTestFinished(() => Promise.all([one.close(), two.close()]).then(() => undefined));
    await one.revoke(revocation({ handle: 'h' }));
    const asked = request({ handles: ['h'], singleUse: proof('p'), meters: [meter()] });
    await one.check({ ...asked, handles: [] });
    expect(await two.check(asked)).toMatchObject({ revokedIndex: -1, isReplay: false, counts: [1] });
  });
});

describe('a caller that has looked handles up itself', () => {
  async function known() {
    const store = await open();
    onTestFinished(() => store.close());
    await store.revoke(revocation({ id: 'r-1', handle: 'h' }));
    const { position } = await store.changes(null);
    const asked = async (knownAt: FeedPosition | null, handles = ['h', 'later']) =>
      (await store.check(request({ handles, knownAt }))).revokedIndex;
    return { store, position, asked };
  }

  test('is taken at its word where the set is what it was', async () => {
    const { asked, position } = await known();
    expect(await asked(position)).toBe(-1);
    expect(await asked({ ...position })).toBe(-1);
  });

  test.each<readonly [string, (position: FeedPosition) => FeedPosition | null]>([
    ['is none', () => null],
    ['knows another generation', (position) => ({ ...position, generation: 'x' })],
    ['knows another change', (position) => ({ ...position, head: 'x' })],
    ['is behind', (position) => ({ ...position, sequence: position.sequence - 1 })],
    ['is ahead', (position) => ({ ...position, sequence: position.sequence + 1 })],
  ])('is not where it %s', async (_, change) => {
    const { asked, position } = await known();
    expect(await asked(change(position))).toBe(0);
  });

  test('is not once anything has changed, nor for others of the same turn that know less', async () => {
    const { store, asked, position } = await known();
    await store.revoke(revocation({ id: 'r-2', handle: 'later' }));
    expect(await asked(position, ['later'])).toBe(0);
    const { position: now } = await store.changes(null);
    expect(await Promise.all([asked(now), asked(null), asked(position)])).toEqual([0, 0, 0]);
  });
});

describe('the calls of the Redis store', () => {
  test('sends all checks of one turn as one script call, and a turn of more than 64 as few', async () => {
    const store = await open();
    onTestFinished(() => store.close());
    await store.check(request());
    const redis = observer();
    expect(await scriptCalls(redis, store, 64)).toBe(1);
    expect(await scriptCalls(redis, store, 65)).toBe(2);
    expect(await scriptCalls(redis, store, 300)).toBe(5);
  });

  test('goes on after the server has lost its scripts', async () => {
    const store = await open();
    onTestFinished(() => store.close());
    const redis = observer();
    await store.check(request({ singleUse: proof('p'), meters: [meter()] }));
    await redis.script('FLUSH');
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: true });
    await redis.script('FLUSH');
    await store.revoke(revocation());
    await redis.script('FLUSH');
    expect(await store.lift('r-1')).toEqual(revocation());
  });
});

/** How many script calls `checks` checks at once take, as a monitor of the server sees them. */
async function scriptCalls(redis: Redis, store: Store, checks: number): Promise<number> {
  const seen: string[] = [];
  const monitor = await redis.monitor();
  const key = `many-${checks}`;
  monitor.on('monitor', (_time: string, args: string[]) => {
    if ((args[0] ?? '').toLowerCase().startsWith('eval') && args.some((arg) => arg.endsWith(`:${key}`))) {
      seen.push(args[0] ?? '');
    }
  });
  const marker = `end-${checks}`;
  const ended = new Promise<void>((resolve) => {
    monitor.on('monitor', (_time: string, args: string[]) => {
      if (args.includes(marker)) resolve();
    });
  });
  await Promise.all(Array.from({ length: checks }, () => store.check(request({ meters: [meter({ key })] }))));
  await redis.echo(marker);
  await ended;
  monitor.disconnect();
  return seen.length;
}
