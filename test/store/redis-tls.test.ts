import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { clientCertificate, serverCertificate } from '../support/certificates.ts';
import { faultCode, open, openAt, serve, usable, waitMs } from './redis-under-test.ts';
import { proof, request } from './samples.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-tls-'));
afterAll(() => rmSync(folder, { recursive: true }));
function fileOf(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}
const certFile = fileOf('server.pem', serverCertificate.cert);
const keyFile = fileOf('server.key', serverCertificate.key);
const clientCertFile = fileOf('client.pem', clientCertificate.cert);
const clientKeyFile = fileOf('client.key', clientCertificate.key);

const serveTls = (more: { readonly isMutual?: boolean } = {}) =>
  serve({ tls: { certFile, keyFile, caFile: clientCertFile, ...more } });

describe('a server with TLS', () => {
  test('is used where its certificate is trusted and for its host', async () => {
    const server = await serveTls();
    const store = open(server.url, { tls: { caFile: certFile } });
    await usable(store);
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: false });
  });

  test('is a fault by name where its certificate is not trusted', async () => {
    const store = open((await serveTls()).url);
    await vi.waitFor(
      async () => expect(await faultCode(store.check(request()))).toBe('redis_depth_zero_self_signed_cert'),
      waitMs,
    );
  });

  test('is a fault by name where its certificate is for another', async () => {
    const server = await serveTls();
    const store = open(server.url, { tls: { caFile: certFile, serverName: 'redis.example' } });
    await vi.waitFor(
      async () => expect(await faultCode(store.check(request()))).toBe('redis_err_tls_cert_altname_invalid'),
      waitMs,
    );
    // The certificate is for localhost too.
    await usable(open(server.url, { tls: { caFile: certFile, serverName: 'localhost' } }));
  });

  test('that wants a certificate of its clients gets it, and refuses those that have none', async () => {
    const server = await serveTls({ isMutual: true });
    const pair = { certFile: clientCertFile, keyFile: clientKeyFile };
    await usable(open(server.url, { tls: { caFile: certFile, ...pair } }));
    const store = open(server.url, { tls: { caFile: certFile } });
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toMatch(/^redis_/), waitMs);
    await expect(store.ping()).rejects.toMatchObject({ code: 'store_unavailable' });
  });

  test('is never talked to in clear', async () => {
    const server = await serveTls();
    const store = open(server.url.replace('rediss:', 'redis:'));
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toMatch(/^redis_/), waitMs);
  });

  test('is a fault while a file of the settings is gone, and used when it is back', async () => {
    const server = await serveTls();
    const caFile = join(folder, 'late.pem');
    const store = open(server.url, { tls: { caFile } });
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe('redis_tlsfile'), waitMs);
    writeFileSync(caFile, serverCertificate.cert);
    await usable(store);
  });
});

const sentinelRights = '-@all +sentinel|master +subscribe +ping +client|setname';

describe('a Sentinel with TLS and a password', () => {
  test('leads to a server with TLS', async () => {
    const server = await serveTls();
    const tlsLines = ['tls-replication yes', `tls-cert-file ${certFile}`, `tls-key-file ${keyFile}`];
    const sentinel = await serve({
      sentinel: [
        ...tlsLines,
        `tls-ca-cert-file ${certFile}`,
        'tls-auth-clients no',
        // Nobody else gets in, and this is all that the README says is needed.
        'user default off',
        `user postern on >sentinel-s3cret resetchannels &+switch-master ${sentinelRights}`,
        `sentinel monitor orders 127.0.0.1 ${server.port} 1`,
      ],
      tls: { certFile, keyFile, caFile: certFile },
    });
    const sentinelPasswordFile = fileOf('sentinel-password', 'wrong\n');
    const options = { sentinels: [`127.0.0.1:${sentinel.port}`], sentinelName: 'orders' };
    const login = { sentinelUsername: 'postern', sentinelPasswordFile };
    const store = openAt({ ...options, ...login, tls: { caFile: certFile } });
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe('redis_noprimary'), waitMs);
    writeFileSync(sentinelPasswordFile, 'sentinel-s3cret\n');
    await usable(store);
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: false });
  });
});
