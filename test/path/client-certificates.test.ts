import { hash, X509Certificate } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect } from 'node:tls';
import { afterAll, describe, expect, it } from 'vitest';
import { clientCertificate, oddClientCertificate, serverCertificate } from '../support/certificates.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-tls-'));
const inFile = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const files = {
  certFile: inFile('server.crt', serverCertificate.cert),
  keyFile: inFile('server.key', serverCertificate.key),
};
const clientCaFile = inFile('client-ca.crt', clientCertificate.cert);
const rules = `
rules:
  - id: named
    when: has(connection.uri_san_peer_certificate) && connection.uri_san_peer_certificate.startsWith("spiffe:")
    effect: allow
  - id: anybody
    when: request.method == "GET"
    effect: allow
`;

const harnesses: Harness[] = [];
afterAll(() => Promise.all(harnesses.map((harness) => harness.close())));

async function start(tls: object): Promise<Harness> {
  const harness = await startSidecar({ rules, config: { listen: { tls: { ...files, ...tls } } } });
  harnesses.push(harness);
  return harness;
}

const thumbprint = hash('sha256', new X509Certificate(clientCertificate.cert).raw, 'base64url');
const mint = (harness: Harness) => harness.mint({ agentKey: undefined, certificate: thumbprint });

type Reply = {
  readonly status: number | null;
  readonly text: string;
  readonly isResumed: boolean;
  readonly session: Buffer;
};

/** One call with a certificate-bound token; a null status says that the sidecar hung up. */
function call(harness: Harness, token: string, options: ConnectionOptions = {}): Promise<Reply> {
  return new Promise((resolve) => {
    let text = '';
    let session: Buffer = Buffer.alloc(0);
    let isResumed = false;
    const target = { port: harness.port, host: '127.0.0.1', ca: serverCertificate.cert, servername: 'localhost' };
    const socket = connect({ ...target, ...options }, () => {
      isResumed = socket.isSessionReused();
      socket.write(`GET /api/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer ${token}\r\n\r\n`);
    });
    socket.setEncoding('latin1');
    socket.on('data', (received: string) => {
      text += received;
    });
    socket.on('session', (received) => {
      session = received;
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1];
      resolve({
        status: status === undefined ? null : Number(status),
        text,
        isResumed,
        session,
      });
    });
  });
}

async function ruleOf(harness: Harness, { text }: Reply): Promise<string | null> {
  const decision = /postern-decision: (\S+)/.exec(text)?.[1] ?? '';
  return (await harness.record(decision)).rule;
}

describe('client certificates that no authority vouches for', () => {
  it('bind tokens, and the names in them are not believed', async () => {
    const harness = await start({ clientCert: 'request' });
    const reply = await call(harness, mint(harness), clientCertificate);
    expect(reply.status).toBe(200);
    expect(await ruleOf(harness, reply)).toBe('anybody');
    expect((await call(harness, mint(harness), oddClientCertificate)).text).toContain('"reason":"key_mismatch"');
    expect((await call(harness, mint(harness))).text).toContain('"reason":"key_mismatch"');
  });
});

describe('client certificates of an authority', () => {
  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'are known on a resumed session of %s too, names and all',
    async (version) => {
      const harness = await start({ clientCert: 'request', clientCaFile });
      const options = { ...clientCertificate, minVersion: version, maxVersion: version };
      const first = await call(harness, mint(harness), options);
      expect(first).toMatchObject({ status: 200, isResumed: false });
      expect(await ruleOf(harness, first)).toBe('named');
      const second = await call(harness, mint(harness), { ...options, session: first.session });
      expect(second).toMatchObject({ status: 200, isResumed: true });
      expect(await ruleOf(harness, second)).toBe('named');
    },
  );

  it('may be left out where they are only requested', async () => {
    const harness = await start({ clientCert: 'request', clientCaFile });
    expect((await call(harness, mint(harness))).text).toContain('"reason":"key_mismatch"');
  });

  it.each(['request', 'require'])('of another authority end the connection: %s', async (clientCert) => {
    const harness = await start({ clientCert, clientCaFile });
    expect((await call(harness, mint(harness), oddClientCertificate)).status).toBeNull();
  });

  it('may not be left out where they are required', async () => {
    const harness = await start({ clientCert: 'require', clientCaFile });
    expect((await call(harness, mint(harness))).status).toBeNull();
    expect(harness.upstream.requests).toEqual([]);
  });
});
