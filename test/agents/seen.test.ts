import { describe, expect, onTestFinished, test } from 'vitest';
import { createSeenAgents, markOf, type Seen } from '../../src/agents/seen.ts';
import { StoreFault } from '../../src/errors.ts';
import type { AccessToken, Agent } from '../../src/exchange.ts';
import type { AgentStore, Sighting } from '../../src/store/agent-port.ts';
import { createMemoryAgents } from '../../src/store/memory-agents.ts';
import { accessTokenWith, nowMs } from '../policy/exchanges.ts';

const issuer = 'https://login.example.com';
const jkt = 'thumb';

function open({ agentsMax = 100 }: { agentsMax?: number } = {}) {
  const told: (readonly Sighting[])[] = [];
  const memory = createMemoryAgents();
  let fault: Error | null = null;
  const store: AgentStore = {
    ...memory,
    async note(sightings, atMs) {
      if (fault !== null) throw fault;
      told.push(sightings);
      await memory.note(sightings, atMs);
    },
  };
  const seen = createSeenAgents({ store, clock: () => nowMs, flushMs: 3_600_000, agentsMax, onFlush: () => {} });
  onTestFinished(seen.close);
  const failWith = (next: Error | null) => {
    fault = next;
  };
  return { ...seen, store, told, failWith };
}

const agents = new WeakMap<AccessToken, Agent>();

/** What a request shows; a token is described once, as in a sidecar. */
function seenOf(accessToken: AccessToken, more: Partial<Seen> = {}): Seen {
  const facts = {
    owner: 'alice',
    team: null,
    group: null,
    owners: ['alice'],
    registered: false,
    status: 'unknown',
  } as const;
  const agent = agents.get(accessToken) ?? { ...accessToken.agent, ...facts };
  agents.set(accessToken, agent);
  const possession = { method: 'dpop', jkt, x5t: null, proofAgeMs: 0, hasNonce: false, singleUse: null } as const;
  return { accessToken, possession, agent, handles: ['["jkt","thumb"]'], ...more };
}

