import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { type Configuration, loadConfig } from '../../src/config/load.ts';
import { ConfigurationFault } from '../../src/errors.ts';

const introspection = { url: 'https://login.example.com/introspect', clientId: 'gate', clientSecretFile: 'secret' };

function load(...issuers: readonly object[]): Promise<Configuration> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-issuers-'));
  writeFileSync(join(folder, 'secret'), 'sk-1');
  writeFileSync(join(folder, 'empty'), ' \n');
  const file = join(folder, 'postern.yaml');
  const route = { name: 'api', match: {}, upstream: 'https://up.example.com', audience: 'api', credential: 'key' };
  const credentials = { key: { from: { env: 'KEY' }, inject: { header: 'authorization' } } };
  const listen = { publicOrigin: 'https://api.example.com' };
  writeFileSync(file, stringify({ listen, issuers, routes: [route], credentials, rules: ['rules/'] }));
  return loadConfig(file);
}

const issuerOf = (more: object = {}, issuer = 'https://login.example.com') => ({ issuer, ...more });

async function problemsOf(...issuers: readonly object[]): Promise<string> {
  try {
    await load(...issuers);
  } catch (fault) {
    if (fault instanceof ConfigurationFault) return fault.message;
    throw fault;
  }
  return '';
}

describe('a dialect', () => {
  it('is RFC 9068 where none is named', async () => {
    const [issuer] = (await load(issuerOf())).config.issuers;
    expect([issuer?.dialect, issuer?.introspection]).toEqual(['rfc9068', undefined]);
  });

  it.each(['rfc9068', 'keycloak', 'entra', 'auth0', 'hydra'])('may be %s', async (dialect) => {
    expect((await load(issuerOf({ dialect }))).config.issuers[0]).toMatchObject({ dialect });
  });

  it('may be described', async () => {
    const dialect = { typ: ['JWT', ''], agent: ['bot', 'azp'], scope: 'scp', subject: 'who', roles: ['a.b'] };
    expect((await load(issuerOf({ dialect }))).config.issuers[0]).toMatchObject({ dialect });
  });

  it.each([
    ['cognito'],
    [{ typ: ['JWT'], agent: 'azp' }],
    [{ typ: [], agent: 'azp', scope: 'scp' }],
    [{ typ: ['a b'], agent: 'azp', scope: 'scp' }],
    [{ typ: ['JWT'], agent: '', scope: 'scp' }],
    [{ typ: ['JWT'], agent: [], scope: 'scp' }],
    [{ typ: ['JWT'], agent: 'azp', scope: 'scp', rolls: 'roles' }],
  ])('is refused as %j', async (dialect) => {
    expect(await problemsOf(issuerOf({ dialect }))).toContain('issuers[0].dialect');
  });

  it('of Okta needs a custom authorization server', async () => {
    const custom = issuerOf({ dialect: 'okta' }, 'https://example.okta.com/oauth2/default');
    expect(await problemsOf(custom)).toBe('');
    expect(await problemsOf(issuerOf({ dialect: 'okta' }, 'https://example.okta.com'))).toContain('issuers[0].issuer');
  });

  it('of Entra takes both forms of one issuer side by side', async () => {
    const jwksUri = 'https://login.microsoftonline.com/tenant/discovery/v2.0/keys';
    const forms = ['https://sts.windows.net/tenant/', 'https://login.microsoftonline.com/tenant/v2.0'];
    const issuers = forms.map((issuer) => issuerOf({ dialect: 'entra', jwksUri }, issuer));
    expect((await load(...issuers)).config.issuers).toHaveLength(2);
  });
});

describe('introspection', () => {
  it('has safe defaults and a path beside the file', async () => {
    const { config, file } = await load(issuerOf({ introspection }));
    expect(config.issuers[0]?.introspection).toEqual({
      ...introspection,
      clientSecretFile: join(file, '..', 'secret'),
      auth: 'basic',
      accept: 'json',
      timeout: 2000,
      cache: 30_000,
      negativeCache: 5000,
    });
  });

  it.each([
    ['url', { url: 'ftp://x' }],
    ['url', { url: 'http://login.example.com/introspect' }],
    ['url', { url: 'https://user:secret@login.example.com/introspect' }],
    ['url', { url: 'https://login.example.com/introspect#x' }],
    ['cache', { cache: '61s' }],
    ['negativeCache', { negativeCache: '2m' }],
    ['timeout', { timeout: '31s' }],
    ['auth', { auth: 'none' }],
    ['accept', { accept: 'xml' }],
    ['clientSecretFile', { clientSecretFile: 'absent' }],
    ['clientSecretFile', { clientSecretFile: 'empty' }],
    ['clientSecret', { clientSecret: 'x' }],
  ])('is refused with a wrong %s: %j', async (key, changes) => {
    const problems = await problemsOf(issuerOf({ introspection: { ...introspection, ...changes } }));
    expect(problems).toContain(`issuers[0].introspection`);
    expect(problems).toContain(key);
  });

  it('may go without TLS on loopback, or where the issuer itself has none', async () => {
    for (const url of ['http://127.0.0.1:4444/introspect', 'http://localhost/introspect', 'http://[::1]:1/i']) {
      expect(await problemsOf(issuerOf({ introspection: { ...introspection, url } }))).toBe('');
    }
    const url = 'http://hydra:4445/introspect';
    expect(await problemsOf(issuerOf({ introspection: { ...introspection, url } }, 'http://hydra:4444'))).toBe('');
  });

  it('is for one issuer only', async () => {
    const second = issuerOf({ introspection }, 'https://other.example.com');
    expect(await problemsOf(issuerOf({ introspection }), second)).toContain('issuers[1].introspection');
  });
});
