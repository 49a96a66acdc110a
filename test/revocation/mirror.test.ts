import fc from 'fast-check';
import { Redis } from 'ioredis';
import { describe, expect, inject, onTestFinished, test, vi } from 'vitest';
import { StoreFault } from '../../src/errors.ts';
import { createMirror, type MirrorOptions } from '../../src/revocation/mirror.ts';
import { createMemoryStore } from '../../src/store/memory.ts';
import type { Store } from '../../src/store/port.ts';
import { createRedisStore } from '../../src/store/redis.ts';
import { createRevocationSet } from '../../src/store/revocation-set.ts';
import { revocation } from '../store/samples.ts';
import { createTestClock } from '../support/clock.ts';
import { uniquePrefix } from '../support/redis-server.ts';

const unbounded = () => createRevocationSet(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);

/** Follows only when it is told to. */
function mirrorOf(store: MirrorOptions['store'], clock = createTestClock()) {
  const told: string[] = [];
  const mirror = createMirror({
    store,
    entries: unbounded(),
    clock,
    onAdded: () => told.push('added'),
    onLost: (held) => told.push(`lost ${held}`),
    onRestored: (held) => told.push(`restored ${held}`),
    onFault: (fault) => told.push(String(fault)),
  });
  onTestFinished(mirror.close);
  const isRevoked = (handle: string, issuedAtMs = clock() - 1000) =>
    mirror.firstRevoked(['x', handle], issuedAtMs) === 1;
  return { mirror, isRevoked, told, clock };
}

type Kind = 'memory' | 'redis';

async function storeOf(kind: Kind, prefix = uniquePrefix()): Promise<Store> {
  if (kind === 'memory') return createMemoryStore({ clock: createTestClock() });
  const store = createRedisStore({ url: inject('redisUrl'), prefix, timeoutMs: 5000, clock: createTestClock() });
  onTestFinished(() => store.close());
  await store.ping();
  return store;
}

