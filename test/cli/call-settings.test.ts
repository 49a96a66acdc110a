import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CallOptions } from '../../src/cli/call.ts';
import { writeSession } from '../../src/demo/session.ts';
import { type CallFixture, clientSecret, createCallFixture, parse } from './call-fixture.ts';

let fixture: CallFixture;

beforeEach(async () => {
  fixture = await createCallFixture();
});

afterEach(() => fixture.close());

describe('postern call, where it gets its settings', () => {
  const none = { issuer: undefined, clientId: undefined, clientSecret: undefined };

  async function writeDemo(over: { origin?: string } = {}): Promise<void> {
    const clientSecretFile = join(fixture.folder, 'agent-7');
    await writeFile(clientSecretFile, `${clientSecret}\n`);
    await writeSession(fixture.folder, {
      origin: fixture.origin,
      adminOrigin: 'http://127.0.0.1:9901',
      issuer: fixture.issuer.issuer,
      audience: fixture.origin,
      clientId: 'agent-7',
      clientSecretFile,
      scope: 'repo:read',
      ...over,
    });
  }

  test('takes everything from the running demo when the URL is the demo', async () => {
    await writeDemo();
    const { code } = await fixture.run(none);
    expect(code).toBe(0);
    expect(decodeJwt(fixture.received[0]?.request.headers.authorization?.slice(5) ?? '')).toMatchObject({
      scope: 'repo:read',
    });
  });

  test('sends a secret of the environment to no demo', async () => {
    await writeDemo();
    expect((await fixture.run({ ...none, clientSecret: 'of another issuer' })).code).toBe(0);
  });

  test('keeps the demo client away from any other URL', async () => {
    await writeDemo({ origin: 'http://127.0.0.1:1' });
    const { code, stdout } = await fixture.run(none);
    expect(code).toBe(2);
    expect(parse(stdout)).toMatchObject({ error: 'usage' });
    expect(fixture.received).toHaveLength(0);
  });

  test('keeps the demo client secret away from any other issuer', async () => {
    await writeDemo();
    const { code } = await fixture.run({ ...none, issuer: 'http://127.0.0.1:1' });
    expect(code).toBe(2);
  });

  test('reads the secret from a file, white space around it aside', async () => {
    const file = join(fixture.folder, 'secret');
    await writeFile(file, `${clientSecret}\n`);
    expect((await fixture.run({ clientSecret: undefined, clientSecretFile: file })).code).toBe(0);
  });

  test.each<[string, Partial<CallOptions>]>([
    ['--issuer, --client-id and --client-secret-file are needed', none],
    ['--client-id and --client-secret-file are needed', { ...none, issuer: 'http://127.0.0.1:1' }],
    ['--issuer is needed', { issuer: undefined }],
  ])('names all that is missing at once: %s', async (told, options) => {
    const { code, stderr } = await fixture.run({ json: false, ...options });
    expect(code).toBe(2);
    expect(stderr).toContain(told);
  });

  test.each<[string, Partial<CallOptions>, string, string]>([
    ['an audience', { audience: 'https://unknown.example' }, 'audience https://unknown.example', '--audience'],
    ['a scope', { scope: 'openid' }, '"openid"', '--scope'],
    ['a client', { clientSecret: 'wrong' }, 'refused a token', '--client-id'],
  ])('names the option for %s that the issuer refuses', async (_what, options, told, option) => {
    const { code, stderr } = await fixture.run({ json: false, ...options });
    expect(code).toBe(3);
    expect(stderr).toContain(told);
    expect(stderr.match(/--[a-z-]+/g)).toEqual([option]);
  });
});

describe('postern call, when it is used wrongly', () => {
  test.each<[string, Partial<CallOptions>]>([
    ['a URL that is none', { url: 'nonsense' }],
    ['a URL that is not http', { url: 'ftp://127.0.0.1/' }],
    ['http to another machine', { url: 'http://api.example.com/' }],
    ['http to a name that only begins like loopback', { url: 'http://127.0.0.1.example.com/' }],
    ['http to an issuer on another machine', { issuer: 'http://login.example.com' }],
    ['a header without a colon', { headers: ['x-trace'] }],
    ['a header with a line break', { headers: ['x-trace: a\r\nb: c'] }],
    ['a header with a space in its name', { headers: ['x trace: a'] }],
    ['a header that the client makes', { headers: ['Authorization: Bearer mine'] }],
    ['a reason with a line break', { reason: 'a\nb' }],
    ['a body with GET', { method: 'GET', data: 'x' }],
    ['a method with a space', { method: 'GET /x' }],
    ['a body file that is not there', { data: '@/nowhere/at/all' }],
    ['a secret file that is not there', { clientSecret: undefined, clientSecretFile: '/nowhere/at/all' }],
    ['no secret at all', { clientSecret: undefined }],
  ])('ends with 2 and calls nobody: %s', async (_what, options) => {
    const { code, stdout } = await fixture.run(options);
    expect(code).toBe(2);
    expect(parse(stdout)).toMatchObject({ error: 'usage', message: expect.any(String) });
    expect(fixture.received).toHaveLength(0);
  });
});
