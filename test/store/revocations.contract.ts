/** What every store must do about revocations beyond refusing what is revoked: times, pages, and the feed of changes. */

import { describe, expect, test } from 'vitest';
import type { FeedPosition, RevocationEntry, Store } from '../../src/store/port.ts';
import { firstPage, nowMs, request, revocation } from './samples.ts';

type Opened = () => Promise<{ readonly store: Store; readonly other: Store }>;

const idsOf = (entries: readonly RevocationEntry[]) => entries.map(({ id }) => id);

export function revocationContract(opened: Opened): void {
  describe('a revocation of what was issued before', () => {
    test('covers older tokens to the very millisecond, and no newer ones', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ handle: 'h', issuedBeforeMs: nowMs }));
      const at = async (issuedAtMs: number) =>
        (await store.check(request({ handles: ['h'], issuedAtMs }))).revokedIndex;
      expect([await at(nowMs - 1), await at(nowMs), await at(nowMs + 1)]).toEqual([0, -1, -1]);
      expect(await at(nowMs - 0.5)).toBe(0);
    });

    test('does not weaken what was revoked whole, and outlives it', async () => {
      const { store } = await opened();
      const asked = (issuedAtMs: number) => request({ handles: ['h'], issuedAtMs });
      await store.revoke(revocation({ id: 'r-all', handle: 'h' }));
      await store.revoke(revocation({ id: 'r-old', handle: 'h', issuedBeforeMs: nowMs }));
      expect(await store.check(asked(nowMs + 5))).toMatchObject({ revokedIndex: 0 });
      await store.lift('r-all');
      expect(await store.check(asked(nowMs + 5))).toMatchObject({ revokedIndex: -1 });
      expect(await store.check(asked(nowMs - 5))).toMatchObject({ revokedIndex: 0 });
    });

    test('is not shortened by another that ends sooner', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ id: 'r-long', handle: 'h', expiresAtMs: nowMs + 10_000 }));
      await store.revoke(revocation({ id: 'r-short', handle: 'h', expiresAtMs: nowMs + 1000 }));
      expect(await store.check(request({ handles: ['h'], nowMs: nowMs + 5000 }))).toMatchObject({ revokedIndex: 0 });
      expect(idsOf((await store.revocations(firstPage)).entries).toSorted()).toEqual(['r-long', 'r-short']);
    });

    test('gives way to a later one of the same handle', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ id: 'r-1', handle: 'h', issuedBeforeMs: nowMs - 1000 }));
      await store.revoke(revocation({ id: 'r-2', handle: 'h', issuedBeforeMs: nowMs }));
      expect(idsOf((await store.revocations(firstPage)).entries)).toEqual(['r-2']);
    });
  });

  describe('lifting a revocation', () => {
    test('takes back what its author has said, and not what another has', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ id: 'r-theirs', handle: 'h', author: 'security' }));
      await store.revoke(revocation({ id: 'r-ours', handle: 'h', author: 'ssf:https://events.example.com' }));
      await store.lift('r-ours');
      expect(await store.check(request({ handles: ['h'] }))).toMatchObject({ revokedIndex: 0 });
      await store.lift('r-theirs');
      expect(await store.check(request({ handles: ['h'] }))).toMatchObject({ revokedIndex: -1 });
    });

    test('of all tokens leaves older ones revoked that were so before', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ id: 'r-old', handle: 'h', issuedBeforeMs: nowMs, expiresAtMs: nowMs + 9000 }));
      await store.revoke(revocation({ id: 'r-all', handle: 'h' }));
      await store.lift('r-all');
      const at = async (issuedAtMs: number) =>
        (await store.check(request({ handles: ['h'], issuedAtMs }))).revokedIndex;
      expect([await at(nowMs - 1), await at(nowMs)]).toEqual([0, -1]);
    });
  });

  describe('a handle', () => {
    const handles = [
      ...['["jti","https://login.example.com","t"]', '["agent","t"]', '["subject","t"]', '["owner","t"]'],
      ...['["jkt","t"]', '["issuer","t"]', '["delegation","t"]', '["jti"', '["', '', 'jti', '["new kind","t"]'],
    ];

    test('is found among others of every kind, by its place, until it is lifted', async () => {
      const { store, other } = await opened();
      for (const [place, handle] of handles.entries()) {
        await store.revoke(revocation({ id: `r-${place}`, handle }));
        expect(await other.check(request({ handles: [...handles, 'x'] }))).toMatchObject({ revokedIndex: place });
        await store.lift(`r-${place}`);
        expect(await other.check(request({ handles }))).toMatchObject({ revokedIndex: -1 });
      }
    });

    test('is told as the first one that is revoked, for each of several requests at once', async () => {
      const { store } = await opened();
      await store.revoke(revocation({ id: 'r-1', handle: '["jti","i","t"]' }));
      await store.revoke(revocation({ id: 'r-2', handle: '["subject","t"]' }));
      const asked = [
        ['["subject","t"]', '["jti","i","t"]'],
        ['["agent","t"]'],
        ['["agent","t"]', '["jti","i","t"]', '["subject","t"]'],
        [],
        ['["jti","i","u"]', '["subject","t"]'],
      ];
      const answers = await Promise.all(asked.map((one) => store.check(request({ handles: one }))));
      expect(answers.map(({ revokedIndex }) => revokedIndex)).toEqual([0, -1, 1, -1, 1]);
    });
  });

  describe('a listing', () => {
    test('comes in pages, newest first, each entry once', async () => {
      const { store, other } = await opened();
      for (const id of ['a', 'b', 'c', 'd']) {
        await store.revoke(revocation({ id, handle: id, createdAtMs: nowMs + (id === 'a' ? 0 : 1) }));
      }
      const first = await other.revocations({ ...firstPage, limit: 3 });
      expect(idsOf(first.entries)).toEqual(['d', 'c', 'b']);
      // What goes in the meantime moves nothing.
      await store.lift('b');
      const second = await other.revocations({ ...firstPage, limit: 3, cursor: first.next });
      expect(idsOf(second.entries)).toEqual(['a']);
      expect(second.next).toBeNull();
    });
  });

  describe('the feed of changes', () => {
    async function followed(store: Store, since: FeedPosition) {
      const answer = await store.changes(since);
      expect(answer).toMatchObject({ outcome: 'followed', isMore: false });
      return answer;
    }

    test('begins with a gap, and tells each change once, in order', async () => {
      const { store, other } = await opened();
      const start = await other.changes(null);
      expect(start).toMatchObject({ outcome: 'gap', changes: [] });
      expect(await followed(other, start.position)).toMatchObject({ changes: [], position: start.position });
      const entry = revocation({ id: 'r-1', handle: 'h', expiresAtMs: nowMs + 1000 });
      const renewed = revocation({ id: 'r-2', handle: 'h' });
      await store.revoke(entry);
      const first = await followed(other, start.position);
      expect(first.changes).toEqual([{ removed: [], added: entry }]);
      await store.revoke(renewed);
      await store.lift('r-2');
      await store.lift('r-2');
      const second = await followed(other, first.position);
      expect(second.changes).toEqual([
        { removed: ['r-1'], added: renewed },
        { removed: ['r-2'], added: null },
      ]);
      expect(await followed(other, second.position)).toMatchObject({ changes: [] });
      // Whoever is further behind is told more of the same.
      expect((await followed(other, start.position)).changes).toHaveLength(3);
    });

    test('has a gap where it no longer goes back far enough', async () => {
      const { store } = await opened();
      const { position } = await store.changes(null);
      for (let i = 0; i < 25_000; i += 500) {
        const some = Array.from({ length: 500 }, (_, at) => revocation({ id: `r-${i + at}`, handle: 'h' }));
        await Promise.all(some.map((entry) => store.revoke(entry)));
      }
      expect(await store.changes(position)).toMatchObject({ outcome: 'gap', changes: [] });
    });

    test('goes with a copy that has every entry', async () => {
      const { store, other } = await opened();
      await store.revoke(revocation({ id: 'r-1', handle: 'a' }));
      await store.revoke(revocation({ id: 'r-2', handle: 'b', issuedBeforeMs: nowMs }));
      const { entries, next } = await other.copy(null);
      expect(idsOf(entries).toSorted()).toEqual(['r-1', 'r-2']);
      expect(next).toBeNull();
    });
  });
}
