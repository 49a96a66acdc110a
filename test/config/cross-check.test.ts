import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readDraft } from '../../src/config/load.ts';
import { type ConfigurationFile, writeConfiguration } from '../cli/configuration-file.ts';
import { clientCertificate, serverCertificate } from '../support/certificates.ts';

const publicOrigin = 'https://api.agents.example';
const address = '127.0.0.1:0';

type Prepare = (files: ConfigurationFile) => void;

async function messagesOf(changes: Readonly<Record<string, unknown>>, prepare: Prepare = () => {}) {
  const files = writeConfiguration(changes);
  prepare(files);
  const { problems } = await readDraft(files.file);
  for (const { line, column } of problems) expect([line, column].every((part) => Number(part) > 0)).toBe(true);
  return problems.map(({ message }) => message);
}

const tls = (more: object) => ({ listen: { address, publicOrigin, tls: { certFile: 'c', keyFile: 'k', ...more } } });
const withTls: Prepare = ({ write }) => {
  write('c', serverCertificate.cert);
  write('k', serverCertificate.key);
};

describe('a configuration is good', () => {
  it.each<[string, Readonly<Record<string, unknown>>, Prepare]>([
    ['with TLS files that fit', tls({}), withTls],
    ['with a certificate authority for clients', tls({ clientCaFile: 'c', clientCert: 'require' }), withTls],
    [
      'with an admin token',
      { admin: { address: '0.0.0.0:0', tokenFile: 't' } },
      ({ write }) => write('t', 'x'.repeat(16)),
    ],
    ['with a nonce secret', { proof: { nonceSecretFile: 'n' } }, ({ write }) => write('n', 'x'.repeat(32))],
    ['with an audit file that is there', {}, ({ write }) => write('audit.jsonl', '')],
    ['with an audit pipe', {}, ({ folder }) => execFileSync('mkfifo', [join(folder, 'audit.jsonl')])],
    [
      'with mtls only where certificates are asked for',
      { ...tls({ clientCert: 'request' }), proof: { accept: ['mtls'] } },
      withTls,
    ],
    [
      'with mtls only where a proxy forwards certificates',
      {
        listen: { address, publicOrigin, trustedProxies: ['10.0.0.1'], clientCertificateField: { format: 'xfcc' } },
        proof: { accept: ['mtls'] },
      },
      () => {},
    ],
    [
      'with an issuer that has a key set and is no URL',
      { issuers: [{ issuer: 'urn:login', jwksFile: 'jwks.json' }] },
      () => {},
    ],
  ])('%s', async (_name, changes, prepare) => {
    expect(await messagesOf(changes, prepare)).toEqual([]);
  });
});

describe('a configuration is refused', () => {
  it.each<[string, Readonly<Record<string, unknown>>, Prepare, string]>([
    [
      'with a certificate that is none',
      tls({}),
      ({ write }) => write('k', serverCertificate.key) && write('c', 'x'),
      'listen.tls.certFile holds no PEM',
    ],
    [
      'with a key that is none',
      tls({}),
      ({ write }) => write('k', 'x') && write('c', serverCertificate.cert),
      'listen.tls.keyFile holds no PEM',
    ],
    [
      'with the key of another certificate',
      tls({}),
      ({ write }) => write('k', clientCertificate.key) && write('c', serverCertificate.cert),
      'listen.tls.keyFile is not the key',
    ],
    [
      'with required certificates of nobody',
      tls({ clientCert: 'require' }),
      withTls,
      'listen.tls.clientCaFile is required',
    ],
    [
      'with an authority that is none',
      tls({ clientCaFile: 'secret' }),
      withTls,
      'listen.tls.clientCaFile holds no PEM',
    ],
    [
      'with certificates forwarded by nobody in particular',
      { listen: { address, publicOrigin, clientCertificateField: { format: 'pem' } } },
      () => {},
      'listen.clientCertificateField is believed from listen.trustedProxies only',
    ],
    [
      'with certificates in the field of something else',
      {
        listen: {
          address,
          publicOrigin,
          trustedProxies: ['10.0.0.1'],
          clientCertificateField: { format: 'pem', field: 'Authorization' },
        },
      },
      () => {},
      'listen.clientCertificateField.field is a field with another meaning',
    ],
    ['with mtls only and no certificates', { proof: { accept: ['mtls'] } }, () => {}, 'proof.accept accepts only mtls'],
    ['with an open admin port', { admin: { address: '10.0.0.1:1' } }, () => {}, 'admin.tokenFile is required'],
    [
      'with an admin token of two words',
      { admin: { tokenFile: 't' } },
      ({ write }) => write('t', `${'x'.repeat(16)} ${'y'.repeat(16)}`),
      'admin.tokenFile must hold one word',
    ],
    [
      'with an admin token of fifteen characters',
      { admin: { tokenFile: 't' } },
      ({ write }) => write('t', `${'x'.repeat(15)}\n`),
      'admin.tokenFile holds a token shorter',
    ],
    [
      'with a short nonce secret',
      { proof: { nonceSecretFile: 'n' } },
      ({ write }) => write('n', 'x'.repeat(31)),
      'proof.nonceSecretFile holds fewer than 32',
    ],
    [
      'with an empty password',
      { store: { kind: 'redis', url: 'redis://x', passwordFile: 'p' } },
      ({ write }) => write('p', '\n'),
      'store.passwordFile is empty',
    ],
    [
      'with a password in a folder',
      { store: { kind: 'redis', url: 'redis://x', passwordFile: '.' } },
      () => {},
      'store.passwordFile is not a regular file',
    ],
    [
      'with a token in a pipe that nobody writes',
      { admin: { tokenFile: 't' } },
      ({ folder }) => execFileSync('mkfifo', [join(folder, 't')]),
      'admin.tokenFile is not a regular file',
    ],
    [
      'with a token of two mebibytes',
      { admin: { tokenFile: 't' } },
      ({ write }) => write('t', 'x'.repeat(2_097_152)),
      'admin.tokenFile is larger than 1 MiB',
    ],
    [
      'with a key set that is none',
      {},
      ({ write }) => write('jwks.json', '{"keys":[]}'),
      'issuers[0].jwksFile holds no JSON Web Key Set',
    ],
    [
      'with an issuer twice',
      { issuers: [{ issuer: 'https://a.example' }, { issuer: 'https://a.example' }] },
      () => {},
      'issuers[1].issuer is declared twice',
    ],
    [
      'with an issuer that says where it is only half',
      { issuers: [{ issuer: 'https://a.example?x' }] },
      () => {},
      'issuers[0].issuer is no plain',
    ],
    [
      'with an audit file that is a folder',
      { audit: { sinks: ['stdout', { file: '.' }] } },
      () => {},
      'audit.sinks[1].file is a folder',
    ],
    [
      'with an audit file in no folder',
      { audit: { sinks: [{ file: 'no/such' }] } },
      () => {},
      'audit.sinks[0].file cannot be appended to (ENOENT)',
    ],
  ])('%s', async (_name, changes, prepare, expected) => {
    expect(await messagesOf(changes, prepare)).toEqual([expect.stringContaining(expected)]);
  });

  it('without a word about what cannot be judged for another problem', async () => {
    const messages = await messagesOf({ proof: { accept: ['mtls'] }, listen: { address, publicOrigin, tls: {} } });
    expect(messages.join()).not.toContain('accepts only mtls');
    expect(messages.length).toBeGreaterThan(0);
  });
});
