import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createDescribeAgent, createRefuseAgent } from '../../src/agents/describe.ts';
import { emptyRegistry, loadRegistry, type Registry } from '../../src/agents/registry.ts';
import type { Agent } from '../../src/exchange.ts';
import { accessTokenWith, nowMs } from '../policy/exchanges.ts';

const issuer = 'https://login.example.com';

function registryOf(text: string): Promise<Registry> {
  const file = join(mkdtempSync(join(tmpdir(), 'postern-agents-')), 'agents.yaml');
  writeFileSync(file, text);
  return loadRegistry(file);
}

const describing = (registry: Registry, claims: { owner?: string; team?: string; group?: string } = {}) =>
  createDescribeAgent({ registry: () => registry, claims });

describe('what is known of an agent', () => {
  test('comes from the registry', async () => {
    const describeAgent = describing(await registryOf('agents: [{ id: agent-7, owner: alice, team: payments }]'));
    expect(describeAgent(accessTokenWith(), nowMs)).toEqual({
      id: 'agent-7',
      issuer,
      owner: 'alice',
      team: 'payments',
      group: 'payments',
      owners: ['alice'],
      registered: true,
      status: 'active',
    });
  });

  test('is nothing but its id and issuer where nobody registered it', () => {
    expect(describing(emptyRegistry)(accessTokenWith(), nowMs)).toEqual({
      id: 'agent-7',
      issuer,
      owner: null,
      team: null,
      group: null,
      owners: [],
      registered: false,
      status: 'unknown',
    });
  });

  test('comes from claims where the registry says nothing, and the registry goes first', async () => {
    const claims = { xms_par_app_azp: 'bob', 'https://example.com/team': 'blue', org: { team: 'green' } };
    const accessToken = accessTokenWith({ claims });
    const named = { owner: 'xms_par_app_azp', team: 'https://example.com/team' };
    expect(describing(emptyRegistry, named)(accessToken, nowMs)).toMatchObject({
      owner: 'bob',
      team: 'blue',
      owners: ['bob'],
      registered: false,
    });
    expect(describing(emptyRegistry, { team: 'org.team' })(accessToken, nowMs)).toMatchObject({ team: 'green' });
    const registry = await registryOf('agents: [{ id: agent-7, owner: alice }]');
    expect(describing(registry, named)(accessToken, nowMs)).toMatchObject({ owner: 'alice', team: 'blue' });
  });

  test('has the group of its entry, else of its claim, else its team', async () => {
    const accessToken = accessTokenWith({ claims: { job: 'refunds', unit: 'blue' } });
    const groupBy = async (text: string, claims = {}) =>
      describing(await registryOf(text), claims)(accessToken, nowMs).group;
    const named = { team: 'unit', group: 'job' };
    expect(await groupBy('agents: [{ id: agent-7, owner: a, team: payments, group: payers }]', named)).toBe('payers');
    expect(await groupBy('agents: [{ id: agent-7, owner: a, team: payments }]', named)).toBe('refunds');
    expect(await groupBy('agents: [{ id: agent-7, owner: a, team: payments }]')).toBe('payments');
    expect(await groupBy('agents: []', { team: 'unit' })).toBe('blue');
  });

  test.each<[string, unknown]>([
    ['a number', 7],
    ['a list', ['bob']],
    ['nothing', ''],
    ['too much', 'x'.repeat(257)],
    ['a control character', 'bob\u0000'],
  ])('takes no claim that is %s for a name', (_, owner) => {
    const accessToken = accessTokenWith({ claims: { owner } });
    expect(describing(emptyRegistry, { owner: 'owner' })(accessToken, nowMs).owner).toBeNull();
  });

  test('takes nothing that objects inherit for a claim', () => {
    const describeAgent = describing(emptyRegistry, { owner: 'constructor.name', team: 'toString' });
    expect(describeAgent(accessTokenWith(), nowMs)).toMatchObject({ owner: null, team: null });
  });

  test('names the owners of all behind it, each once', async () => {
    const registry = await registryOf(`agents:
  - { id: agent-7, owner: alice }
  - { id: planner, owner: bob }
  - { id: client-1, issuer: ${issuer}, owner: carol }
  - { id: other, issuer: https://elsewhere.example, owner: nobody }
`);
    const actor = (sub: string) => ({ iss: issuer, sub, profile: '', verified: false });
    const accessToken = accessTokenWith({
      clientId: 'client-1',
      actors: [actor('agent-7'), actor('planner'), actor('other')],
    });
    expect(describing(registry)(accessToken, nowMs)).toMatchObject({
      owner: 'alice',
      owners: ['alice', 'carol', 'bob'],
    });
  });

  test('expires at its very moment, and is worked out once a token until then', async () => {
    const expires = new Date(nowMs + 1000).toISOString();
    const describeAgent = describing(await registryOf(`agents: [{ id: agent-7, owner: a, expires: "${expires}" }]`));
    const accessToken = accessTokenWith();
    const before = describeAgent(accessToken, nowMs);
    expect(before.status).toBe('active');
    expect(describeAgent(accessToken, nowMs + 999)).toBe(before);
    expect(describeAgent(accessToken, nowMs + 1000).status).toBe('expired');
  });

  test('changes with the registry, for tokens that are known already', async () => {
    let registry = await registryOf('agents: [{ id: agent-7, owner: alice }]');
    const describeAgent = createDescribeAgent({ registry: () => registry, claims: {} });
    const accessToken = accessTokenWith();
    expect(describeAgent(accessToken, nowMs).status).toBe('active');
    registry = await registryOf('agents: [{ id: agent-7, owner: bob, status: suspended }]');
    expect(describeAgent(accessToken, nowMs)).toMatchObject({ owner: 'bob', status: 'suspended' });
  });
});

describe('refusing an agent whatever the rules say', () => {
  const agentWith = (status: Agent['status']): Agent => ({
    id: 'a',
    issuer,
    owner: null,
    team: null,
    group: null,
    owners: [],
    registered: status !== 'unknown',
    status,
  });
  const refused = (kinds: readonly ('suspended' | 'expired' | 'unregistered')[]) => {
    const refuse = createRefuseAgent(kinds);
    return (['active', 'suspended', 'expired', 'unknown'] as const).map((status) => refuse(agentWith(status))?.rule);
  };

  test('follows the configuration, and never refuses an active one', () => {
    expect(refused(['suspended', 'expired'])).toEqual([
      undefined,
      'postern:agent-suspended',
      'postern:agent-expired',
      undefined,
    ]);
    expect(refused([])).toEqual([undefined, undefined, undefined, undefined]);
    expect(refused(['unregistered'])).toEqual([undefined, undefined, undefined, 'postern:agent-unregistered']);
  });
});
