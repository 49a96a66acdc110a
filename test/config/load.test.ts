import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { ConfigurationFault, type Problem } from '../../src/errors.ts';

const good = `
listen:
  publicOrigin: https://api.agents.example
issuers:
  - issuer: https://login.example
routes:
  - name: api
    match: { pathPrefix: /api/ }
    upstream: https://api.example
    audience: https://api.agents.example
    credential: api-key
credentials:
  api-key:
    from: { env: API_KEY }
    inject: { header: Authorization, value: "Bearer {secret}" }
rules: [rules/]
`;

function write(text: string): string {
  const file = join(mkdtempSync(join(tmpdir(), 'postern-config-')), 'postern.yaml');
  writeFileSync(file, text);
  return file;
}

async function problemsOf(text: string): Promise<readonly Problem[]> {
  try {
    await loadConfig(write(text));
  } catch (fault) {
    if (fault instanceof ConfigurationFault) return fault.problems;
    throw fault;
  }
  return [];
}

describe('loadConfig', () => {
  it('fills in safe defaults and resolves paths against the file', async () => {
    const file = write(good);
    const { config } = await loadConfig(file);
    expect(config.admin.address).toBe('127.0.0.1:9901');
    expect(config.store.kind).toBe('memory');
    expect(config.proof).toMatchObject({ accept: ['dpop', 'mtls'], window: 'strict', nonce: 'off' });
    expect(config.audit.onFailure).toBe('deny');
    expect(config.routes[0]?.timeouts).toEqual({ headers: 30_000, body: 300_000 });
    expect(config.rules).toEqual([join(file, '../rules')]);
    expect(config.credentials['api-key']?.inject).toEqual({ header: 'authorization', value: 'Bearer {secret}' });
  });

  it('names an unknown key with its place and the nearest known one', async () => {
    const problems = await problemsOf(good.replace('match:', 'mach:'));
    expect(problems.map(({ line, column }) => [line, column])).toEqual([[8, 5]]);
    expect(problems.map((problem) => problem.message).join('\n')).toContain('did you mean "match"?');
  });

  it('reports every problem at once', async () => {
    const text = good
      .replace('https://api.agents.example\nissuers', 'https://api.agents.example/path\nissuers')
      .replace('upstream: https://api.example', 'upstream: ftp://api.example\n    timeouts: { headers: 30 }');
    const lines = (await problemsOf(text)).map((problem) => problem.line);
    expect(lines).toEqual([3, 9, 10]);
  });

  it('refuses an admin address off loopback without a token file', async () => {
    const problems = await problemsOf(`${good}admin: { address: 0.0.0.0:9901 }\n`);
    expect(problems).toMatchObject([{ line: 17, message: expect.stringContaining('admin.tokenFile') }]);
  });

  it('refuses duplicate keys and broken YAML with their place', async () => {
    expect(await problemsOf(`${good}rules: [other/]\n`)).toMatchObject([{ line: 17, column: 1 }]);
    expect(await problemsOf('listen: {')).toMatchObject([{ line: 1 }]);
  });

  it('refuses a file that cannot be read and names it', async () => {
    await expect(loadConfig('/nonexistent/postern.yaml')).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('/nonexistent/postern.yaml cannot be read (ENOENT)'),
    });
  });

  it.each([
    ['a secret in an upstream URL', good.replace('https://api.example', 'https://user:secret@api.example')],
    ['a credential template without {secret}', good.replace('Bearer {secret}', 'Bearer abc')],
    ['an unknown proof algorithm', `${good}proof: { algorithms: [HS256] }\n`],
    ['redis without a URL', `${good}store: { kind: redis }\n`],
    [
      'a JWKS URL that is not http',
      good.replace('issuer: https://login.example', 'issuer: https://login.example\n    jwksUri: file:///etc/passwd'),
    ],
    ['a size without a unit', `${good}limits: { body: 10 }\n`],
    ['a bound beyond what is sane', `${good}limits: { body: 900GiB }\n`],
    ['a repeated issuer', good.replace('routes:', '  - issuer: https://login.example\nroutes:')],
    [
      'an unreadable key set file',
      good.replace('issuer: https://login.example', 'issuer: https://login.example\n    jwksFile: nowhere.json'),
    ],
  ])('refuses %s', async (_name, text) => {
    const problems = await problemsOf(text);
    expect(problems.length).toBeGreaterThan(0);
    for (const problem of problems) expect(problem.line).toBeGreaterThan(0);
    expect(JSON.stringify(problems)).not.toContain('user:secret');
  });
});
