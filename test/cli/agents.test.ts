import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AgentsOptions, agents } from '../../src/cli/agents.ts';
import { revoke } from '../../src/cli/revoke.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { startRedis } from '../support/redis-server.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

const file = join(mkdtempSync(join(tmpdir(), 'postern-agents-')), 'agents.yaml');
writeFileSync(
  file,
  'agents: [{ id: agent-7, owner: alice, team: payments, group: payers, contact: "#pay" }, { id: idle, owner: bob }]',
);
let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar({ config: { agents: { file } } });
});
afterAll(() => harness.close());

async function told(options: Partial<AgentsOptions> & Pick<AgentsOptions, 'action'>, on = harness) {
  const { io, stdout, stderr } = createCapturedIo();
  const code = await agents({ admin: on.sidecar.adminOrigin, json: false, ...options }, io);
  return { code, stdout: stdout(), stderr: stderr() };
}

describe('postern agents', () => {
  it('lists who is registered and who was seen, and those of one human', async () => {
    expect((await harness.call('/api/x')).status).toBe(200);
    const { code, stdout } = await told({ action: 'list' });
    expect(code).toBe(0);
    expect(stdout.split('\n')).toEqual([
      expect.stringMatching(/^agent-7 {2}active {2}owner alice {2}last seen \S+, 1 call$/),
      'idle  active  owner bob  not seen',
      '',
    ]);
    expect((await told({ action: 'list', owner: 'bob' })).stdout).toMatch(/^idle /);
    expect((await told({ action: 'list', owner: 'nobody' })).stdout).toBe('no agents\n');
    const json = await told({ action: 'list', json: true });
    expect(JSON.parse(json.stdout).agents).toHaveLength(2);
  });

  it('shows one, with its key and what revokes it', async () => {
    await harness.call('/api/x');
    const shown = await told({ action: 'show', id: 'agent-7' });
    expect(shown.code).toBe(0);
    expect(shown.stdout).toContain('registered   active, owner alice, team payments, group payers, contact #pay');
    expect(shown.stdout).toContain(`key          ${harness.agentKey.jkt}`);
    const json = await told({ action: 'show', id: 'agent-7', json: true });
    expect(JSON.parse(json.stdout)).toMatchObject({ id: 'agent-7', registry: [{ owner: 'alice' }] });
    expect(await told({ action: 'show', id: 'nobody' })).toMatchObject({ code: 1, stdout: '' });
  });

  it('prints nothing that moves the cursor', async () => {
    const client = 'x\x1b[2J';
    await harness.call('/api/x', { token: harness.mint({ claims: { client_id: client } }) });
    expect((await told({ action: 'list' })).stdout).toContain('x\\x1b[2J');
    expect((await told({ action: 'show', id: client })).stdout).not.toContain('\x1b');
  });

  it.each<[string, Partial<AgentsOptions> & Pick<AgentsOptions, 'action'>]>([
    ['show without an id', { action: 'show' }],
    ['list with an id', { action: 'list', id: 'a' }],
    ['offboard without anybody', { action: 'offboard', reason: 'x' }],
    ['offboard with both', { action: 'offboard', id: 'a', owner: 'b', reason: 'x' }],
    ['offboard without a reason', { action: 'offboard', id: 'a' }],
    ['offboard with an empty reason', { action: 'offboard', id: 'a', reason: ' ' }],
  ])('answers %s with exit code 2', async (_, options) => {
    const { code, stdout, stderr } = await told(options);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).not.toBe('');
  });

  it('offboards an agent, and a human, and lists the entries', async () => {
    const own = await startSidecar({ config: { agents: { file } } });
    expect((await own.call('/api/x')).status).toBe(200);
    const dryRun = createCapturedIo();
    const usual = { admin: own.sidecar.adminOrigin, reason: 'x', json: false };
    expect(await revoke({ ...usual, kind: 'agent', value: 'agent-7', dryRun: true }, dryRun.io)).toBe(0);
    expect(dryRun.stdout()).toBe(
      'would hit 1 agent seen in the last 30 days: agent-7\nand 1 live token that they presented; nothing was revoked\n',
    );
    expect((await own.call('/api/x')).status).toBe(200);

    const agent = await told({ action: 'offboard', id: 'agent-7', reason: 'gone' }, own);
    expect(agent.code).toBe(0);
    expect(agent.stdout).toMatch(/^offboarded agent-7, effective now\n {2}\S+ {2}agent agent-7\n {2}\S+ {2}jkt \S+\n$/);
    expect((await own.call('/api/x')).reason).toBe('token_revoked');
    const human = await told({ action: 'offboard', owner: 'bob', reason: 'left', json: true }, own);
    expect(JSON.parse(human.stdout).entries).toMatchObject([{ owner: 'bob' }, { subject: 'bob' }, { agent: 'idle' }]);
    await own.close();
  });

  it('answers with exit code 3 where the store is away', async () => {
    const redis = await startRedis();
    const own = await startSidecar({
      store: { kind: 'redis', url: redis.url, timeout: '2s' },
      config: { agents: { file } },
    });
    await redis.kill();
    const { code, stderr } = await told({ action: 'offboard', id: 'agent-7', reason: 'gone' }, own);
    expect({ code, stderr }).toEqual({ code: 3, stderr: expect.stringContaining('Store unavailable') });
    await own.close();
    await redis.stop();
  });
});

