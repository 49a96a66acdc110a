/** Real issuers and unmodified clients, end to end: every call to Postern goes over TLS, and nothing is faked. */

import { hash, X509Certificate } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as dpop from 'dpop';
import * as oauth from 'oauth4webapi';
import { Agent, fetch as fetchWith } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startAuthorizationServer } from '../../src/demo/authorization-server.ts';
import { reservePort } from '../../src/demo/listen.ts';
import { clientCertificate, oddClientCertificate, serverCertificate } from '../support/certificates.ts';
import { startMtlsAuthorizationServer } from '../support/mtls-authorization-server.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-clients-'));
const inFile = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const tls = {
  certFile: inFile('server.crt', serverCertificate.cert),
  keyFile: inFile('server.key', serverCertificate.key),
};
const client = { id: 'agent-7', secret: 'correct-horse-battery-staple-0123456789', scope: 'read' };
const closers: (() => Promise<unknown>)[] = [];
afterAll(() => Promise.all(closers.map((close) => close())));

type Fetch = (url: string | URL, init?: object) => Promise<Response>;

/** Trusts the server certificate of these tests, shows a client certificate where one is given, and counts calls. */
function createFetch(certificate?: { cert: string; key: string }): Fetch & { readonly count: () => number } {
  const dispatcher = new Agent({ connect: { ca: serverCertificate.cert, ...certificate } });
  closers.push(() => dispatcher.destroy());
  let calls = 0;
  const send: Fetch = (url, init) => {
    calls += 1;
    return fetchWith(url, { ...init, dispatcher }) as unknown as Promise<Response>;
  };
  return Object.assign(send, { count: () => calls });
}

/** The sidecar must know the origin that clients call before it listens there. */
async function start(issuerOf: (origin: string) => Promise<object>, config: { listen?: object; proof?: object }) {
  const { port, release } = await reservePort(0);
  const publicOrigin = `https://localhost:${port}`;
  const issuer = await issuerOf(publicOrigin);
  await release();
  const listen = { address: `127.0.0.1:${port}`, publicOrigin, tls, ...config.listen };
  const harness = await startSidecar({
    config: { issuer, listen, proof: config.proof ?? {} },
    route: { audience: publicOrigin, scopes: ['read'] },
  });
  closers.push(harness.close);
  return { harness, publicOrigin, url: new URL('/api/items?page=2', publicOrigin) };
}

/** RFC 9728 and RFC 8414: from the resource alone to the server that issues tokens for it. */
async function discover(publicOrigin: string, send: Fetch) {
  const options = { [oauth.customFetch]: send, [oauth.allowInsecureRequests]: true } as const;
  const resource = new URL(publicOrigin);
  const metadata = await oauth.processResourceDiscoveryResponse(
    resource,
    await oauth.resourceDiscoveryRequest(resource, options),
  );
  const issuer = new URL(metadata.authorization_servers?.[0] ?? '');
  const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options));
  return { metadata, server };
}

const itemsSeen = (harness: Harness) => harness.upstream.requests.filter(({ url }) => url === '/api/items?page=2');

