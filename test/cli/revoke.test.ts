import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RevokeOptions, revocations, revoke } from '../../src/cli/revoke.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { writeConfiguration } from './configuration-file.ts';

const adminToken = 'a-long-and-random-admin-token';
const { folder, write } = writeConfiguration();
const tokenFile = write('admin-token', `${adminToken}\n`);
let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar({ config: { admin: { tokenFile }, issuer: { tokenMaxLifetime: '1h' } } });
});
afterAll(() => harness.close());

type Told = { readonly code: number; readonly stdout: string; readonly stderr: string };

async function told(work: (io: ReturnType<typeof createCapturedIo>['io']) => Promise<number>): Promise<Told> {
  const { io, stdout, stderr } = createCapturedIo();
  const code = await work(io);
  return { code, stdout: stdout(), stderr: stderr() };
}

const revokeOf = (more: Partial<RevokeOptions>) =>
  told((io) =>
    revoke({ ...usual(), kind: 'agent', value: 'agent-7', reason: 'test', dryRun: false, json: false, ...more }, io),
  );
const list = (more: object = {}) => told((io) => revocations({ ...usual(), limit: 100, json: false, ...more }, io));
const usual = () => ({ admin: harness.sidecar.adminOrigin, tokenFile });

describe('postern revoke and revocations', () => {
  it('refuse the very next call, say how to lift, lift, and let pass again', async () => {
    expect((await harness.call('/api/x')).status).toBe(200);
    const revoked = await revokeOf({ json: true });
    expect(revoked.code).toBe(0);
    const { id } = JSON.parse(revoked.stdout) as { id: string };
    expect(JSON.parse(revoked.stdout)).toMatchObject({ agent: 'agent-7', reason: 'test', expires_at: null });
    expect((await harness.call('/api/x')).reason).toBe('token_revoked');

    const listed = await list();
    expect(listed).toMatchObject({ code: 0, stdout: expect.stringContaining(`${id}  agent agent-7  until lifted`) });
    const lifted = await list({ lift: id });
    expect(lifted).toMatchObject({ code: 0, stdout: `lifted ${id}\n` });
    expect((await harness.call('/api/x')).status).toBe(200);
    expect(await list()).toMatchObject({ code: 0, stdout: 'nothing is revoked\n' });
    expect(await list({ lift: id })).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining(harness.sidecar.adminOrigin),
    });
  });

  it('list as many as asked for, of every kind, and say that there are more', async () => {
    const issuer = harness.issuer.issuer;
    const time = '2020-01-01T00:00:00.000Z';
    const until = '2099-01-01T00:00:00.000Z';
    const ids: string[] = [];
    const kinds: Partial<RevokeOptions>[] = [
      { kind: 'owner', value: 'bob@example.com' },
      { kind: 'delegation', value: 'grant-7' },
      { kind: 'issuer', value: issuer, issuedBefore: time, until },
    ];
    for (const more of kinds) ids.push(JSON.parse((await revokeOf({ ...more, json: true })).stdout).id);
    const lines = [
      `${ids[0]}  owner bob@example.com  until lifted  test`,
      `${ids[1]}  delegation grant-7  until lifted  test`,
      `${ids[2]}  issuer ${issuer} issued before ${time}  until ${until}  test`,
    ];
    expect((await list({ limit: 3 })).stdout.trimEnd().split('\n').toSorted()).toEqual(lines.toSorted());
    const [one, two, more, ...rest] = (await list({ limit: 2 })).stdout.split('\n');
    expect(lines).toEqual(expect.arrayContaining([one, two]));
    expect([more, ...rest]).toEqual(['there are more; see --limit', '']);
    expect(JSON.parse((await list({ limit: 3, json: true })).stdout).revocations).toHaveLength(3);
    for (const id of ids) expect((await list({ lift: id })).code).toBe(0);
  });

  it('say until when what hits certain tokens only is kept', async () => {
    const { code, stdout } = await revokeOf({ kind: 'jti', value: randomUUID(), issuer: harness.issuer.issuer });
    expect(code).toBe(0);
    const [, until = '', id = ''] = /effective now until (\S+)\n.*--lift (\S+)/.exec(stdout) ?? [];
    expect(Date.parse(until)).toBeGreaterThan(Date.now() + 3_600_000);
    expect((await list()).stdout).toContain(`until ${until}`);
    expect((await list({ lift: id })).code).toBe(0);
  });

  it('show the command that lifts an entry', async () => {
    const { code, stdout } = await revokeOf({ kind: 'subject', value: `user-${randomUUID()}` });
    expect(code).toBe(0);
    const [, id = '', options] = /revocations --lift (\S+)(.*)/.exec(stdout) ?? [];
    // Pasted, it must not ask another sidecar, or ask without the token.
    expect(options).toBe(` --admin ${harness.sidecar.adminOrigin} --token-file ${tokenFile}`);
    expect((await list({ lift: id })).code).toBe(0);
  });

  it.each<[string, Partial<RevokeOptions>]>([
    ['a time that is none', { until: 'tomorrow' }],
    ['a time that is past', { until: '2001-01-01T00:00:00Z' }],
    ['a token without its issuer', { kind: 'jti', value: 'x' }],
    ['a key that is no thumbprint', { kind: 'jkt', value: 'x' }],
    ['an empty reason', { reason: ' ' }],
  ])('answer %s with exit code 2', async (_name, more) => {
    const { code, stdout, stderr } = await revokeOf(more);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('Invalid revocation');
    const json = await revokeOf({ ...more, json: true });
    expect(JSON.parse(json.stdout)).toMatchObject({ status: 400 });
  });

  it('ask for the token file where the admin API wants its token, and show no token', async () => {
    const wrong = join(folder, 'wrong-token');
    writeFileSync(wrong, 'another-token-altogether');
    for (const file of [undefined, wrong]) {
      const { code, stdout, stderr } = await list({ tokenFile: file });
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
      expect(stderr).toContain('--token-file');
      expect(stderr).not.toContain('another-token');
    }
  });

  it('refuse a token file that no field could carry', async () => {
    const odd = join(folder, 'odd-token');
    writeFileSync(odd, 'two words');
    const { code, stderr } = await list({ tokenFile: odd });
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('must hold one word') });
  });

  it('print nothing that moves the cursor', async () => {
    const { stdout } = await revokeOf({ value: `agent-\x1b[2J${randomUUID()}` });
    expect(stdout).toContain('\\x1b[2J');
    expect((await list()).stdout).not.toContain('\x1b');
  });
});