describe('postern agents baseline', () => {
  const baseline = (verb: AgentsOptions['verb'], more: Partial<AgentsOptions> = {}) =>
    told({ action: 'baseline', id: 'agent-7', verb, ...more });

  it('shows what the agent does, and that no call has been an alarm', async () => {
    await harness.record((await harness.call('/api/x')).decision);
    const shown = await baseline(undefined);
    expect(shown).toMatchObject({ code: 0, stderr: '' });
    expect(shown.stdout).toMatch(/^agent-7\n {2}standing {3}learning\n {2}ready {6}no, not enough history\n/);
    expect((await baseline('explain')).stdout).toContain('no alarm, or none since a person last spoke');
    const { samples } = JSON.parse((await baseline('show', { json: true })).stdout) as { samples: number };
    expect(samples).toBeGreaterThan(0);
    expect(await baseline('show', { id: 'nobody' })).toMatchObject({ code: 1, stdout: '' });
  });

  it('does what a person decides, and tells how it is then', async () => {
    expect((await baseline('freeze', { reason: 'holiday' })).stdout).toContain('standing   frozen since ');
    expect((await baseline('unfreeze')).stdout).toContain('standing   learning since ');
    expect((await baseline('unfreeze')).code).toBe(2);
    expect((await baseline('confirm-safe')).stdout).toContain('verdict    safe, ');
    expect((await baseline('rollback', { before: '2001-01-01T00:00:00Z' })).stderr).toContain('no snapshot');
    expect(harness.auditText()).toMatch(/"action":"freeze","agent":"agent-7","author":"admin","reason":"holiday"/);
  });

  it('exports to a file, forgets, and imports from it', async () => {
    const exported = join(mkdtempSync(join(tmpdir(), 'postern-baseline-')), 'agent-7.json');
    const samples = async () => JSON.parse((await baseline('show', { json: true })).stdout).samples as number;
    const before = await samples();
    expect((await baseline('export', { file: exported })).stdout).toBe(`exported to ${exported}\n`);
    expect((await baseline('export')).stdout).toContain('"format": "postern-baseline"');
    expect((await baseline('reset')).stdout).toContain('0 judged, 0 learned');
    expect((await baseline('import', { file: exported })).code).toBe(0);
    expect(await samples()).toBe(before);
    expect((await baseline('import', { file })).code).toBe(2);
  });

  it.each([
    ['rollback', {}],
    ['freeze', { before: '2026-01-01T00:00:00Z' }],
    ['import', {}],
    ['reset', { file: 'x' }],
    ['show', { reason: 'x' }],
    ['show', { id: undefined }],
  ] as const)('refuses %s with %j', async (verb, more) => {
    expect(await baseline(verb, more)).toMatchObject({ code: 2, stdout: '' });
  });

  it('is about baselines alone', async () => {
    expect((await told({ action: 'show', id: 'agent-7', verb: 'freeze' })).code).toBe(2);
  });
});
