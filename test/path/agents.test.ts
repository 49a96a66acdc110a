import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createKey } from '../support/keys.ts';
import { uniquePrefix } from '../support/redis-server.ts';
import { type CallOptions, type Harness, type StoreKind, startSidecar, stores } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';

const rules = `rules:
  - { id: anybody-reads, when: request.method == "GET", effect: allow }
  - id: only-the-payments-team-pays
    when: request.method == "POST" && has(agent.team) && agent.team == "payments"
    effect: allow
  - id: unregistered-stay-out
    when: request.url_path == "/api/registered" && !agent.registered
    effect: deny
  - id: alice-may-not
    when: request.url_path == "/api/not-alice" && has(agent.owner) && agent.owner == "alice"
    effect: deny
  - id: not-the-expired
    when: request.url_path == "/api/active" && agent.status != "active"
    effect: deny
`;

const registry = `agents:
  - { id: payer, owner: alice, team: payments, contact: "#payments" }
  - { id: reader, owner: bob }
  - { id: paused, owner: alice, status: suspended }
  - { id: former, owner: alice, expires: "2020-01-01T00:00:00Z" }
`;

function registryFile(): string {
  const file = join(mkdtempSync(join(tmpdir(), 'postern-agents-')), 'agents.yaml');
  writeFileSync(file, registry);
  return file;
}

/** A call by this agent with the key of the first sidecar, whichever sidecar gets it. */
function caller(harness: Harness, on: Harness = harness) {
  return (client: string, path = '/api/x', options: CallOptions & { claims?: object } = {}) => {
    const token = harness.mint({ claims: { client_id: client, ...options.claims } });
    return on.call(path, { token, proof: harness.proofFor(path, token, options.method), ...options });
  };
}

const adminJson = async (harness: Harness, path: string, body?: object) => {
  const { status, text } = await harness.admin(body === undefined ? 'GET' : 'POST', path, body);
  return { status, body: JSON.parse(text) };
};

describe('the registry of agents', () => {
  const file = registryFile();
  let harness: Harness;
  let call: ReturnType<typeof caller>;
  beforeAll(async () => {
    harness = await startSidecar({ rules, config: { agents: { file, claims: { owner: 'x_owner' } } } });
    call = caller(harness);
  });
  afterAll(() => harness.close());

  it('is what rules read', async () => {
    const outcomes = [
      await call('payer', '/api/pay', { method: 'POST' }),
      await call('reader', '/api/pay', { method: 'POST' }),
      await call('stranger', '/api/registered'),
      await call('reader', '/api/registered'),
      await call('payer', '/api/not-alice'),
      await call('stranger', '/api/not-alice', { claims: { x_owner: 'alice' } }),
      await call('stranger', '/api/not-alice', { claims: { x_owner: 'bob' } }),
      await call('stranger', '/api/active'),
      await call('reader', '/api/active'),
    ];
    expect(outcomes.map(({ reason }) => reason)).toEqual([
      null,
      'no_matching_rule',
      'rule_denied',
      null,
      'rule_denied',
      'rule_denied',
      null,
      'rule_denied',
      null,
    ]);
  });

  it('is in the audit record', async () => {
    const agentOf = async (client: string, claims = {}) =>
      (await harness.record((await call(client, '/api/x', { claims })).decision)).agent;
    const { issuer } = harness.issuer;
    expect(await agentOf('payer')).toEqual({
      id: 'payer',
      issuer,
      owner: 'alice',
      team: 'payments',
      registered: true,
      status: 'active',
    });
    const unknown = { id: 'stranger', issuer, team: null, registered: false, status: 'unknown' };
    expect(await agentOf('stranger', { x_owner: 'carol' })).toEqual({ ...unknown, owner: 'carol' });
    // A token says whose it is, and nobody is asked about who has not proved to be that agent.
    const token = harness.mint({ claims: { client_id: 'payer' } });
    const thief = { key: createKey('ES256'), method: 'GET', url: 'https://api.agents.example/api/x' };
    const stolen = await call('payer', '/api/x', { token, proof: mintProof({ ...thief, accessToken: token }) });
    expect(stolen.reason).toBe('key_mismatch');
    expect((await harness.record(stolen.decision)).agent).toEqual({
      id: 'payer',
      issuer,
      owner: null,
      team: null,
      registered: null,
      status: null,
    });
  });

  it('refuses who is suspended or expired, whatever the rules say, and the upstream is not called', async () => {
    const before = harness.upstream.requests.length;
    for (const [client, rule] of [
      ['paused', 'postern:agent-suspended'],
      ['former', 'postern:agent-expired'],
    ] as const) {
      const { status, reason, decision } = await call(client);
      expect([status, reason]).toEqual([403, 'rule_denied']);
      expect(await harness.record(decision)).toMatchObject({ rule, rules: [], credential: null });
    }
    expect(harness.upstream.requests).toHaveLength(before);
  });

  it('says whose calls end when an owner is revoked, those with one of their agents in the chain too', async () => {
    const behind = { claims: { act: { sub: 'front', act: { sub: 'reader' } } } };
    expect((await call('gateway', '/api/x', behind)).status).toBe(200);
    const revoked = await adminJson(harness, '/v1/revocations', { owner: 'bob', reason: 'test' });
    expect(revoked.status).toBe(201);
    const answers = [await call('reader'), await call('gateway', '/api/x', behind), await call('payer')];
    expect(answers.map(({ reason }) => reason)).toEqual(['token_revoked', 'token_revoked', null]);
    expect((await harness.admin('DELETE', `/v1/revocations/${revoked.body.id}`)).status).toBe(200);
    expect((await call('reader')).status).toBe(200);
  });

  it('takes effect when its file changes, and stays as it was where it becomes no good', async () => {
    const changed = registry.replace('id: reader, owner: bob', 'id: reader, owner: bob, status: suspended');
    expect((await call('reader')).status).toBe(200);
    writeFileSync(file, changed);
    await harness.sidecar.refreshAgents();
    expect((await call('reader')).reason).toBe('rule_denied');
    writeFileSync(file, 'agents: [{ id: reader }]');
    await harness.sidecar.refreshAgents();
    expect((await call('reader')).reason).toBe('rule_denied');
    expect(
      harness.log.some((line) => line.includes('the last good one stays') && line.includes('owner is required')),
    ).toBe(true);
    writeFileSync(file, registry);
    await harness.sidecar.refreshAgents();
    expect((await call('reader')).status).toBe(200);
    const { text } = await harness.admin('GET', '/metrics');
    expect(text).toContain('postern_reload_total{outcome="loaded"} 2');
    expect(text).toContain('postern_reload_total{outcome="refused"} 1');
  });
});