describe.each<Kind>(['memory', 'redis'])('a mirror of the %s store', (kind) => {
  test('knows what was there before, learns what comes, and forgets what is lifted', async () => {
    const store = await storeOf(kind);
    await store.revoke(revocation({ id: 'r-1', handle: 'a' }));
    const { mirror, isRevoked, told } = mirrorOf(store);
    expect([isRevoked('a'), mirror.size()]).toEqual([false, null]);
    await mirror.sync();
    expect([isRevoked('a'), isRevoked('b'), mirror.size()]).toEqual([true, false, 1]);
    await store.revoke(revocation({ id: 'r-2', handle: 'b' }));
    await store.lift('r-1');
    await mirror.sync();
    expect([isRevoked('a'), isRevoked('b'), mirror.size()]).toEqual([false, true, 1]);
    expect(told).toEqual(['added', 'added']);
    expect(mirror.entriesOf('b')).toMatchObject([{ id: 'r-2' }]);
  });

  test('judges by the time that a token was issued, and by the expiry of the entry', async () => {
    const store = await storeOf(kind);
    const { mirror, isRevoked, clock } = mirrorOf(store);
    const nowMs = clock();
    await store.revoke(revocation({ handle: 'a', issuedBeforeMs: nowMs, expiresAtMs: nowMs + 1000 }));
    await mirror.sync();
    expect([isRevoked('a', nowMs - 1), isRevoked('a', nowMs)]).toEqual([true, false]);
    clock.advance(1000);
    expect(isRevoked('a', nowMs - 1)).toBe(false);
  });

  test('keeps every entry of a handle that no other covers, and one where others are covered', async () => {
    const store = await storeOf(kind);
    const { mirror, isRevoked, clock } = mirrorOf(store);
    const nowMs = clock();
    await store.revoke(revocation({ id: 'r-1', handle: 'a', issuedBeforeMs: nowMs - 5000 }));
    await mirror.sync();
    await store.revoke(revocation({ id: 'r-2', handle: 'a', issuedBeforeMs: nowMs }));
    await store.revoke(revocation({ id: 'r-3', handle: 'a', expiresAtMs: nowMs + 1000 }));
    await mirror.sync();
    expect([mirror.size(), isRevoked('a', nowMs)]).toEqual([2, true]);
    await store.lift('r-3');
    await mirror.sync();
    expect([isRevoked('a', nowMs - 1), isRevoked('a', nowMs)]).toEqual([true, false]);
  });

  test('takes the set anew where it is too far behind', async () => {
    const store = await storeOf(kind);
    const { mirror, isRevoked, told } = mirrorOf(store);
    await store.revoke(revocation({ id: 'r-gone', handle: 'gone' }));
    await mirror.sync();
    await store.lift('r-gone');
    await store.revoke(revocation({ id: 'r-new', handle: 'new' }));
    for (let i = 0; i < 25_000; i += 500) {
      const some = Array.from({ length: 500 }, (_, at) => revocation({ id: `r-${i + at}`, handle: 'h' }));
      await Promise.all(some.map((entry) => store.revoke(entry)));
    }
    const copy = vi.spyOn(store, 'copy');
    await mirror.sync();
    expect(copy).toHaveBeenCalled();
    expect([isRevoked('gone'), isRevoked('new'), isRevoked('h'), mirror.size()]).toEqual([false, true, true, 2]);
    expect(told.filter((text) => text !== 'added')).toEqual([]);
  });

  test('is as old as its last answer, and holds what it knows while there is none', async () => {
    const store = await storeOf(kind);
    const { mirror, isRevoked, clock } = mirrorOf(store);
    expect(mirror.ageMs()).toBe(clock());
    await store.revoke(revocation({ handle: 'a' }));
    await mirror.sync();
    const age = mirror.ageMs();
    expect(age).toBeLessThan(5000);
    await store.close();
    await expect(mirror.sync()).rejects.toBeInstanceOf(StoreFault);
    expect(mirror.ageMs()).toBeGreaterThan(age);
    expect(isRevoked('a')).toBe(true);
  });

  test('holds what the store could not take, and says so where that is too much', async () => {
    const store = await storeOf(kind);
    const { mirror, isRevoked } = mirrorOf(store);
    const entryAt = (index: number) => revocation({ id: `r-${index}`, handle: `h-${index}` });
    for (let index = 0; index < 10_000; index++) expect(mirror.hold(entryAt(index))).toBe(true);
    expect(mirror.hold(entryAt(10_000))).toBe(false);
    expect([isRevoked('h-9999'), isRevoked('h-10000')]).toEqual([true, false]);
  });

  test('follows by itself once it is started', async () => {
    const store = await storeOf(kind);
    const { mirror, isRevoked } = mirrorOf(store);
    await mirror.start();
    await store.revoke(revocation({ handle: 'a' }));
    await expect.poll(() => isRevoked('a'), { timeout: 5000, interval: 5 }).toBe(true);
  });
});

test('holds once what is tried again and again', async () => {
  const { mirror, isRevoked } = mirrorOf(await storeOf('redis'));
  for (let index = 0; index < 10_001; index++) {
    expect(mirror.hold(revocation({ id: `r-${index}`, handle: 'h' }))).toBe(true);
  }
  expect(isRevoked('h')).toBe(true);
  await mirror.sync();
  expect([isRevoked('h'), mirror.size()]).toEqual([true, 1]);
});

/** A mirror that knows `a`, a client that can do harm, and the keys of the set. */
async function harmed() {
  const prefix = uniquePrefix();
  const store = await storeOf('redis', prefix);
  const { mirror, isRevoked, told, clock } = mirrorOf(store);
  await store.revoke(revocation({ id: 'r-1', handle: 'a' }));
  await mirror.sync();
  told.splice(0);
  const redis = new Redis(inject('redisUrl'));
  onTestFinished(() => redis.disconnect());
  const keys = (...names: string[]) => names.map((name) => `${prefix}{v1}:revoked:${name}`);
  const empty = async () => void (await redis.del(...(await redis.keys(`${prefix}*`))));
  // Long after it was emptied: before, it gives no answer.
  const asked = { nowMs: createTestClock()() + 60_000, issuedAtMs: 0, singleUse: null, meters: [] };
  const isRevokedInStore = async (handle: string) =>
    (await store.check({ ...asked, handles: [handle] })).revokedIndex === 0;
  return { store, mirror, isRevoked, told, clock, redis, keys, empty, prefix, isRevokedInStore };
}

