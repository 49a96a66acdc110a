import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { packageVersion } from '../../src/package-version.ts';
import { rawServer } from '../support/raw-http.ts';
import { writeConfiguration } from './configuration-file.ts';
import { mainFile, postern } from './postern-process.ts';

const nowhere = ['--admin', 'http://127.0.0.1:1'];

describe('the command line', () => {
  it.each([
    ['nothing at all', []],
    ['an unknown command', ['nonesuch']],
    ['help about an unknown command', ['help', 'nonesuch']],
    ['an unknown option', ['check', '--nope']],
    ['an argument too many', ['run', 'extra']],
    ['a kind that is none', ['revoke', 'planet', 'x', '--reason', 'y']],
    ['a revocation without a reason', ['revoke', 'agent', 'x']],
    ['an option without its value', ['check', '--config']],
    ['an admin address that is no URL', ['revocations', '--admin', 'localhost:9901']],
    ['a token file that is not there', ['revocations', '--token-file', '/nonexistent/token']],
    ['a URL that is none', ['call', 'nowhere', '--issuer', 'https://login.example']],
    ['no configuration to run', ['run', '--config', '/nonexistent/postern.yaml']],
    ['no configuration to check', ['check', '--config', '/nonexistent/postern.yaml']],
  ])('answers %s with exit code 2 and a message on standard error', async (_name, args) => {
    const { code, stdout, stderr } = await postern(args);
    expect(stderr).not.toBe('');
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  it.each([
    ['revoke', ['revoke', 'agent', 'x', '--reason', 'y', ...nowhere]],
    ['revocations', ['revocations', ...nowhere]],
    ['revocations --lift', ['revocations', '--lift', 'x', ...nowhere]],
  ])('answers %s with exit code 3 where no sidecar answers', async (_name, args) => {
    const plain = await postern(args);
    expect(plain).toMatchObject({ code: 3, stdout: '', stderr: expect.stringContaining('--admin') });
    const { code, stdout } = await postern([...args, '--json']);
    expect(code).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({ error: 'admin_unreachable' });
  });

  it('answers with exit code 3 where what answers is no admin API', async () => {
    const other = await rawServer((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'));
    const { code, stdout } = await postern(['revocations', '--json', '--admin', `http://127.0.0.1:${other.port}`]);
    await other.close();
    expect({ code, ...(JSON.parse(stdout) as object) }).toMatchObject({ code: 3, error: 'admin_answer' });
  });

  it.each([
    ['check, good', (file: string) => ['check', '--config', file], 0],
    ['check, bad', () => ['check', '--config', writeConfiguration({ x: 1 }).file], 1],
    ['check, missing', () => ['check', '--config', '/nonexistent/postern.yaml'], 2],
    ['run, bad', () => ['run', '--config', writeConfiguration({ x: 1 }).file], 2],
    ['schema', () => ['schema'], 0],
    ['call, unreachable', () => ['call', 'http://127.0.0.1:1/x', '--issuer', 'http://127.0.0.1:1'], undefined],
  ] as const)('gives one JSON value on standard output with --json: %s', async (_name, argsOf, expected) => {
    const args = [...argsOf(writeConfiguration().file), '--json'];
    const { code, stdout } = await postern(args, { env: { POSTERN_CLIENT_SECRET: 'secret-of-the-client' } });
    expect(JSON.parse(stdout)).toBeTypeOf('object');
    if (expected !== undefined) expect(code).toBe(expected);
    else expect(code).toBeGreaterThan(0);
    expect(stdout).not.toContain('secret-of-the-client');
  });

  it('takes the tour as JSON', async () => {
    const { code, stdout } = await postern(['demo', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ ok: true });
    expect(code).toBe(0);
  });

  it('tells its version and helps on standard output, with the exit codes', async () => {
    expect(await postern(['--version'])).toMatchObject({ code: 0, stdout: `${packageVersion}\n` });
    const { code, stdout, stderr } = await postern(['help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const word of ['run', 'check', 'schema', 'revoke', 'revocations', 'call', 'demo', 'Exit codes: 0 done']) {
      expect(stdout).toContain(word);
    }
    expect(stdout).not.toContain('\x1b');
  });

  it('explains each kind of revocation, and what a second signal does', async () => {
    const revoke = await postern(['revoke', '--help']);
    for (const word of ['agent ', 'subject ', 'jkt ', 'jti ', '--issuer', '--until', 'POSTERN_ADMIN', 'Examples:']) {
      expect(revoke.stdout).toContain(word);
    }
    expect((await postern(['help', 'run'])).stdout).toContain('second one ends it at once');
  });

  it('takes the admin address from the environment', async () => {
    const { code, stdout } = await postern(['revocations', '--json'], { env: { POSTERN_ADMIN: 'http://127.0.0.1:1' } });
    expect({ code, stdout }).toMatchObject({ code: 3, stdout: expect.stringContaining('http://127.0.0.1:1') });
  });

  it('ends without a fault where its reader stops reading', async () => {
    const child = spawn(process.execPath, [mainFile, 'schema'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const [code] = (await once(child, 'close')) as [number];
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });
});