it('a registry that is told to refuses who is not in it', async () => {
  const harness = await startSidecar({ rules, config: { agents: { file: registryFile(), refuse: ['unregistered'] } } });
  const call = caller(harness);
  const answers = [await call('stranger'), await call('reader'), await call('paused')];
  expect(answers.map(({ status }) => status)).toEqual([403, 200, 200]);
  await harness.close();
});

describe.each<StoreKind>(['memory', 'redis'])('agents that were seen, on the %s store', (kind) => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startSidecar({ rules, store: stores[kind](), config: { agents: { file: registryFile() } } });
  });
  afterAll(() => harness.close());

  it('are listed beside those that are registered, page by page, and by owner', async () => {
    const call = caller(harness);
    for (const client of ['payer', 'payer', 'stranger']) await call(client);
    const whole = await adminJson(harness, '/v1/agents');
    expect(whole.body.next).toBeNull();
    const agents: { id: string; registry: object[]; seen: object | null }[] = whole.body.agents;
    expect(agents.map(({ id, registry: entries, seen }) => [id, entries.length, seen !== null])).toEqual([
      ['former', 1, false],
      ['paused', 1, false],
      ['payer', 1, true],
      ['reader', 1, false],
      ['stranger', 0, true],
    ]);
    expect(agents[2]).toMatchObject({
      registry: [{ owner: 'alice', team: 'payments', contact: '#payments', status: 'active', expires: null }],
      seen: { calls: 2, owner: 'alice' },
    });
    const first = await adminJson(harness, '/v1/agents?owner=alice&limit=2');
    expect(first.body.agents.map(({ id }: { id: string }) => id)).toEqual(['former', 'paused']);
    const second = await adminJson(harness, `/v1/agents?owner=alice&limit=2&after=${first.body.next}`);
    expect(second.body).toMatchObject({ agents: [{ id: 'payer' }], next: null });
    for (const query of ['limit=0', 'limit=x', 'owners=alice']) {
      expect((await adminJson(harness, `/v1/agents?${query}`)).status).toBe(400);
    }
  });

  it('are shown with their keys, subjects, chains and live tokens, and with what revokes them', async () => {
    const id = 'https://agents.example/orders?x=1';
    const call = caller(harness);
    const act = { sub: id, act: { sub: 'broker' } };
    expect((await call('gateway', '/api/x', { claims: { act, sub: 'user-9' } })).status).toBe(200);
    const path = `/v1/agents/${encodeURIComponent(id)}`;
    const { issuer } = harness.issuer;
    expect((await adminJson(harness, path)).body).toMatchObject({
      id,
      registry: [],
      seen: {
        calls: 1,
        issuers: [issuer],
        keys: [harness.agentKey.jkt],
        subjects: [{ sub: 'user-9', iss: issuer }],
        chains: [[id, 'broker', 'user-9']],
        live_tokens: 1,
      },
      revocations: [],
    });
    expect((await adminJson(harness, '/v1/agents/broker')).body).toMatchObject({ seen: { calls: 0 } });
    await harness.admin('POST', '/v1/revocations', { agent: id, reason: 'shown' });
    expect((await adminJson(harness, path)).body.revocations).toMatchObject([{ agent: id, reason: 'shown' }]);
    expect((await adminJson(harness, '/v1/agents/nobody')).status).toBe(404);
    expect((await adminJson(harness, '/v1/agents/%ff')).status).toBe(400);
    expect((await harness.admin('DELETE', path)).status).toBe(405);
  });

  it('are counted', async () => {
    await caller(harness)('counted');
    await harness.admin('GET', '/v1/agents');
    const { text } = await harness.admin('GET', '/metrics');
    const { body } = await adminJson(harness, '/v1/agents');
    const seen = body.agents.filter((agent: { seen: object | null }) => agent.seen !== null).length;
    expect(text).toContain(`\npostern_agents ${seen}\n`);
  });

  it('say what a revocation would hit, and that revokes nothing', async () => {
    const call = caller(harness);
    for (const client of ['dry-1', 'dry-1', 'dry-2']) await call(client, '/api/x', { claims: { sub: 'dry-user' } });
    const dryRun = (body: object) => adminJson(harness, '/v1/revocations?dry_run=true', { ...body, reason: 'test' });
    expect(await dryRun({ agent: 'dry-1' })).toEqual({
      status: 200,
      body: { dry_run: true, agents: 1, tokens: 2, examples: ['dry-1'] },
    });
    expect((await dryRun({ subject: 'dry-user' })).body).toMatchObject({ agents: 2, tokens: 3 });
    expect((await dryRun({ agent: 'nobody' })).body).toMatchObject({ agents: 0, tokens: 0, examples: [] });
    expect((await dryRun({ owner: 'alice' })).body).toMatchObject({ agents: 1, examples: ['payer'] });
    const { issuer } = harness.issuer;
    const before = (time: string) => dryRun({ issuer, issued_before: time });
    expect((await before('2020-01-01T00:00:00Z')).body).toMatchObject({ agents: 0, tokens: 0 });
    expect((await dryRun({ agent: '' })).status).toBe(400);
    // A slip of the pen in the query must not revoke.
    const slip = await adminJson(harness, '/v1/revocations?dry_run=1', { agent: 'dry-1', reason: 'test' });
    expect(slip.status).toBe(400);
    expect((await call('dry-1')).status).toBe(200);
  });
});

