import { hash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer, request as tlsRequest } from 'node:https';
import { describe, expect, it } from 'vitest';
import type { Source } from '../../src/exchange.ts';
import { createReadSource, trustedProxyProblems } from '../../src/receive/source.ts';
import { clientCertificate, oddClientCertificate, serverCertificate } from '../support/certificates.ts';
import { exchangeRaw, listenOn } from '../support/raw-http.ts';

/** The source of one request over a real connection from 127.0.0.1. */
async function sourceOf(trustedProxies: readonly string[], lines: string): Promise<Source> {
  const read = createReadSource(trustedProxies);
  let source: Source | null = null;
  const server = createServer((incoming, response) => {
    source = read(incoming);
    response.end();
  });
  const port = await listenOn(server);
  await exchangeRaw(port, `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${lines}\r\n`);
  server.close();
  if (source === null) throw new Error('no request arrived');
  return source;
}

describe('the source of a request', () => {
  it('is the peer, whatever X-Forwarded-For says, where nobody is trusted', async () => {
    const source = await sourceOf([], 'X-Forwarded-For: 203.0.113.9\r\n');
    expect(source).toMatchObject({ address: '127.0.0.1', tls: false, certificate: null });
    expect(source.port).toBeGreaterThan(0);
  });

  it('is the peer where others than the peer are trusted', async () => {
    const source = await sourceOf(['10.0.0.0/8', '2001:db8::/32'], 'X-Forwarded-For: 203.0.113.9\r\n');
    expect(source.address).toBe('127.0.0.1');
  });

  it.each([
    ['what a trusted peer says', '203.0.113.9', '203.0.113.9'],
    ['the last hop that is not trusted', '1.1.1.1, 203.0.113.9, 10.1.2.3', '203.0.113.9'],
    ['the first hop where all are trusted', '10.9.9.9, 10.1.2.3', '10.9.9.9'],
    ['an IPv6 address', '2001:db8::7', '2001:db8::7'],
    ['an address with a port', '203.0.113.9:4711', '203.0.113.9'],
    ['a bracketed address with a port', '[2001:db8::7]:4711', '2001:db8::7'],
    ['an IPv4 address in IPv6 form', '::ffff:203.0.113.9', '203.0.113.9'],
    ['the peer, before what is no address', 'unknown', '127.0.0.1'],
    ['a trusted hop, before what is no address', '1.1.1.1, <script>, 10.1.2.3', '10.1.2.3'],
    ['the peer, where the list ends empty', '203.0.113.9, ', '127.0.0.1'],
  ])('is %s', async (_name, value, address) => {
    const source = await sourceOf(['127.0.0.1', '10.0.0.0/8'], `X-Forwarded-For: ${value}\r\n`);
    expect(source.address).toBe(address);
  });

  it('reads repeated X-Forwarded-For fields as one list', async () => {
    const lines = 'X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 203.0.113.9, 10.1.2.3\r\n';
    expect((await sourceOf(['127.0.0.0/8', '10.0.0.0/8'], lines)).address).toBe('203.0.113.9');
  });

  it('writes a mapped peer address as IPv4', () => {
    const incoming = { socket: { remoteAddress: '::ffff:192.0.2.1', remotePort: 7 }, rawHeaders: [] };
    const read = createReadSource(['192.0.2.0/24']);
    expect(read(incoming as unknown as IncomingMessage)).toMatchObject({ address: '192.0.2.1', port: 7 });
  });
});

describe('trusted proxies', () => {
  it('are addresses or ranges', () => {
    const bad = ['10.0.0.0/33', 'host.example', '10.0.0.0/', '10.0.0.0/8/8', '::1/129', '', '10.0.0.0/-1'];
    const good = ['10.0.0.1', '10.0.0.0/8', '::1', '2001:db8::/32'];
    expect(trustedProxyProblems([...good, ...bad]).map(({ path }) => path)).toEqual(
      bad.map((_range, index) => ['listen', 'trustedProxies', good.length + index]),
    );
    expect(() => createReadSource(['host.example'])).toThrow(expect.objectContaining({ code: 'configuration' }));
  });
});

describe('the client certificate', () => {
  const read = createReadSource([]);

  async function sourceOverTls(client: { cert: string; key: string } | null, ca = client?.cert): Promise<Source[]> {
    const sources: Source[] = [];
    const options = {
      ...serverCertificate,
      requestCert: true,
      rejectUnauthorized: false,
      ...(ca === undefined ? {} : { ca }),
    };
    const server = createTlsServer(options, (incoming, response) => {
      sources.push(read(incoming), read(incoming));
      response.end();
    });
    const port = await listenOn(server);
    const outgoing = tlsRequest({ port, host: 'localhost', ca: serverCertificate.cert, agent: false, ...client }).end();
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    await once(response.resume(), 'end');
    server.close();
    server.closeAllConnections();
    return sources;
  }

  it('is none where the client shows none', async () => {
    const [source] = await sourceOverTls(null);
    expect(source).toMatchObject({ tls: true, certificate: null });
  });

  it('is known by its thumbprint and first URI, and read once a connection', async () => {
    const [source, again] = await sourceOverTls(clientCertificate);
    const { raw } = new X509Certificate(clientCertificate.cert);
    expect(source?.certificate).toEqual({
      thumbprint: hash('sha256', raw, 'base64url'),
      uriSan: 'spiffe://example/agent',
    });
    expect(again).toBe(source);
  });

  it('is known by its thumbprint alone where no authority vouches for the names in it', async () => {
    const [source] = await sourceOverTls(clientCertificate, serverCertificate.cert);
    const { raw } = new X509Certificate(clientCertificate.cert);
    expect(source?.certificate).toEqual({ thumbprint: hash('sha256', raw, 'base64url'), uriSan: null });
  });

  it('keeps a URI whole that holds what could be taken for another name', async () => {
    const [source] = await sourceOverTls(oddClientCertificate);
    expect(source?.certificate?.uriSan).toBe('spiffe://example/a, DNS:evil');
  });
});
