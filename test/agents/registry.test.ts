import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadRegistry } from '../../src/agents/registry.ts';
import { followRegistry, type RegistryChange } from '../../src/agents/registry-file.ts';
import { ConfigurationFault } from '../../src/errors.ts';

function fileWith(text: string): string {
  const file = join(mkdtempSync(join(tmpdir(), 'postern-agents-')), 'agents.yaml');
  writeFileSync(file, text);
  return file;
}

const one = (id: string) => `agents:\n  - { id: ${id}, owner: alice }\n`;

async function problemsOf(text: string): Promise<readonly string[]> {
  const fault: unknown = await loadRegistry(fileWith(text)).catch((error: unknown) => error);
  if (!(fault instanceof ConfigurationFault)) throw new Error('there were no problems');
  return fault.problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
}

describe('the registry of agents', () => {
  test('reads all that an entry may say', async () => {
    const { entries, find } = await loadRegistry(
      fileWith(`agents:
  - id: agent-7
    issuer: https://login.example.com
    owner: alice@example.com
    team: payments
    group: payers
    contact: "#payments"
    status: suspended
    expires: 2027-01-31T12:00:00+02:00
  - { id: agent-8, owner: bob }
`),
    );
    expect(entries).toEqual([
      {
        id: 'agent-7',
        issuer: 'https://login.example.com',
        owner: 'alice@example.com',
        team: 'payments',
        group: 'payers',
        contact: '#payments',
        isSuspended: true,
        expiresAtMs: Date.parse('2027-01-31T10:00:00Z'),
      },
      {
        id: 'agent-8',
        issuer: null,
        owner: 'bob',
        team: null,
        group: null,
        contact: null,
        isSuspended: false,
        expiresAtMs: Number.POSITIVE_INFINITY,
      },
    ]);
    expect(find('agent-7', 'https://login.example.com')?.owner).toBe('alice@example.com');
    expect(find('agent-7', 'https://other.example.com')).toBeNull();
    expect(find('agent-8', 'https://any.example.com')?.owner).toBe('bob');
    expect(find('constructor', 'x')).toBeNull();
  });

  test('prefers the entry of the issuer to the one for every issuer', async () => {
    const text = 'agents: [{ id: a, owner: all }, { id: a, issuer: i, owner: one }]';
    const { find, entriesOf } = await loadRegistry(fileWith(text));
    expect([find('a', 'i')?.owner, find('a', 'j')?.owner]).toEqual(['one', 'all']);
    expect(entriesOf('a')).toHaveLength(2);
  });

  test('tells every problem at once, with its place', async () => {
    const problems = await problemsOf(`agents:
  - { id: a, ownr: alice }
  - { id: b, owner: bob, status: gone }
  - { id: c, owner: "x\\ny" }
  - { id: d, owner: eve, expires: 2027-01-31 }
  - { id: e, owner: eve, expires: "2027-01-31T12:00Z" }
`);
    expect(problems).toEqual([
      expect.stringMatching(/^2:14 unknown key agents\[0\]\.ownr; did you mean "owner"/),
      expect.stringMatching(/^3:\d+ agents\[1\]\.status must be one of active, suspended/),
      expect.stringMatching(/^4:\d+ agents\[2\]\.owner must have no control characters/),
      expect.stringMatching(/^5:\d+ agents\[3\]\.expires must be an RFC 3339 date and time/),
      expect.stringMatching(/^6:\d+ agents\[4\]\.expires must be an RFC 3339 date and time/),
    ]);
  });

  test('refuses an agent that is registered twice, and says where it was before', async () => {
    const problems = await problemsOf(
      'agents:\n  - { id: a, owner: b }\n  - { id: x, owner: b }\n  - { id: a, owner: c }\n',
    );
    expect(problems).toEqual(['4:11 agents[2] is registered already, on line 2']);
  });

  test.each([
    ['nothing', ''],
    ['another shape', 'agents: { agent-7: alice }'],
    ['no YAML', 'agents: ['],
  ])('refuses %s', async (_, text) => {
    expect((await problemsOf(text)).length).toBeGreaterThan(0);
  });

  test('refuses a file that is not there', async () => {
    await expect(loadRegistry('/nowhere/agents.yaml')).rejects.toBeInstanceOf(ConfigurationFault);
  });
});

describe('the registry of agents while it runs', () => {
  async function follow(file: string) {
    const changes: RegistryChange[] = [];
    const followed = followRegistry({
      file,
      registry: await loadRegistry(file),
      pollMs: 3_600_000,
      onChange: (change) => void changes.push(change),
      onFault: (fault) => {
        throw fault;
      },
    });
    onTestFinished(followed.close);
    const ids = () => followed.current().entries.map(({ id }) => id);
    return { ...followed, changes, ids };
  }

  test('is read again when it has changed, and only then', async () => {
    const file = fileWith(one('a'));
    const { refresh, changes, ids } = await follow(file);
    await refresh();
    expect([changes, ids()]).toEqual([[], ['a']]);
    writeFileSync(file, one('agent-b'));
    await Promise.all([refresh(), refresh()]);
    expect([changes, ids()]).toEqual([[{ outcome: 'loaded', agents: 1 }], ['agent-b']]);
  });

  test('keeps the last good one, says so once, and takes the next good one', async () => {
    const file = fileWith(one('a'));
    const { refresh, changes, ids } = await follow(file);
    writeFileSync(file, 'agents: [{ id: bad }]');
    await refresh();
    await refresh();
    expect(ids()).toEqual(['a']);
    expect(changes).toEqual([{ outcome: 'refused', problems: [expect.objectContaining({ file, line: 1 })] }]);
    rmSync(file);
    await refresh();
    expect([changes.length, ids()]).toEqual([2, ['a']]);
    writeFileSync(file, one('agent-c'));
    await refresh();
    expect([changes.at(-1), ids()]).toEqual([{ outcome: 'loaded', agents: 1 }, ['agent-c']]);
  });

  test('follows a link that is turned to another file, as Kubernetes turns those of a ConfigMap', async () => {
    const [before, after] = [fileWith(one('a')), fileWith(one('b'))];
    const link = join(mkdtempSync(join(tmpdir(), 'postern-agents-')), 'agents.yaml');
    symlinkSync(before, link);
    const { refresh, ids } = await follow(link);
    symlinkSync(after, `${link}.new`);
    renameSync(`${link}.new`, link);
    await refresh();
    expect(ids()).toEqual(['b']);
  });

  test('is looked at by itself', async () => {
    const file = fileWith(one('a'));
    const followed = followRegistry({
      file,
      registry: await loadRegistry(file),
      pollMs: 5,
      onChange: () => {},
      onFault: () => {},
    });
    onTestFinished(followed.close);
    writeFileSync(file, one('agent-b'));
    await expect.poll(() => followed.current().entries.map(({ id }) => id)).toEqual(['agent-b']);
  });
});