describe('offboarding, asked of one sidecar', () => {
  let one: Harness;
  let other: Harness;
  beforeAll(async () => {
    const store = { kind: 'redis', url: inject('redisUrl'), prefix: uniquePrefix(), timeout: '5s' };
    const config = { agents: { file: registryFile(), claims: { owner: 'x_owner' } } };
    one = await startSidecar({ rules, store, config });
    other = await startSidecar({ rules, store, config: { ...config, issuer: { issuer: one.issuer.issuer } } });
  });
  afterAll(() => Promise.all([one.close(), other.close()]));

  /** A call with a key of its own, on the other sidecar. */
  function keyed() {
    const key = createKey('ES256');
    const call = (client: string, claims: object = {}, on = other) => {
      const token = one.mint({ agentKey: key, claims: { client_id: client, ...claims } });
      const proof = mintProof({ key, method: 'GET', url: 'https://api.agents.example/api/x', accessToken: token });
      return on.call('/api/x', { token, proof });
    };
    return { key, call };
  }

  it('ends an agent, its chains and all that its keys are good for, on the other too', async () => {
    const { key, call } = keyed();
    const innocent = keyed();
    for (const client of ['leaver', 'alias']) expect((await call(client, {}, one)).status).toBe(200);
    expect((await innocent.call('bystander')).status).toBe(200);

    const { status, body } = await adminJson(one, '/v1/agents/leaver/offboard', { reason: 'project ended' });
    expect(status).toBe(200);
    expect(body.entries).toMatchObject([
      { agent: 'leaver', reason: 'project ended', author: 'admin', expires_at: null },
      { jkt: key.jkt },
    ]);
    // With its own key, with a new one, in the chain of another, and another agent with its key.
    const refused = [
      await call('leaver'),
      await keyed().call('leaver'),
      await keyed().call('gateway', { act: { sub: 'front', act: { sub: 'leaver' } } }),
      await call('alias'),
    ];
    expect(refused.map(({ reason }) => reason)).toEqual(Array(4).fill('token_revoked'));
    expect((await innocent.call('bystander')).status).toBe(200);

    const again = await adminJson(one, '/v1/agents/leaver/offboard', { reason: 'once more' });
    expect(again.body.entries).toHaveLength(2);
    const { body: listed } = await adminJson(one, '/v1/revocations');
    const own = listed.revocations.filter((entry: { agent?: string }) => entry.agent === 'leaver');
    expect(own).toMatchObject([{ reason: 'once more' }]);
    expect(one.auditText()).toContain('"agent":"leaver","reason":"project ended"');
  });

  it('ends an agent whose tokens others present', async () => {
    const claims = { sub: 'planner', client_id: 'planner' };
    expect((await keyed().call('planner', claims, one)).status).toBe(200);
    const onBehalf = { sub: 'planner', act: { sub: 'worker' } };
    expect((await keyed().call('gateway', onBehalf)).status).toBe(200);
    await adminJson(one, '/v1/agents/planner/offboard', { reason: 'test' });
    expect((await keyed().call('gateway', onBehalf)).reason).toBe('token_revoked');
  });

  it('ends a human: what is done for them, and every agent that is theirs, registered or by its tokens', async () => {
    const mine = keyed();
    const claimed = keyed();
    expect((await mine.call('payer', {}, one)).status).toBe(200);
    expect((await claimed.call('claimed', { x_owner: 'alice' }, one)).status).toBe(200);
    const forAlice = () => keyed().call('somebody', { sub: 'alice' });
    expect((await forAlice()).status).toBe(200);
    expect((await keyed().call('reader')).status).toBe(200);

    const { status, body } = await adminJson(one, '/v1/owners/alice/offboard', { reason: 'left' });
    expect(status).toBe(200);
    const kinds = body.entries.map(
      (entry: Record<string, string>) => entry.owner ?? entry.subject ?? entry.agent ?? entry.jkt,
    );
    expect(kinds.slice(0, 6)).toEqual(['alice', 'alice', 'claimed', 'former', 'paused', 'payer']);
    expect(kinds.slice(6).toSorted()).toEqual([mine.key.jkt, claimed.key.jkt].toSorted());

    const refused = [
      await mine.call('payer'),
      await claimed.call('claimed'),
      await forAlice(),
      await claimed.call('x'),
    ];
    expect(refused.map(({ reason }) => reason)).toEqual(Array(4).fill('token_revoked'));
    // Also with another key, and where the token no longer says whose it is.
    expect((await keyed().call('claimed')).reason).toBe('token_revoked');
    expect((await keyed().call('reader')).status).toBe(200);
  });

  it.each([
    ['no reason', '/v1/agents/a/offboard', {}],
    ['an empty reason', '/v1/agents/a/offboard', { reason: ' ' }],
    ['another member', '/v1/owners/a/offboard', { reason: 'x', expires_at: '2030-01-01T00:00:00Z' }],
    ['a list', '/v1/agents/a/offboard', [] as object],
  ])('is refused with %s', async (_, path, body) => {
    expect((await adminJson(one, path, body)).status).toBe(400);
    expect((await keyed().call('a')).status).toBe(200);
  });

  it('takes POST only', async () => {
    expect((await one.admin('GET', '/v1/agents/a/offboard')).status).toBe(405);
    expect((await one.admin('GET', '/v1/owners/a')).status).toBe(404);
  });
});