describe('seen agents', () => {
  test('are told with all that was seen, once', async () => {
    const { note, flush, told } = open();
    const accessToken = accessTokenWith();
    note(seenOf(accessToken), nowMs);
    note(seenOf(accessToken), nowMs + 7);
    await flush();
    expect(told).toEqual([
      [
        {
          id: 'agent-7',
          described: { owner: 'alice', team: null },
          calls: 2,
          firstMs: nowMs,
          lastMs: nowMs + 7,
          issuers: [issuer],
          keys: [jkt],
          subjects: [JSON.stringify(['alice', issuer])],
          chains: [],
          tokens: [
            {
              issuedAtMs: accessToken.issuedAtMs,
              expiresAtMs: accessToken.expiresAtMs,
              marks: [markOf('["jkt","thumb"]')],
            },
          ],
        },
      ],
    ]);
    await flush();
    expect(told).toHaveLength(1);
  });

  test('tell a token again that goes on calling', async () => {
    const { note, flush, told } = open();
    const accessToken = accessTokenWith();
    for (const at of [1, 2, 3]) {
      note(seenOf(accessToken), nowMs + at);
      await flush();
    }
    expect(told.map(([one]) => [one?.calls, one?.tokens.length])).toEqual([
      [1, 1],
      [1, 1],
      [1, 1],
    ]);
  });

  test('have every key that was proved, or that a token names', async () => {
    const { note, flush, store } = open();
    const accessToken = accessTokenWith({ confirmation: { jkt: 'named', x5t: null } });
    note(seenOf(accessToken), nowMs);
    const { possession } = seenOf(accessToken);
    note(seenOf(accessToken, { possession: { ...possession, jkt: 'another' } }), nowMs);
    await flush();
    expect((await store.find('agent-7', nowMs))?.keys.toSorted()).toEqual(['another', 'named', 'thumb']);
    expect((await store.find('agent-7', nowMs))?.calls).toBe(2);
  });

  test('are everybody in a chain, though only who presents the token calls', async () => {
    const { note, flush, store } = open();
    const actor = (sub: string) => ({ iss: issuer, sub, profile: '', verified: false });
    const accessToken = accessTokenWith({
      subject: 'planner',
      subjectType: 'agent',
      agent: { id: 'worker', issuer },
      actors: [actor('worker'), actor('broker')],
    });
    note(seenOf(accessToken), nowMs);
    await flush();
    const chains = [JSON.stringify(['worker', 'broker', 'planner'])];
    expect(await store.find('worker', nowMs)).toMatchObject({ calls: 1, chains, keys: [jkt] });
    expect(await store.find('broker', nowMs)).toMatchObject({ calls: 0, chains, keys: [], owner: null });
    expect(await store.find('planner', nowMs)).toMatchObject({
      calls: 0,
      chains,
      subjects: [JSON.stringify(['planner', issuer])],
    });
  });

  test('are no humans for whom agents act', async () => {
    const { note, flush, store } = open();
    const actors = [{ iss: issuer, sub: 'agent-7', profile: '', verified: true }];
    note(seenOf(accessTokenWith({ subject: 'bob', subjectType: 'user', actors })), nowMs);
    await flush();
    expect((await store.summaries(nowMs)).map(({ id }) => id)).toEqual(['agent-7']);
  });

  test('are kept while the store takes nothing, and told when it does', async () => {
    const { note, flush, store, failWith } = open();
    failWith(new StoreFault('away'));
    const accessToken = accessTokenWith();
    note(seenOf(accessToken), nowMs);
    await expect(flush()).rejects.toBeInstanceOf(StoreFault);
    note(seenOf(accessToken), nowMs + 1);
    note(seenOf(accessTokenWith({ confirmation: { jkt: 'second', x5t: null } })), nowMs + 2);
    await expect(flush()).rejects.toBeInstanceOf(StoreFault);
    failWith(null);
    await flush();
    expect(await store.find('agent-7', nowMs)).toMatchObject({ calls: 3, firstMs: nowMs, lastMs: nowMs + 2 });
    expect((await store.find('agent-7', nowMs))?.keys.toSorted()).toEqual(['second', 'thumb']);
  });

  test('are so many at most between two flushes, the last ones', async () => {
    const { note, flush, told, failWith } = open({ agentsMax: 2 });
    const noteAgent = (id: string) => note(seenOf(accessTokenWith({ agent: { id, issuer } })), nowMs);
    failWith(new StoreFault('away'));
    for (const id of ['a', 'b', 'c']) noteAgent(id);
    await expect(flush()).rejects.toBeInstanceOf(StoreFault);
    noteAgent('d');
    await expect(flush()).rejects.toBeInstanceOf(StoreFault);
    failWith(null);
    await flush();
    expect(told.flat().map(({ id }) => id)).toEqual(['c', 'd']);
  });

  test('are no more than that when the store fails while as many others call', async () => {
    const memory = createMemoryAgents();
    const told: (readonly Sighting[])[] = [];
    const { promise: failing, reject } = Promise.withResolvers<void>();
    const store: AgentStore = {
      ...memory,
      async note(sightings) {
        told.push(sightings);
        if (told.length === 1) await failing;
      },
    };
    const seen = createSeenAgents({ store, clock: () => nowMs, flushMs: 3_600_000, agentsMax: 2, onFlush: () => {} });
    onTestFinished(seen.close);
    const noteAgent = (id: string) => seen.note(seenOf(accessTokenWith({ agent: { id, issuer } })), nowMs);
    for (const id of ['a', 'b']) noteAgent(id);
    const flushed = seen.flush();
    await expect.poll(() => told.length).toBe(1);
    for (const id of ['c', 'd']) noteAgent(id);
    reject(new StoreFault('away'));
    await expect(flushed).rejects.toBeInstanceOf(StoreFault);
    await seen.flush();
    expect(told[1]?.map(({ id }) => id)).toEqual(['c', 'd']);
  });

  test('count the calls of several tokens of one agent that come in turn', async () => {
    const { note, flush, store } = open();
    const tokens = [accessTokenWith({ jti: 'one' }), accessTokenWith({ jti: 'two' })];
    for (let call = 0; call < 6; call++) {
      for (const token of tokens) note(seenOf(token), nowMs);
    }
    await flush();
    expect((await store.find('agent-7', nowMs))?.calls).toBe(12);
  });

  test('are noted with ids of any length that can be revoked, and with no longer one', async () => {
    const { note, flush, told } = open();
    for (const length of [4096, 4097]) {
      note(seenOf(accessTokenWith({ agent: { id: 'x'.repeat(length), issuer } })), nowMs);
    }
    await flush();
    expect(told.flat().map(({ id }) => id.length)).toEqual([4096]);
  });

  test('are told by themselves, and a last time at the end', async () => {
    const store = createMemoryAgents();
    const seen = createSeenAgents({ store, clock: () => nowMs, flushMs: 5, agentsMax: 9, onFlush: () => {} });
    seen.note(seenOf(accessTokenWith()), nowMs);
    await expect.poll(() => store.countSince(0)).toBe(1);
    seen.note(seenOf(accessTokenWith({ agent: { id: 'last', issuer } })), nowMs);
    await seen.close();
    expect(await store.countSince(0)).toBe(2);
  });
});