/** What the store leaves to a mirror that knows as much as it does. */
test('a mirror that has caught up says of every token what its store says', async () => {
  const op = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        handle: fc.constantFrom('a', 'b'),
        author: fc.constantFrom('kim', 'lee'),
        before: fc.option(fc.integer({ min: 0, max: 4 })),
        expires: fc.option(fc.integer({ min: 1, max: 4 })),
      }),
    },
    { weight: 1, arbitrary: fc.nat({ max: 9 }) },
    { weight: 1, arbitrary: fc.constantFrom('follow' as const, 'empty' as const, 'join' as const) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(op, { minLength: 1, maxLength: 14 }), async (steps) => {
      const { store, mirror, clock, empty, redis, keys } = await harmed();
      const nowMs = clock();
      const mirrors = [mirror];
      let made = 0;
      for (const step of steps) {
        if (step === 'follow') await mirror.sync();
        else if (step === 'join') mirrors.push(mirrorOf(store, clock).mirror);
        else if (step === 'empty') {
          await mirror.sync();
          await empty();
        } else if (typeof step === 'number') await store.lift(`p-${step}`);
        else {
          const { before, expires, ...more } = step;
          const issuedBeforeMs = before === null ? null : nowMs + before * 1000;
          const expiresAtMs = expires === null ? null : nowMs + expires * 1000;
          await store.revoke(revocation({ id: `p-${made++}`, issuedBeforeMs, expiresAtMs, ...more }));
        }
      }
      for (const one of mirrors) await one.sync();
      // An emptied store refuses for a while, for the sake of the proofs that it has forgotten.
      await redis.hdel(keys('meta')[0] ?? '', 'emptied');
      for (const one of mirrors) expect((await store.changes(one.knownAt())).outcome).toBe('followed');
      for (const handle of ['a', 'b']) {
        for (const issued of [-500, 500, 1500, 2500, 3500]) {
          const request = { handles: [handle], issuedAtMs: nowMs + issued, singleUse: null, meters: [] };
          const told = await Promise.all(
            [0, 1500, 3500].map((later) => store.check({ nowMs: nowMs + later, ...request })),
          );
          const started = clock();
          const said = mirrors.map((one) =>
            [0, 1500, 3500].map((later) => {
              clock.advance(later - (clock() - nowMs));
              return one.firstRevoked([handle], nowMs + issued);
            }),
          );
          clock.advance(started - clock());
          for (const one of said) expect(one).toEqual(told.map(({ revokedIndex }) => revokedIndex));
        }
      }
    }),
    { numRuns: 40 },
  );
}, 60_000);

