/** What every store must do, whatever it is made of. Each adapter's own test runs this. */

import { describe, expect, onTestFinished, test } from 'vitest';
import { StoreFault } from '../../src/errors.ts';
import type { CheckAnswer, Store } from '../../src/store/port.ts';
import { meterContract } from './meters.contract.ts';
import { revocationContract } from './revocations.contract.ts';
import { firstPage, meter, nowMs, proof, request, revocation } from './samples.ts';

export type StoreUnderTest = {
  /** Two clients of the same store; the same one twice where a store has one client only. */
  readonly clients: readonly [Store, Store];
  /** Resolves once `probe` holds, while the store's clock goes on: a fake clock is advanced, a real one runs. */
  eventually(probe: () => Promise<boolean>): Promise<void>;
};

const passed = { revokedIndex: -1, isReplay: false };
const replayed = { revokedIndex: -1, isReplay: true, counts: [], fallsInMs: [] };

/** `open` gives a fresh, empty store that knows `maxRevocations` revocations at most. */
export function storeContract(open: (options: { maxRevocations: number }) => Promise<StoreUnderTest>): void {
  async function opened(): Promise<StoreUnderTest & { readonly store: Store; readonly other: Store }> {
    const opening = await open({ maxRevocations: 4 });
    const [store, other] = opening.clients;
    onTestFinished(() => Promise.all([store.close(), other.close()]).then(() => undefined));
    return { ...opening, store, other };
  }

  describe('revocation', () => {
    test('passes a request that has no handle in the set', async () => {
      const { store } = await opened();
      await store.revoke(revocation());
      expect(await store.check(request({ handles: ['["agent","agent-8"]', '["jkt","x"]'] }))).toEqual({
        ...passed,
        counts: [],
        fallsInMs: [],
      });
    });

    test('takes effect for every client before revoke settles, and names the first revoked handle', async () => {
      const { store, other } = await opened();
      const handles = ['a', 'b', 'c', 'd'];
      expect(await other.check(request({ handles }))).toMatchObject({ revokedIndex: -1 });
      await store.revoke(revocation({ id: 'r-d', handle: 'd' }));
      expect(await other.check(request({ handles }))).toMatchObject({ revokedIndex: 3 });
      await store.revoke(revocation({ id: 'r-b', handle: 'b' }));
      expect(await other.check(request({ handles }))).toEqual({
        revokedIndex: 1,
        isReplay: false,
        counts: [],
        fallsInMs: [],
      });
    });

    test('holds until the very millisecond of its expiry, judged by the time of the request', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ handle: 'h', expiresAtMs: nowMs + 1000 }));
      expect(await store.check(request({ handles: ['h'], nowMs: nowMs + 999 }))).toMatchObject({ revokedIndex: 0 });
      expect(await store.check(request({ handles: ['h'], nowMs: nowMs + 1000 }))).toMatchObject({ revokedIndex: -1 });
    });

    test('holds for ever without an expiry', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ handle: 'h' }));
      const inAThousandYears = nowMs + 1000 * 365 * 86_400_000;
      expect(await store.check(request({ handles: ['h'], nowMs: inAThousandYears }))).toMatchObject({
        revokedIndex: 0,
      });
    });

    test('looks past an expired entry to one in force', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ id: 'r-1', handle: 'a', expiresAtMs: nowMs - 1 }));
      await store.revoke(revocation({ id: 'r-2', handle: 'b' }));
      expect(await store.check(request({ handles: ['a', 'b'] }))).toMatchObject({ revokedIndex: 1 });
    });

    test('compares handles exactly, whatever characters they hold', async () => {
      const { store } = await opened();
      const odd = ['', ' ', '\u0000', 'a\r\nb', '*', 'ü', 'u\u0308', '"\\', '\u{1f511}', 'x'.repeat(5000)];
      for (const [index, handle] of odd.entries()) {
        await store.revoke(revocation({ id: `r-${index}`, handle }));
        const answers = await Promise.all(odd.map((candidate) => store.check(request({ handles: [candidate] }))));
        expect(answers.map((answer) => answer.revokedIndex === 0)).toEqual(
          odd.map((candidate) => candidate === handle),
        );
        expect(await store.lift(`r-${index}`)).toMatchObject({ handle });
      }
    });

    test('answers a batch in which a handle is no well-formed text', async () => {
      const { store, other } = await opened();
      const check = () =>
        Promise.all(['\ud800', 'a', '\udc00b'].map((handle) => other.check(request({ handles: [handle] }))));
      expect((await check()).map(({ revokedIndex }) => revokedIndex)).toEqual([-1, -1, -1]);
      await store.revoke(revocation({ id: 'r-1', handle: '\udc00b' }));
      expect((await check()).map(({ revokedIndex }) => revokedIndex)).toEqual([-1, -1, 0]);
    });

    test('is lifted by id, once, for every client, and gives back the entry', async () => {
      const { store, other } = await opened();
      const entry = revocation({ handle: 'h', issuer: 'https://login.example.com', expiresAtMs: nowMs + 1e12 });
      await store.revoke(entry);
      expect(await other.lift('r-unknown')).toBeNull();
      expect(await other.check(request({ handles: ['h'] }))).toMatchObject({ revokedIndex: 0 });
      expect(await other.lift(entry.id)).toEqual(entry);
      expect(await store.check(request({ handles: ['h'] }))).toMatchObject({ revokedIndex: -1 });
      expect(await store.lift(entry.id)).toBeNull();
      expect(await store.revocations(firstPage)).toEqual({ entries: [], next: null });
    });

    test('lifts an expired entry as if there were none', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ expiresAtMs: 1000 }));
      expect(await store.lift('r-1')).toBeNull();
    });

    test('replaces the entry of a handle that is revoked again for longer', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ id: 'r-old', handle: 'h', expiresAtMs: nowMs + 5 }));
      const renewed = revocation({ id: 'r-new', handle: 'h', reason: 'still lost' });
      await store.revoke(renewed);
      expect((await store.revocations(firstPage)).entries).toEqual([renewed]);
      expect(await store.lift('r-old')).toBeNull();
      expect(await store.check(request({ handles: ['h'], nowMs: nowMs + 10 }))).toMatchObject({ revokedIndex: 0 });
      expect(await store.lift('r-new')).toEqual(renewed);
    });

    test('lists the entries in force, newest first', async () => {
      const { store, other } = await opened();
      const entries = [
        revocation({ id: 'r-a', handle: 'a', createdAtMs: nowMs - 5 }),
        revocation({ id: 'r-b', handle: 'b', createdAtMs: nowMs, expiresAtMs: nowMs + 1 }),
        revocation({ id: 'r-c', handle: 'c', createdAtMs: nowMs }),
        revocation({ id: 'r-d', handle: 'd', createdAtMs: nowMs - 9, expiresAtMs: nowMs }),
      ];
      for (const entry of entries) await store.revoke(entry);
      const listed = async (atMs: number) => (await other.revocations({ ...firstPage, nowMs: atMs })).entries;
      expect((await listed(nowMs)).map((entry) => entry.id)).toEqual(['r-c', 'r-b', 'r-a']);
      expect((await listed(nowMs + 1)).map((entry) => entry.id)).toEqual(['r-c', 'r-a']);
    });

    test('refuses an entry too many and keeps all in force; a known handle may still be renewed', async () => {
      const { store } = await opened();
      for (const handle of ['a', 'b', 'c', 'd']) await store.revoke(revocation({ id: `r-${handle}`, handle }));
      await expect(store.revoke(revocation({ id: 'r-e', handle: 'e' }))).rejects.toBeInstanceOf(StoreFault);
      await store.revoke(revocation({ id: 'r-f', handle: 'a' }));
      const answers = await Promise.all(
        ['a', 'b', 'c', 'd', 'e'].map((handle) => store.check(request({ handles: [handle] }))),
      );
      expect(answers.map((answer) => answer.revokedIndex)).toEqual([0, 0, 0, 0, -1]);
    });

    test('makes room for a new entry by forgetting those that expired long ago', async () => {
      const { store } = await opened();
      for (const handle of ['a', 'b', 'c', 'd']) {
        await store.revoke(revocation({ id: `r-${handle}`, handle, expiresAtMs: 1000 }));
      }
      await store.revoke(revocation({ id: 'r-e', handle: 'e' }));
      expect(await store.check(request({ handles: ['e'] }))).toMatchObject({ revokedIndex: 0 });
    });

    test('uses up neither proof nor counter of a revoked request', async () => {
      const { store } = await opened();
      const asked = request({ handles: ['h'], singleUse: proof('p'), meters: [meter()] });
      await store.revoke(revocation({ handle: 'h' }));
      expect(await store.check(asked)).toEqual({ revokedIndex: 0, isReplay: false, counts: [], fallsInMs: [] });
      await store.lift('r-1');
      expect(await store.check(asked)).toMatchObject({ ...passed, counts: [1] });
    });
  });

  describe('single use', () => {
    test('passes a proof once, and calls every later use a replay for every client', async () => {
      const { store, other } = await opened();
      const asked = request({ singleUse: proof('p') });
      expect(await store.check(asked)).toMatchObject(passed);
      expect(await store.check(asked)).toEqual(replayed);
      expect(await other.check(asked)).toEqual(replayed);
    });

    test('keeps proofs apart by key', async () => {
      const { store } = await opened();
      expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject(passed);
      expect(await store.check(request({ singleUse: proof('P') }))).toMatchObject(passed);
      expect(await store.check(request({ singleUse: proof('p ') }))).toMatchObject(passed);
    });

    test('does not count a replay', async () => {
      const { store } = await opened();
      const asked = request({ singleUse: proof('p'), meters: [meter()] });
      expect(await store.check(asked)).toMatchObject({ ...passed, counts: [1] });
      expect(await store.check(asked)).toEqual(replayed);
      expect(await store.check(request({ meters: [meter({ cost: 0 })] }))).toMatchObject({ counts: [1] });
    });

    test('lets exactly one win when clients race with the same proof', async () => {
      const { store, other } = await opened();
      for (let trial = 0; trial < 100; trial++) {
        const asked = request({ singleUse: proof(`p-${trial}`), meters: [meter({ key: `m-${trial}` })] });
        const answers = await Promise.all([
          store.check(asked),
          other.check(asked),
          store.check(asked),
          other.check(asked),
        ]);
        expect(answers.filter((answer) => !answer.isReplay)).toHaveLength(1);
        expect(answers.filter((answer) => !answer.isReplay)[0]?.counts).toEqual([1]);
      }
    });

    test('forgets a proof after its lifetime, whatever the time of the request says', async () => {
      const { store, eventually } = await opened();
      const asked = request({ singleUse: proof('p', 150) });
      expect(await store.check(asked)).toMatchObject(passed);
      const later = request({ singleUse: proof('p', 60_000), nowMs: nowMs + 86_400_000 });
      expect(await store.check(later)).toEqual(replayed);
      await eventually(async () => !(await store.check(asked)).isReplay);
      expect(await store.check(asked)).toEqual(replayed);
    });
  });

  revocationContract(opened);
  meterContract(opened);
  boundaryContract(opened);
}

