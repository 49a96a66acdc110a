/** What every store of agents must do, whatever it is made of. Each adapter's own test runs this. */

import { describe, expect, test } from 'vitest';
import type { AgentBounds, AgentStore, SeenAgent, Sighting } from '../../src/store/agent-port.ts';

export const nowMs = 1_800_000_000_000;
const day = 86_400_000;

export const smallBounds: AgentBounds = { agents: 3, issuers: 2, keys: 2, subjects: 2, chains: 2, tokens: 2 };

export function sighting(more: Partial<Sighting> = {}): Sighting {
  return {
    id: 'agent-7',
    described: { owner: 'alice', team: 'payments' },
    calls: 1,
    firstMs: nowMs,
    lastMs: nowMs,
    issuers: ['https://login.example.com'],
    keys: ['key-1'],
    subjects: ['["bob","https://login.example.com"]'],
    chains: [],
    tokens: [],
    ...more,
  };
}

const token = (name: string, expiresAtMs: number) => ({ issuedAtMs: nowMs - 1000, expiresAtMs, marks: [name] });

/** `open` gives two clients of one fresh, empty store with these bounds. */
export function agentStoreContract(open: (bounds: AgentBounds) => Promise<readonly [AgentStore, AgentStore]>): void {
  async function all(store: AgentStore, atMs = nowMs): Promise<readonly SeenAgent[]> {
    const found: SeenAgent[] = [];
    for await (const piece of store.scan(atMs)) found.push(...piece);
    return found;
  }

  describe('agents that have called', () => {
    test('are found by every client, with all that was told', async () => {
      const [store, other] = await open(smallBounds);
      const live = token('mark', nowMs + 1000);
      await store.note([sighting({ calls: 3, lastMs: nowMs + 5, chains: ['["a","b"]'], tokens: [live] })], nowMs);
      expect(await other.find('agent-7', nowMs)).toEqual({
        id: 'agent-7',
        owner: 'alice',
        team: 'payments',
        calls: 3,
        firstMs: nowMs,
        lastMs: nowMs + 5,
        issuers: ['https://login.example.com'],
        keys: ['key-1'],
        subjects: ['["bob","https://login.example.com"]'],
        chains: ['["a","b"]'],
        tokens: [live],
      });
      expect(await other.find('agent-8', nowMs)).toBeNull();
      expect(await all(other)).toEqual([await store.find('agent-7', nowMs)]);
      expect(await other.summaries(nowMs)).toEqual([
        { id: 'agent-7', owner: 'alice', team: 'payments', calls: 3, firstMs: nowMs, lastMs: nowMs + 5 },
      ]);
    });

    test('add up over what several clients tell', async () => {
      const [store, other] = await open(smallBounds);
      await store.note([sighting({ calls: 2, keys: ['key-1'] })], nowMs);
      await other.note([sighting({ calls: 3, keys: ['key-2'], lastMs: nowMs + 9, firstMs: nowMs + 8 })], nowMs);
      await store.note([sighting({ calls: 4, keys: [], lastMs: nowMs + 4, firstMs: nowMs + 4 })], nowMs);
      expect(await store.find('agent-7', nowMs)).toMatchObject({
        calls: 9,
        firstMs: nowMs,
        lastMs: nowMs + 9,
        keys: ['key-2', 'key-1'],
      });
    });

    test('keep owner and team where nothing is said of them, and lose them where none is named any more', async () => {
      const [store] = await open(smallBounds);
      await store.note([sighting()], nowMs);
      await store.note([sighting({ described: null, calls: 0 })], nowMs);
      expect(await store.find('agent-7', nowMs)).toMatchObject({ owner: 'alice', team: 'payments', calls: 1 });
      await store.note([sighting({ described: { owner: null, team: 'null' } })], nowMs);
      expect(await store.find('agent-7', nowMs)).toMatchObject({ owner: null, team: 'null' });
    });

    test('have lists that forget what was seen longest ago', async () => {
      const [store] = await open(smallBounds);
      await store.note([sighting({ keys: ['a'], lastMs: nowMs + 1 })], nowMs);
      await store.note([sighting({ keys: ['b'], lastMs: nowMs + 2 })], nowMs);
      await store.note([sighting({ keys: ['a'], lastMs: nowMs + 3 })], nowMs);
      await store.note([sighting({ keys: ['c'], lastMs: nowMs + 4, subjects: ['1', '2', '3'] })], nowMs);
      const found = await store.find('agent-7', nowMs);
      expect(found?.keys).toEqual(['c', 'a']);
      expect(found?.subjects).toHaveLength(2);
    });

    test('show a token until it expires, and of too many those that expire last', async () => {
      const [store] = await open(smallBounds);
      const tokens = [token('a', nowMs + 10), token('b', nowMs + 30), token('c', nowMs + 20), token('d', nowMs - 1)];
      await store.note([sighting({ tokens })], nowMs);
      const marksAt = async (atMs: number) =>
        (await store.find('agent-7', atMs))?.tokens.flatMap(({ marks }) => marks).toSorted();
      expect(await marksAt(nowMs)).toEqual(['b', 'c']);
      expect(await marksAt(nowMs + 19)).toEqual(['b', 'c']);
      expect(await marksAt(nowMs + 20)).toEqual(['b']);
      expect(await marksAt(nowMs + 30)).toEqual([]);
      await store.note([sighting({ tokens: [token('b', nowMs + 30)] })], nowMs);
      expect(await marksAt(nowMs)).toEqual(['b', 'c']);
    });

    test('are three at most here, and the one seen longest ago goes with all that it had', async () => {
      const [store] = await open(smallBounds);
      for (const [at, id] of ['a', 'b', 'c', 'a', 'd'].entries()) {
        await store.note([sighting({ id, lastMs: nowMs + at, calls: 1 })], nowMs);
      }
      expect((await store.summaries(nowMs)).map(({ id }) => id).toSorted()).toEqual(['a', 'c', 'd']);
      expect(await store.find('b', nowMs)).toBeNull();
      await store.note([sighting({ id: 'b', lastMs: nowMs + 9, calls: 1, keys: [] })], nowMs);
      expect(await store.find('b', nowMs)).toMatchObject({ calls: 1, keys: [] });
    });

    test('are forgotten 30 days after they were last seen', async () => {
      const [store] = await open(smallBounds);
      await store.note([sighting()], nowMs);
      const late = nowMs + 30 * day;
      expect(await store.find('agent-7', late - 1)).not.toBeNull();
      expect(await store.find('agent-7', late)).toBeNull();
      expect(await store.summaries(late)).toEqual([]);
      expect(await all(store, late)).toEqual([]);
    });

    test('are counted from a time on', async () => {
      const [store, other] = await open({ ...smallBounds, agents: 10 });
      for (const at of [1, 2, 3]) await store.note([sighting({ id: `agent-${at}`, lastMs: nowMs + at })], nowMs);
      expect(await other.countSince(nowMs)).toBe(3);
      expect(await other.countSince(nowMs + 2)).toBe(2);
      expect(await other.countSince(nowMs + 4)).toBe(0);
    });

    test('are told apart whatever characters their ids hold', async () => {
      const [store] = await open({ ...smallBounds, agents: 10 });
      const ids = ['', ' ', 'a\r\nb', '*', 'ü', 'u\u0308', '"\\', '\ud800', '\ufffd', 'x'.repeat(4096)];
      for (const id of ids) await store.note([sighting({ id })], nowMs);
      for (const id of ids) expect(await store.find(id, nowMs)).toMatchObject({ id, calls: 1 });
      expect((await store.summaries(nowMs)).map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
    });

    test('come all, when there are more than one piece holds', async () => {
      const [store] = await open({ ...smallBounds, agents: 1000 });
      const ids = Array.from({ length: 250 }, (_, at) => `agent-${at}`);
      await store.note(
        ids.map((id) => sighting({ id })),
        nowMs,
      );
      expect((await all(store)).map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
      expect(await store.summaries(nowMs)).toHaveLength(250);
    });
  });
}
