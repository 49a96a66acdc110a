import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/schema.ts';
import { createSecrets, type Secrets, type SecretsOptions } from '../../src/credential/secrets.ts';

type Credentials = Config['credentials'];
const header = { header: 'authorization', value: 'Bearer {secret}' };
const basic = { basic: { username: 'postern' } };

let open: Secrets[] = [];
afterEach(() => {
  for (const secrets of open) secrets.close();
  open = [];
});

const folder = () => mkdtempSync(join(tmpdir(), 'postern-secrets-'));

async function start(credentials: Credentials, more: Partial<SecretsOptions> = {}) {
  const made = await createSecrets({ credentials, env: {}, clock: () => 5000, pollMs: 3_600_000, ...more });
  open.push(made.secrets);
  return made;
}

async function startWith(content: string | Buffer, inject: Credentials[string]['inject'] = header) {
  const file = join(folder(), 'secret');
  writeFileSync(file, content);
  return { file, ...(await start({ key: { from: { file }, inject } })) };
}

describe('createSecrets', () => {
  it('reads files and environment, without one newline at the end', async () => {
    for (const [content, text] of [
      ['abc', 'abc'],
      ['abc\n', 'abc'],
      ['abc\r\n', 'abc'],
    ] as const) {
      const { secrets, problems } = await startWith(content);
      expect(problems).toEqual([]);
      expect(secrets.current('key')?.reveal()).toBe(text);
      expect(secrets.current('key')?.version).toBe(1);
    }
    const { secrets } = await start({ key: { from: { env: 'KEY' }, inject: header } }, { env: { KEY: 'from env' } });
    expect(secrets.current('key')?.reveal()).toBe('from env');
  });

  it.each<[string, string | Buffer, Credentials[string]['inject']]>([
    ['an empty file', '', header],
    ['nothing but a newline', '\n', header],
    ['two newlines at the end', 'abc\n\n', header],
    ['a line break inside', 'abc\r\nx-admin: true', header],
    ['a NUL', 'abc\0', header],
    ['a tab', 'a\tb', header],
    ['a delete', 'a\x7f', header],
    ['more than 8 KiB', 'a'.repeat(8193), header],
    ['bytes that are not UTF-8', Buffer.from([0x61, 0xff]), header],
    ['characters that no field can carry', 'päss', header],
    ['a blank at the end', 'abc ', header],
    ['a line break in a password', 'a\nb', basic],
  ])('refuses to start on %s, and does not repeat it', async (_name, content, inject) => {
    const { secrets, problems, file } = await startWith(content, inject);
    expect(problems.map(({ path }) => path)).toEqual([['credentials', 'key', 'from']]);
    expect(problems[0]?.message.replace(file, '')).not.toMatch(/abc|admin|aaa/);
    expect(secrets.current('key')).toBeNull();
  });

  it('refuses to start on what is not there or is no file', async () => {
    const { problems } = await start(
      {
        missing: { from: { file: join(folder(), 'none') }, inject: header },
        folder: { from: { file: folder() }, inject: header },
        unset: { from: { env: 'UNSET' }, inject: header },
        good: { from: { env: 'SET' }, inject: header },
        blank: { from: { env: 'BLANK' }, inject: header },
      },
      { env: { SET: 'x', BLANK: '' } },
    );
    expect(problems.map(({ path }) => path[1])).toEqual(['missing', 'folder', 'unset', 'blank']);
  });

  it.each([
    ['host', '{secret}', 'header'],
    ['content-length', '{secret}', 'header'],
    ['transfer-encoding', '{secret}', 'header'],
    ['connection', '{secret}', 'header'],
    ['x-api-key', 'a\r\nb: {secret}', 'value'],
    ['x-api-key', '{secret} ', 'value'],
    ['x-api-key', 'é{secret}', 'value'],
  ])('refuses to start on a credential in %s as %j', async (name, value, key) => {
    const { problems } = await startWith('abc', { header: name, value });
    expect(problems.map(({ path }) => path)).toEqual([['credentials', 'key', 'inject', key]]);
  });

  it('takes 8 KiB, and a password with characters beyond ASCII', async () => {
    expect((await startWith('a'.repeat(8192))).problems).toEqual([]);
    const { secrets } = await startWith('päss wörd ', basic);
    expect(secrets.current('key')?.reveal()).toBe('päss wörd ');
  });

  it('reads a file again, and counts versions of what it says', async () => {
    const { file, secrets } = await startWith('one');
    writeFileSync(file, 'one\n');
    await secrets.refresh();
    expect(secrets.current('key')?.version).toBe(1);
    writeFileSync(file, 'two');
    await secrets.refresh();
    expect(secrets.current('key')?.version).toBe(2);
    expect(secrets.current('key')?.reveal()).toBe('two');
  });

  it('follows a link that is turned to another folder, as Kubernetes does it', async () => {
    const root = folder();
    for (const [name, text] of [
      ['v1', 'one'],
      ['v2', 'two'],
    ] as const) {
      mkdirSync(join(root, name));
      writeFileSync(join(root, name, 'secret'), text);
    }
    symlinkSync('v1', join(root, 'data'));
    const { secrets } = await start({ key: { from: { file: join(root, 'data', 'secret') }, inject: header } });
    expect(secrets.current('key')?.reveal()).toBe('one');
    symlinkSync('v2', join(root, 'next'));
    renameSync(join(root, 'next'), join(root, 'data'));
    await secrets.refresh();
    expect(secrets.current('key')?.reveal()).toBe('two');
  });

  it('has no secret while its file is gone or unfit, and has it again when it is back', async () => {
    const file = join(folder(), 'secret');
    writeFileSync(file, 'one');
    const changes: unknown[] = [];
    const { secrets } = await start(
      { key: { from: { file }, inject: header } },
      { onChange: (change) => changes.push([change.version, change.problem !== null]) },
    );
    rmSync(file);
    await secrets.refresh();
    expect(secrets.current('key')).toBeNull();
    expect(secrets.ageMs('key')).toBeNull();
    expect(secrets.problem('key')).toContain('ENOENT');
    await secrets.refresh();
    writeFileSync(file, 'a\nb');
    await secrets.refresh();
    expect(secrets.current('key')).toBeNull();
    writeFileSync(file, 'one');
    await secrets.refresh();
    expect(secrets.current('key')?.version).toBe(1);
    writeFileSync(file, 'two');
    await secrets.refresh();
    expect(secrets.current('key')?.version).toBe(2);
    expect(secrets.problem('key')).toBeNull();
    expect(changes).toEqual([
      [1, true],
      [1, true],
      [1, false],
      [2, false],
    ]);
  });

  it('polls files by itself', async () => {
    const file = join(folder(), 'secret');
    writeFileSync(file, 'one');
    let onSecond = () => {};
    const second = new Promise<void>((resolve) => {
      onSecond = resolve;
    });
    const onChange: SecretsOptions['onChange'] = ({ version, problem }) => {
      if (version === 2 && problem === null) onSecond();
    };
    const { secrets } = await start({ key: { from: { file }, inject: header } }, { pollMs: 5, onChange });
    writeFileSync(file, 'two');
    await second;
    expect(secrets.current('key')?.reveal()).toBe('two');
  });

  it('does not wait for somebody to write into a named pipe', async () => {
    const file = join(folder(), 'pipe');
    execFileSync('mkfifo', [file]);
    const { problems } = await start({ key: { from: { file }, inject: header } });
    expect(problems).toHaveLength(1);
  });

  it('tells the age of a file by when it was written, and of the environment by when it was read', async () => {
    const file = join(folder(), 'secret');
    writeFileSync(file, 'one');
    utimesSync(file, 2, 2);
    let now = 5000;
    const { secrets } = await start(
      { file: { from: { file }, inject: header }, env: { from: { env: 'KEY' }, inject: header } },
      { env: { KEY: 'x' }, clock: () => now },
    );
    now = 9000;
    expect(secrets.ageMs('file')).toBe(7000);
    expect(secrets.ageMs('env')).toBe(4000);
    expect(secrets.ageMs('unknown')).toBeNull();
    expect(secrets.names).toEqual(['file', 'env']);
  });

  it('never prints a secret', async () => {
    const { secrets } = await startWith('hunter2');
    const secret = secrets.current('key');
    const printed = [`${secret}`, JSON.stringify({ secret }), inspect({ secret }, { depth: 9, showHidden: true })];
    for (const text of printed) expect(text).toContain('[secret]');
    expect([...printed, inspect(secrets, { depth: 9, showHidden: true })].join()).not.toContain('hunter2');
  });
});
