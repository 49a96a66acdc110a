import * as oauth from 'oauth4webapi';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, publicOrigin, startSidecar } from '../support/sidecar.ts';

const path = '/.well-known/oauth-protected-resource/api';
const location = `${publicOrigin}${path}`;

let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar({ route: { scopes: ['read', 'write'], accept: ['dpop', 'bearer'] } });
});
afterAll(() => harness.close());

const plain = { token: '', proof: null };

describe('resource metadata', () => {
  it('is told without a token, may be cached, and reaches no upstream', async () => {
    const answer = await harness.call(path, plain);
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/json',
      'cache-control': 'public, max-age=300',
    });
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    expect(JSON.parse(answer.text)).toMatchObject({
      resource: publicOrigin,
      authorization_servers: [harness.issuer.issuer],
      scopes_supported: ['read', 'write'],
    });
    expect(harness.upstream.requests).toEqual([]);
  });

  it('is a decision like any: recorded, counted, and with no credential', async () => {
    const answer = await harness.call(`${path}/?x=1`, plain);
    expect(await harness.record(answer.decision)).toMatchObject({
      decision: 'allow',
      reason: null,
      rule: 'postern:resource-metadata',
      rules: [],
      route: null,
      agent: null,
      pop: null,
      credential: null,
      status: 200,
      upstream_status: null,
      bytes_out: Buffer.byteLength(answer.text),
      end: 'complete',
    });
    const { text } = await harness.admin('GET', '/metrics');
    expect(text).toMatch(/postern_requests_total\{route="none",decision="allow",reason="none"\} [1-9]/);
  });

  it('is the same for HEAD, without the body, on a connection that goes on', async () => {
    const head = `HEAD ${path} HTTP/1.1\r\nhost: a\r\n\r\n`;
    const client = new RawClient(harness.port).send(head + head);
    const text = await client.until((received) => received.split('\r\n\r\n').length > 2);
    const { text: body } = await harness.call(path, plain);
    expect(text.match(new RegExp(`content-length: ${Buffer.byteLength(body)}\r\n`, 'g'))).toHaveLength(2);
    expect(text).not.toContain('{');
    client.destroy();
  });

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('is not for %s', async (method) => {
    const answer = await harness.call(path, { ...plain, method });
    expect(answer).toMatchObject({ status: 405, reason: 'method_not_allowed' });
    expect(answer.headers.allow).toBe('GET, HEAD');
  });

  it('is not for other paths, nor a way around vetting', async () => {
    expect((await harness.call(`${path}/more`, plain)).reason).toBe('no_route');
    expect((await harness.call('/.well-known/oauth-protected-resourceX', plain)).reason).toBe('no_route');
    const raw = new RawClient(harness.port).send(`GET ${path}/../api HTTP/1.1\r\nhost: a\r\n\r\n`);
    expect(await raw.until((received) => received.endsWith('}'))).toContain('target_ambiguous');
    raw.destroy();
    expect(harness.upstream.requests).toEqual([]);
  });

  it('sends a request with a body away, body and all', async () => {
    const lines = 'host: a\r\ncontent-length: 3\r\n';
    const text = await new RawClient(harness.port).send(`GET ${path} HTTP/1.1\r\n${lines}\r\nabc`).end();
    expect(text).toMatch(/^HTTP\/1\.1 413 /);
  });

  it('opens no WebSocket, and closes the connection that asked for one', async () => {
    const open = await startSidecar({ route: { websocket: true } });
    const handshake = 'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n';
    const key = `sec-websocket-key: ${Buffer.alloc(16).toString('base64')}\r\n`;
    const client = new RawClient(open.port).send(`GET ${path} HTTP/1.1\r\nhost: a\r\n${handshake}${key}\r\n`);
    const text = await client.end();
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(text.toLowerCase()).toContain('connection: close');
    expect(open.upstream.requests).toEqual([]);
    await open.close();
  });

  it('is named in every challenge of the route', async () => {
    const named = `resource_metadata="${location}"`;
    const challengesOf = (answer: Awaited<ReturnType<Harness['call']>>) =>
      [answer.headers['www-authenticate'] ?? []].flat();
    const missing = challengesOf(await harness.call('/api/x', plain));
    expect(missing).toEqual([`DPoP algs="ES256 EdDSA PS256", ${named}`, `Bearer ${named}`]);
    const answers = await Promise.all([
      harness.call('/api/x', { proof: null }),
      harness.call('/api/x', { token: 'garbage' }),
      harness.call('/api/sensitive'),
    ]);
    for (const answer of answers) {
      expect(answer.status).toBe(401);
      for (const challenge of challengesOf(answer)) expect(challenge).toContain(named);
    }
    const denied = await harness.call('/api/forbidden');
    expect([denied.status, challengesOf(denied)]).toEqual([403, []]);
  });

  it('is what oauth4webapi takes for the metadata of this resource', async () => {
    const answer = await harness.call('/.well-known/oauth-protected-resource', plain);
    const response = new Response(answer.text, { headers: { 'content-type': 'application/json' } });
    const metadata = await oauth.processResourceDiscoveryResponse(new URL(publicOrigin), response);
    expect(metadata.authorization_servers).toEqual([harness.issuer.issuer]);
  });
});