describe('a store that has lost what it held', () => {
  test('because it was emptied: is told, and gets it back', async () => {
    const { mirror, isRevoked, told, empty, isRevokedInStore, store } = await harmed();
    await empty();
    expect(isRevoked('a')).toBe(true);
    await expect(isRevokedInStore('a')).rejects.toBeInstanceOf(StoreFault);
    await mirror.sync();
    expect(told).toEqual(['lost 1', 'restored 1']);
    expect(await isRevokedInStore('a')).toBe(true);
    expect((await store.copy(null)).entries).toMatchObject([{ id: 'r-1', reason: 'key lost', author: 'security' }]);
    await mirror.sync();
    expect(told).toHaveLength(2);
  });

  test.each([['handles'], ['entries'], ['order'], ['meta']])('because %s was evicted: gets it back', async (name) => {
    const { mirror, told, redis, keys, isRevokedInStore, store } = await harmed();
    await redis.del(...keys(name));
    await mirror.sync();
    expect(told).toEqual(['lost 1', 'restored 1']);
    expect(await isRevokedInStore('a')).toBe(true);
    expect((await store.revocations({ nowMs: 1, limit: 10, cursor: null })).entries).toHaveLength(1);
    await mirror.sync();
    expect(told).toHaveLength(2);
  });

  test('because one took over that lags behind: gets back what it missed, and keeps what it has', async () => {
    const { mirror, told, redis, keys, isRevokedInStore, store } = await harmed();
    const names = keys('meta', 'handles', 'entries', 'order', 'feed');
    const before = await Promise.all(names.map((key) => redis.dumpBuffer(key)));
    await store.revoke(revocation({ id: 'r-2', handle: 'b' }));
    await mirror.sync();
    for (const [index, key] of names.entries()) await redis.restore(key, 0, before[index] ?? '', 'REPLACE');
    // Another sidecar revokes at the new primary first: the sequence is the one that the mirror has seen already.
    await store.revoke(revocation({ id: 'r-3', handle: 'c' }));
    expect(await isRevokedInStore('b')).toBe(false);
    await mirror.sync();
    expect(told.filter((text) => text !== 'added')).toEqual(['lost 2', 'restored 2']);
    for (const handle of ['a', 'b', 'c']) expect(await isRevokedInStore(handle)).toBe(true);
    expect(mirror.size()).toBe(3);
  });

  test('does not get back what was lifted, by whomever the lifting is known', async () => {
    const { mirror, empty, isRevokedInStore, store, isRevoked, prefix } = await harmed();
    // This one hears nothing more until the very end.
    const late = mirrorOf(await storeOf('redis', prefix));
    await late.mirror.sync();
    await store.lift('r-1');
    await store.revoke(revocation({ id: 'r-2', handle: 'b' }));
    await mirror.sync();
    await empty();
    await mirror.sync();
    expect([isRevoked('a'), isRevoked('b')]).toEqual([false, true]);
    await late.mirror.sync();
    expect([late.isRevoked('a'), late.isRevoked('b')]).toEqual([false, true]);
    expect(await isRevokedInStore('a')).toBe(false);
  });

  test('does not get back what was replaced', async () => {
    const { mirror, empty, store, prefix } = await harmed();
    const late = mirrorOf(await storeOf('redis', prefix));
    await late.mirror.sync();
    await store.revoke(revocation({ id: 'r-2', handle: 'a' }));
    await mirror.sync();
    await empty();
    await mirror.sync();
    await late.mirror.sync();
    expect((await store.copy(null)).entries.map(({ id }) => id)).toEqual(['r-2']);
    expect(late.mirror.size()).toBe(1);
  });

  test('because it was emptied while it was copied: is not believed, and gets everything back', async () => {
    const { mirror, isRevoked, told, empty, isRevokedInStore, store } = await harmed();
    // Loses its set once more as soon as it has it back, and before anybody could copy it.
    const copy = vi.spyOn(store, 'copy').mockImplementationOnce(async () => {
      copy.mockRestore();
      await empty();
      return store.copy(null);
    });
    await empty();
    await mirror.sync();
    expect(told).toEqual(['lost 1', 'restored 1', 'lost 1', 'restored 1']);
    expect([isRevoked('a'), await isRevokedInStore('a')]).toEqual([true, true]);
  });

  test('because it was emptied again as soon as it had everything back: gets it back once more', async () => {
    const { mirror, isRevoked, told, empty, isRevokedInStore, store } = await harmed();
    const restore = vi.spyOn(store, 'restore').mockImplementationOnce(async (...given) => {
      restore.mockRestore();
      const refused = await store.restore(...given);
      await empty();
      return refused;
    });
    await empty();
    await mirror.sync();
    expect(told).toEqual(['lost 1', 'restored 1', 'lost 1', 'restored 1']);
    expect([isRevoked('a'), await isRevokedInStore('a')]).toEqual([true, true]);
  });

  test('gets back what several have said of one handle', async () => {
    const { mirror, empty, store, isRevokedInStore } = await harmed();
    await store.revoke(revocation({ id: 'r-2', handle: 'a', author: 'kim' }));
    await mirror.sync();
    await empty();
    await mirror.sync();
    await store.lift('r-2');
    expect(await isRevokedInStore('a')).toBe(true);
    expect(mirror.size()).toBe(2);
  });

  test('gets back all of a set that is larger than one piece', async () => {
    const { mirror, empty, store, told } = await harmed();
    const more = Array.from({ length: 900 }, (_, i) => revocation({ id: `m-${i}`, handle: `m-${i}` }));
    await Promise.all(more.map((entry) => store.revoke(entry)));
    await mirror.sync();
    told.splice(0);
    await empty();
    await mirror.sync();
    expect(told).toEqual(['lost 901', 'restored 901']);
    expect(mirror.size()).toBe(901);
    expect((await store.revocations({ nowMs: 1, limit: 1000, cursor: null })).entries).toHaveLength(901);
  });

  test('is not one that nobody has followed before', async () => {
    const { told, mirror } = mirrorOf(await storeOf('redis'));
    await mirror.sync();
    expect(told).toEqual([]);
  });
});
