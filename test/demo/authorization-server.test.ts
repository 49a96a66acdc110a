import { createServer } from 'node:http';
import { calculateThumbprint, generateKeyPair, generateProof, type KeyPair } from 'dpop';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createAgentClient } from '../../src/agent-client.ts';
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer,
} from '../../src/demo/authorization-server.ts';
import { closeServer, listenOnLoopback } from '../../src/demo/listen.ts';

const client = {
  id: 'agent-7',
  secret: 'correct-horse-battery-staple-0123456789',
  scopes: ['repo:read', 'repo:write'],
};
const audience = 'http://127.0.0.1:8080';
const defaults: AuthorizationServerOptions = {
  port: 0,
  clients: [client],
  resources: new Map([[audience, ['repo:read', 'repo:write']]]),
  requireNonce: true,
};

let running: AuthorizationServer[] = [];
let keyPair: KeyPair;

beforeEach(async () => {
  keyPair = await generateKeyPair('ES256');
});

afterEach(async () => {
  await Promise.all(running.map((server) => server.close()));
  running = [];
});

async function start(options: Partial<AuthorizationServerOptions> = {}): Promise<AuthorizationServer> {
  const server = await startAuthorizationServer({ ...defaults, ...options });
  running.push(server);
  return server;
}

/** A token request made by hand. */
async function post(
  issuer: string,
  { nonce, secret = client.secret, resource = audience, proof = true, scope = 'repo:read' } = {} as {
    nonce?: string;
    secret?: string;
    resource?: string;
    proof?: boolean;
    scope?: string;
  },
): Promise<Response> {
  const url = `${issuer}/token`;
  const headers = new Headers({ authorization: `Basic ${btoa(`${client.id}:${secret}`)}` });
  if (proof) headers.set('dpop', await generateProof(keyPair, url, 'POST', nonce));
  return fetch(url, {
    method: 'POST',
    headers,
    body: new URLSearchParams({ grant_type: 'client_credentials', resource, scope }),
  });
}

describe('the demo authorization server', () => {
  test('issues an RFC 9068 access token bound to the key of the proof', async () => {
    const { issuer, jwksUri } = await start();
    const agent = createAgentClient({
      issuer,
      clientId: client.id,
      clientSecret: client.secret,
      scope: 'repo:read',
      resource: audience,
      keyPair,
    });
    const { payload, protectedHeader } = await jwtVerify(
      await agent.accessToken(),
      createRemoteJWKSet(new URL(jwksUri)),
      {
        issuer,
        audience,
        typ: 'at+jwt',
        algorithms: ['ES256'],
        requiredClaims: ['sub', 'client_id', 'jti', 'iat', 'exp', 'scope', 'cnf'],
      },
    );
    expect(protectedHeader.kid).toEqual(expect.any(String));
    expect(payload).toMatchObject({ sub: 'agent-7', client_id: 'agent-7', scope: 'repo:read', aud: audience });
    expect(payload.cnf).toEqual({ jkt: await calculateThumbprint(keyPair.publicKey) });
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(600);
  });

  test('asks for a nonce, and issues the token to a proof that carries it', async () => {
    const { issuer } = await start();
    const first = await post(issuer);
    expect(first.status).toBe(400);
    expect(await first.json()).toMatchObject({ error: 'use_dpop_nonce' });
    const nonce = first.headers.get('dpop-nonce');
    expect(nonce).toEqual(expect.any(String));
    const second = await post(issuer, { nonce: nonce ?? '' });
    expect(second.status).toBe(200);
    expect(await second.json()).toMatchObject({ token_type: 'DPoP' });
  });

  test('takes a proof without a nonce where none is required', async () => {
    const { issuer } = await start({ requireNonce: false });
    expect((await post(issuer)).status).toBe(200);
  });

  test('refuses a client without a proof', async () => {
    const { issuer } = await start({ requireNonce: false });
    const response = await post(issuer, { proof: false });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: 'invalid_grant' });
  });

  test('refuses a resource that it does not know', async () => {
    const { issuer } = await start({ requireNonce: false });
    const response = await post(issuer, { resource: 'https://elsewhere.example.com' });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: 'invalid_target' });
  });

  test('refuses a wrong client secret', async () => {
    const { issuer } = await start({ requireNonce: false });
    expect((await post(issuer, { secret: 'wrong' })).status).toBe(401);
  });

  test('refuses a scope that the client does not have', async () => {
    const { issuer } = await start({ requireNonce: false, clients: [{ ...client, scopes: ['repo:read'] }] });
    const response = await post(issuer, { scope: 'repo:read repo:write' });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: 'invalid_scope' });
  });

  test('writes nothing to the console', async () => {
    const spies = (['log', 'info', 'warn', 'error'] as const).map((name) => vi.spyOn(console, name).mockReturnValue());
    const { issuer } = await start({ requireNonce: false });
    expect((await post(issuer)).status).toBe(200);
    for (const spy of spies) {
      expect(spy).not.toHaveBeenCalled();
      spy.mockRestore();
    }
  });

  test('takes a free port where the one asked for is taken', async () => {
    const other = createServer();
    const port = await listenOnLoopback(other, 0);
    const { issuer } = await start({ port });
    expect(new URL(issuer).port).not.toBe(String(port));
    expect((await fetch(`${issuer}/.well-known/openid-configuration`)).status).toBe(200);
    await closeServer(other);
  });
});
