import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { crossCheck } from '../../src/config/cross-check.ts';
import { resolvePaths } from '../../src/config/paths.ts';
import { configSchema } from '../../src/config/schema.ts';
import { serverCertificate } from '../support/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-store-'));
function fileOf(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return name;
}
const secret = fileOf('secret', 's3cret\n');
const empty = fileOf('empty', ' \n');
const cert = fileOf('cert.pem', serverCertificate.cert);
const key = fileOf('key.pem', serverCertificate.key);

const around = {
  listen: { publicOrigin: 'https://x.example' },
  issuers: [{ issuer: 'https://login.example' }],
  routes: [{ name: 'r', match: {}, upstream: 'https://api.example', audience: 'https://x.example', credential: 'c' }],
  credentials: { c: { from: { env: 'KEY' }, inject: { header: 'x-key' } } },
  rules: ['rules'],
};

/** The keys of `store` that are complained of. */
function faultsOf(store: object): readonly string[] {
  const parsed = configSchema.safeParse({ ...around, store: { kind: 'redis', ...store } });
  const problems = parsed.success
    ? crossCheck(resolvePaths(parsed.data, folder), new Set(['store']))
    : parsed.error.issues.map(({ path }) => ({ path: path.map(String) }));
  expect(problems.filter(({ path }) => path[0] !== 'store')).toEqual([]);
  return [...new Set(problems.map(({ path }) => path.slice(1).join('.')))];
}

const sentinel = { sentinels: ['a:26379', '[::1]:26379'], sentinelName: 'mymaster' };

describe('the section store', () => {
  it.each([
    ['one server', { url: 'redis://a' }],
    [
      'one server with TLS',
      { url: 'rediss://a', tls: { caFile: cert, certFile: cert, keyFile: key, serverName: 'r' } },
    ],
    ['Sentinels', { ...sentinel, tls: {}, username: 'postern', passwordFile: secret }],
    ['Sentinels with accounts', { ...sentinel, sentinelUsername: 'postern', sentinelPasswordFile: secret }],
    ['a cluster', { cluster: ['a:6379'], passwordFile: secret }],
  ])('takes %s', (_, store) => {
    expect(faultsOf(store)).toEqual([]);
  });

  it.each([
    ['no place', {}, ['url']],
    ['two places', { url: 'redis://a', cluster: ['a:1'] }, ['cluster']],
    ['three places', { url: 'redis://a', ...sentinel, cluster: ['a:1'] }, ['sentinels', 'cluster']],
    ['Sentinels without the name', { sentinels: ['a:26379'] }, ['sentinelName']],
    ['no Sentinels', { ...sentinel, sentinels: [] }, ['sentinels']],
    ['a Sentinel without port', { ...sentinel, sentinels: ['a'] }, ['sentinels.0']],
    ['a name with blanks', { ...sentinel, sentinelName: 'my master' }, ['sentinelName']],
    [
      'what is for Sentinels',
      { url: 'redis://a', sentinelName: 'm', sentinelPasswordFile: secret },
      ['sentinelName', 'sentinelPasswordFile'],
    ],
    ['a user without password', { url: 'redis://a', username: 'postern' }, ['passwordFile']],
    ['a Sentinel user without password', { ...sentinel, sentinelUsername: 'postern' }, ['sentinelPasswordFile']],
    ['TLS settings for a URL without TLS', { url: 'redis://a', tls: {} }, ['tls']],
    ['half a client certificate', { url: 'rediss://a', tls: { certFile: cert } }, ['tls']],
    ['a prefix that would take the hash tag', { url: 'redis://a', prefix: '{x}:' }, ['prefix']],
    [
      'an empty password',
      { ...sentinel, passwordFile: empty, sentinelPasswordFile: empty },
      ['passwordFile', 'sentinelPasswordFile'],
    ],
    ['no password file', { url: 'redis://a', passwordFile: 'none' }, ['passwordFile']],
    ['an authority that is none', { url: 'rediss://a', tls: { caFile: secret } }, ['tls.caFile']],
    [
      'a pair that is none',
      { url: 'rediss://a', tls: { certFile: secret, keyFile: secret } },
      ['tls.certFile', 'tls.keyFile'],
    ],
  ])('refuses %s', (_, store, keys) => {
    expect(faultsOf(store)).toEqual(keys);
  });

  it('takes none of the places for the memory store', () => {
    expect(faultsOf({ kind: 'memory', ...sentinel })).toEqual(['sentinels']);
    expect(faultsOf({ kind: 'memory' })).toEqual([]);
  });
});