type Opened = () => Promise<{ readonly store: Store; readonly other: Store }>;

function boundaryContract(opened: Opened): void {
  describe('every method', () => {
    test('gives each of many requests at once its own answer', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ handle: 'bad' }));
      const fill = Array.from({ length: 40 }, (_, i) => `h-${i}`);
      const asked = Array.from({ length: 300 }, (_, i) =>
        request({
          handles: [...fill, i % 3 === 0 ? 'bad' : 'good'],
          singleUse: i % 2 === 0 ? proof(`p-${Math.floor(i / 4)}`) : null,
          meters: Array.from({ length: i % 4 }, (_, m) => meter({ key: `m-${i}-${m}`, cost: i + m })),
        }),
      );
      const answers = await Promise.all(asked.map((one) => store.check(one)));
      expect(answers.map(describeAnswer)).toEqual(asked.map((_, i) => expectedOf(i)));
    });

    test('calls a request that breaks the contract our own mistake', async () => {
      const { store } = await opened();
      const broken = [
        request({ meters: [meter({ cost: -1 })] }),
        request({ meters: [meter({ cost: 0.5 })] }),
        request({ meters: [meter({ cost: Number.NaN })] }),
        request({ meters: [meter({ windowMs: 0 })] }),
        request({ singleUse: proof('p', 0) }),
        request({ singleUse: proof('p', Number.POSITIVE_INFINITY) }),
        request({ nowMs: Number.NaN }),
        request({ nowMs: nowMs + 0.5 }),
        request({ issuedAtMs: Number.NaN }),
        request({ handles: Array.from({ length: 1001 }, String) }),
      ];
      for (const one of broken) await expect(store.check(one)).rejects.toBeInstanceOf(TypeError);
    });

    test('answers a ping', async () => {
      const { store } = await opened();
      await expect(store.ping()).resolves.toBeUndefined();
    });

    test('rejects with a store fault after close', async () => {
      const { store } = await opened();
      await store.close();
      const attempts = [
        store.check(request()),
        store.revoke(revocation()),
        store.lift('r-1'),
        store.revocations(firstPage),
        store.changes(null),
        store.copy(null),
        store.restore([], []),
        store.ping(),
      ];
      for (const attempt of await Promise.allSettled(attempts)) {
        expect(attempt).toMatchObject({ status: 'rejected', reason: { code: 'store_unavailable' } });
      }
    });
  });
}

function describeAnswer(answer: CheckAnswer): string {
  if (answer.revokedIndex >= 0) return `revoked ${answer.revokedIndex}`;
  return answer.isReplay ? 'replay' : `counts ${answer.counts.join()}`;
}

/** Requests 4n and 4n+2 share a proof, and every third request is revoked, which uses up no proof. */
function expectedOf(i: number): string {
  if (i % 3 === 0) return 'revoked 40';
  if (i % 4 === 2 && (i - 2) % 3 !== 0) return 'replay';
  return `counts ${Array.from({ length: i % 4 }, (_, m) => i + m).join()}`;
}
