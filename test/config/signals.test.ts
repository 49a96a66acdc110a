import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { ConfigurationFault } from '../../src/errors.ts';

const login = 'https://login.example.com';
const idp = {
  name: 'idp',
  issuer: 'https://idp.example.com',
  audience: 'https://me.example',
  push: { tokenFile: 'token' },
};
const poll = { endpoint: 'https://idp.example.com/poll', tokenFile: 'token' };

async function load(signals: object, statusList?: object, issuer: object = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'postern-config-signals-'));
  writeFileSync(join(folder, 'token'), 'a-token-that-is-long-enough');
  writeFileSync(join(folder, 'short'), 'short');
  writeFileSync(join(folder, 'empty'), '\n');
  const file = join(folder, 'postern.yaml');
  const route = { name: 'api', match: {}, upstream: 'https://up.example.com', audience: 'api', credential: 'key' };
  const credentials = { key: { from: { env: 'KEY' }, inject: { header: 'authorization' } } };
  const issuers = [{ issuer: login, ...issuer, ...(statusList === undefined ? {} : { statusList }) }];
  const listen = { publicOrigin: 'https://api.example.com' };
  writeFileSync(file, stringify({ listen, issuers, signals, routes: [route], credentials, rules: ['rules/'] }));
  return { folder, config: (await loadConfig(file)).config };
}

async function problemsOf(...given: Parameters<typeof load>): Promise<string> {
  try {
    await load(...given);
  } catch (fault) {
    if (fault instanceof ConfigurationFault) return fault.message;
    throw fault;
  }
  return '';
}

const withIdp = (more: object = {}) => ({ address: '127.0.0.1:0', transmitters: [{ ...idp, ...more }] });

describe('signals', () => {
  it('are received from nobody where none is named', async () => {
    expect((await load({})).config.signals).toMatchObject({ transmitters: [] });
  });

  it('have absolute paths once they are loaded', async () => {
    const { folder, config } = await load(withIdp({ poll }));
    const [transmitter] = config.signals.transmitters;
    expect([transmitter?.push?.tokenFile, transmitter?.poll?.tokenFile]).toEqual([
      join(folder, 'token'),
      join(folder, 'token'),
    ]);
  });

  it.each([
    ['no way to come', withIdp({ push: undefined }), 'needs push, poll or both'],
    ['a push and no address', { transmitters: [idp] }, 'signals.address'],
    ['two places for keys', withIdp({ jwksUri: login, jwksFile: 'token' }), 'takes jwksUri or jwksFile'],
    ['a file without keys', withIdp({ jwksFile: 'token' }), 'holds no JSON Web Key Set'],
    ['a push token that is short', withIdp({ push: { tokenFile: 'short' } }), 'shorter than 16'],
    ['a push token that is not there', withIdp({ push: { tokenFile: 'gone' } }), 'cannot be read'],
    ['a poll token that is empty', withIdp({ poll: { ...poll, tokenFile: 'empty' } }), 'is empty'],
    ['a poll without TLS', withIdp({ poll: { ...poll, endpoint: 'http://idp.example.com/poll' } }), 'must be https'],
    [
      'credentials in a URL',
      withIdp({ poll: { ...poll, endpoint: 'https://a:b@idp.example.com/' } }),
      'no credentials',
    ],
    ['an issuer to discover nothing from', withIdp({ issuer: 'urn:idp' }), 'is no plain http or https URL'],
    ['an issuer that it does not speak for', withIdp({ speaksFor: ['https://x.example'] }), 'is not among issuers'],
    ['a format that nobody knows', withIdp({ users: ['iss-sub'] }), 'users[0]'],
    ['one transmitter twice', { address: '127.0.0.1:0', transmitters: [idp, idp] }, 'is declared twice'],
    ['a certificate that is none', { ...withIdp(), tls: { certFile: 'token', keyFile: 'token' } }, 'holds no PEM'],
  ])('are refused with %s', async (_name, signals, problem) => {
    expect(await problemsOf(signals)).toContain(problem);
  });

  it('keep revocations of older tokens for longer than any token lives', async () => {
    const signals = { ...withIdp(), keepFor: '2d' };
    expect(await problemsOf(signals, undefined, { tokenMaxLifetime: '1d' })).toBe('');
    expect(await problemsOf(signals, undefined, { tokenMaxLifetime: '2d' })).toContain('signals.keepFor');
    expect(await problemsOf({ keepFor: '2d' }, undefined, { tokenMaxLifetime: '2d' })).toBe('');
  });

  it.each(['http://127.0.0.1:8080/poll', 'https://idp.example.com/poll'])('may be polled at %s', async (endpoint) => {
    expect(await problemsOf(withIdp({ poll: { ...poll, endpoint } }))).toBe('');
  });
});

describe('status lists', () => {
  it('are checked where a token names one, if nothing is said', async () => {
    const [issuer] = (await load({})).config.issuers;
    expect(issuer?.statusList).toMatchObject({ check: 'auto', origins: [] });
  });

  it.each([{ check: 'sometimes' }, { origins: ['https://lists.example.com/path'] }, { maxInflated: '1GiB' }])(
    'are refused as %j',
    async (statusList) => expect(await problemsOf({}, statusList)).toContain('issuers[0].statusList'),
  );
});