describe('a client of an issuer with DPoP, where Postern wants a nonce', () => {
  let started: Awaited<ReturnType<typeof start>>;
  beforeAll(async () => {
    const issuerOf = async (audience: string) => {
      const server = await startAuthorizationServer({
        port: 0,
        clients: [{ id: client.id, secret: client.secret, scopes: [client.scope] }],
        resources: new Map([[audience, [client.scope]]]),
        requireNonce: true,
      });
      closers.push(() => server.close());
      return { issuer: server.issuer };
    };
    started = await start(issuerOf, { proof: { nonce: 'required' } });
  });

  /** A token by client credentials, bound to the key of the handle. */
  async function issue(send: Fetch, DPoP: oauth.DPoPHandle) {
    const { server, metadata } = await discover(started.publicOrigin, send);
    expect(metadata.dpop_bound_access_tokens_required).toBe(true);
    const options = { DPoP, [oauth.customFetch]: send, [oauth.allowInsecureRequests]: true } as const;
    const request = async () =>
      oauth.processClientCredentialsResponse(
        server,
        { client_id: client.id },
        await oauth.clientCredentialsGrantRequest(
          server,
          { client_id: client.id },
          oauth.ClientSecretBasic(client.secret),
          new URLSearchParams({ resource: metadata.resource, scope: 'read' }),
          options,
        ),
      );
    const issued = await request().catch((fault: unknown) => {
      if (!oauth.isDPoPNonceError(fault)) throw fault;
      return request();
    });
    expect(issued.token_type).toBe('dpop');
    return issued.access_token;
  }

  it('oauth4webapi: is told the nonce, tries again, and needs no second lesson', async () => {
    const { harness, url } = started;
    const send = createFetch();
    const DPoP = oauth.DPoP({}, await oauth.generateKeyPair('ES256'));
    const token = await issue(send, DPoP);
    const call = () =>
      oauth.protectedResourceRequest(token, 'GET', url, new Headers(), null, { DPoP, [oauth.customFetch]: send });

    const refusal = await call().catch((fault: unknown) => fault);
    expect(oauth.isDPoPNonceError(refusal)).toBe(true);
    const { response, cause } = refusal as oauth.WWWAuthenticateChallengeError;
    expect(response.status).toBe(401);
    expect(cause[0]?.parameters).toMatchObject({
      error: 'use_dpop_nonce',
      resource_metadata: `${started.publicOrigin}/.well-known/oauth-protected-resource/api`,
    });
    expect(itemsSeen(harness)).toEqual([]);

    const answer = await call();
    expect(answer.status).toBe(200);
    const record = await harness.record(answer.headers.get('postern-decision') ?? '');
    expect(record).toMatchObject({ decision: 'allow', agent: { id: client.id }, pop: { method: 'dpop' } });
    const before = send.count();
    expect((await call()).status).toBe(200);
    expect(send.count()).toBe(before + 1);
    expect(itemsSeen(harness)).toHaveLength(2);
  });

  it('dpop: a proof with the nonce of the refusal passes, one without or with another does not', async () => {
    const { harness, url } = started;
    const send = createFetch();
    const keyPair = await dpop.generateKeyPair('ES256');
    const token = await issue(send, oauth.DPoP({}, keyPair));
    const htu = `${url.origin}${url.pathname}`;
    const call = async (nonce?: string) => {
      const proof = await dpop.generateProof(keyPair, htu, 'GET', nonce, token);
      return send(url, { headers: { authorization: `DPoP ${token}`, dpop: proof } });
    };
    const before = itemsSeen(harness).length;
    for (const response of [await call(), await call('made-up')]) {
      expect(response.status).toBe(401);
      expect(response.headers.get('www-authenticate')).toContain('error="use_dpop_nonce"');
      expect(response.headers.get('cache-control')).toBe('no-store');
    }
    const nonce = (await call()).headers.get('dpop-nonce') ?? '';
    expect(nonce).not.toBe('');
    expect(itemsSeen(harness)).toHaveLength(before);
    expect((await call(nonce)).status).toBe(200);
    expect(itemsSeen(harness)).toHaveLength(before + 1);
  });
});

describe('a client of an issuer that binds tokens to certificates', () => {
  let started: Awaited<ReturnType<typeof start>>;
  beforeAll(async () => {
    const issuerOf = async (audience: string) => {
      const server = await startMtlsAuthorizationServer(client, audience);
      closers.push(server.close);
      return { issuer: server.issuer, jwksFile: inFile('jwks.json', JSON.stringify(server.jwks)) };
    };
    started = await start(issuerOf, { listen: { tls: { ...tls, clientCert: 'request' } } });
  });

  it('oauth4webapi: its token works over connections with its certificate, and over no other', async () => {
    const { harness, publicOrigin, url } = started;
    const send = createFetch(clientCertificate);
    const { metadata, server } = await discover(publicOrigin, send);
    expect(metadata).toMatchObject({
      tls_client_certificate_bound_access_tokens: true,
      dpop_bound_access_tokens_required: false,
    });
    expect(server.tls_client_certificate_bound_access_tokens).toBe(true);
    const issued = await oauth.processClientCredentialsResponse(
      server,
      { client_id: client.id },
      await oauth.clientCredentialsGrantRequest(
        server,
        { client_id: client.id },
        oauth.ClientSecretBasic(client.secret),
        new URLSearchParams({ resource: metadata.resource, scope: 'read' }),
        { [oauth.customFetch]: send },
      ),
    );
    expect(issued.token_type).toBe('bearer');
    const call = (by: Fetch) =>
      oauth.protectedResourceRequest(issued.access_token, 'GET', url, new Headers(), null, { [oauth.customFetch]: by });

    const answer = await call(send);
    expect(answer.status).toBe(200);
    const record = await harness.record(answer.headers.get('postern-decision') ?? '');
    const x5t = hash('sha256', new X509Certificate(clientCertificate.cert).raw, 'base64url');
    expect(record).toMatchObject({ decision: 'allow', agent: { id: client.id }, pop: { method: 'mtls', x5t } });
    expect(itemsSeen(harness)).toHaveLength(1);

    for (const thief of [createFetch(), createFetch(oddClientCertificate)]) {
      const refusal = await call(thief).catch((fault: unknown) => fault);
      expect(refusal).toBeInstanceOf(oauth.WWWAuthenticateChallengeError);
      const { status, cause } = refusal as oauth.WWWAuthenticateChallengeError;
      expect(status).toBe(401);
      expect(cause[0]).toMatchObject({ scheme: 'bearer', parameters: { error: 'invalid_token' } });
    }
    expect(itemsSeen(harness)).toHaveLength(1);
  });
});
