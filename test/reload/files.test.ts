/** What else is read again: certificates, the admin token. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { clientCertificate, serverCertificate } from '../support/certificates.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

const waitMs = 10_000;

const opened: Harness[] = [];
afterEach(async () => {
  for (const harness of opened.splice(0)) await harness.close();
});

function filesIn() {
  const folder = mkdtempSync(join(tmpdir(), 'postern-files-'));
  const write = (name: string, text: string) => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };
  return { write, remove: (name: string) => rmSync(join(folder, name)) };
}

/** The common name that a new connection is shown. */
function shownName(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

describe('a changed certificate', () => {
  it('is shown to new connections, once the files fit together', async () => {
    const { write, remove } = filesIn();
    const tls = { certFile: write('cert', serverCertificate.cert), keyFile: write('key', serverCertificate.key) };
    const harness = await startSidecar({ config: { listen: { tls }, reload: { interval: '100ms' } } });
    opened.push(harness);
    expect(await shownName(harness.port)).toBe('localhost');
    const refusals = async () =>
      (await harness.admin('GET', '/metrics')).text.match(/total\{outcome="refused"\} (\d+)/)?.[1];
    // The key is still that of the other one.
    write('cert', clientCertificate.cert);
    await expect.poll(refusals, { timeout: waitMs }).toBe('1');
    expect(await shownName(harness.port)).toBe('localhost');
    write('key', clientCertificate.key);
    await expect.poll(() => shownName(harness.port), { timeout: waitMs }).toBe('agent-7');
    remove('key');
    await expect.poll(refusals, { timeout: waitMs }).not.toBe('1');
    expect(await shownName(harness.port)).toBe('agent-7');
    expect(harness.log.join('')).not.toContain('PRIVATE KEY');
  });
});

describe('a changed admin token', () => {
  it('is the one that is asked for from the next request on; without a good one nobody passes', async () => {
    const { write, remove } = filesIn();
    const tokenFile = write('token', 'the-first-admin-token\n');
    const harness = await startSidecar({ config: { admin: { tokenFile } } });
    opened.push(harness);
    const ask = async (token: string, path = '/metrics') => {
      const headers = token === '' ? {} : { authorization: `Bearer ${token}` };
      const answer = await request(`${harness.sidecar.adminOrigin}${path}`, { headers });
      await answer.body.dump();
      return answer.statusCode;
    };
    expect([await ask('the-first-admin-token'), await ask('the-second-admin-token')]).toEqual([200, 401]);
    write('token', 'the-second-admin-token\n');
    expect([await ask('the-first-admin-token'), await ask('the-second-admin-token')]).toEqual([401, 200]);
    write('token', '');
    expect([await ask('the-second-admin-token'), await ask('')]).toEqual([503, 503]);
    remove('token');
    expect([await ask('the-second-admin-token'), await ask(''), await ask('', '/livez')]).toEqual([503, 503, 200]);
  });
});
