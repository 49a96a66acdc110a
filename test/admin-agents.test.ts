import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { boundHandles, createAnswerAgents } from '../src/admin-agents.ts';
import { type AdminRequest, json } from '../src/admin-answer.ts';
import { emptyRegistry } from '../src/agents/registry.ts';
import { createAgentViews } from '../src/agents/views.ts';
import { ownerHandle } from '../src/revocation/handles.ts';
import type { Offboard } from '../src/revocation/offboard.ts';
import { createMemoryAgents } from '../src/store/memory-agents.ts';
import { nowMs, revocation } from './store/samples.ts';

const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I';
const issuer = 'https://login.example.com';

function answering(offboard: Offboard['agent']) {
  const views = createAgentViews({
    registry: () => emptyRegistry,
    store: createMemoryAgents(),
    clock: () => nowMs,
    flush: async () => {},
    ownerKey: ownerHandle,
  });
  return createAnswerAgents({
    views,
    offboard: { agent: offboard, owner: offboard },
    baseline: async (_, agent) => json(200, { baselineOf: agent }),
    revocationsOf: () => [],
  });
}

function post(path: string, body: object): AdminRequest {
  const incoming = Object.assign(Readable.from([Buffer.from(JSON.stringify(body))]), {
    headers: { 'content-type': 'application/json', 'postern-author': 'kim' },
  });
  return { method: 'POST', path, query: '', incoming: incoming as unknown as AdminRequest['incoming'] };
}

describe('offboarding over the admin API', () => {
  it('that is not complete is a 503 that says what was made and what is left', async () => {
    const left = [{ jkt }];
    const answer = await answering(async () => ({ entries: [revocation()], left, problem: 'the store is away' }))(
      post('/v1/agents/a/offboard', { reason: 'gone' }),
    );
    expect(answer).toMatchObject({ status: 503, type: 'application/problem+json' });
    expect(JSON.parse(answer?.body ?? '')).toMatchObject({ entries: [{ id: 'r-1', agent: 'agent-7' }], left });
  });

  it('is asked for with the id as it is, and who asks', async () => {
    const asked: unknown[] = [];
    const answer = answering(async (...words) => {
      asked.push(words);
      return { entries: [], left: [], problem: null };
    });
    await answer(post(`/v1/owners/${encodeURIComponent('a/b@ü')}/offboard`, { reason: 'left' }));
    expect(asked).toEqual([['a/b@ü', 'left', 'kim']]);
  });

  it.each(['/v1/agentsx', '/v1/owners', '/v1/owners/a', '/v1/agents/a/b', '/v1/agents/a/offboard/x', '/agents'])(
    'is not at %s',
    async (path) => {
      const { incoming } = post('', {});
      const answer = answering(async () => ({ problems: [] }));
      expect(await answer({ method: 'GET', path, query: '', incoming })).toBeNull();
    },
  );
});

it('lists the agents of an owner however the address is written', async () => {
  const store = createMemoryAgents();
  const lists = { issuers: [], keys: [], subjects: [], chains: [], tokens: [] };
  const described = (owner: string) => ({ described: { owner, team: null }, calls: 1, firstMs: nowMs, lastMs: nowMs });
  await store.note(
    [
      { id: 'a', ...described('Ann@Example.com'), ...lists },
      { id: 'b', ...described('bob@example.com'), ...lists },
    ],
    nowMs,
  );
  const views = createAgentViews({
    registry: () => emptyRegistry,
    store,
    clock: () => nowMs,
    flush: async () => {},
    ownerKey: ownerHandle,
  });
  expect(await views.ownedBy('ann@example.com')).toEqual(['a']);
  expect(await views.list('owner=ANN@example.com')).toMatchObject({ agents: [{ id: 'a' }] });
});

it('what is bound to an agent are its keys that can be revoked, and itself as a subject', () => {
  const seen = {
    id: 'a',
    owner: null,
    team: null,
    calls: 1,
    firstMs: nowMs,
    lastMs: nowMs,
    issuers: [issuer],
    keys: [jkt, 'no thumbprint'],
    subjects: [JSON.stringify(['a', issuer]), JSON.stringify(['bob', issuer])],
    chains: [],
    tokens: [],
  };
  expect(boundHandles(seen)).toEqual([{ subject: 'a', issuer }, { jkt }]);
  expect(boundHandles(null)).toEqual([]);
});
