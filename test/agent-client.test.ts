import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { calculateThumbprint, generateKeyPair } from 'dpop';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type AgentClientOptions, createAgentClient } from '../src/agent-client.ts';
import { closeServer, listenOnLoopback } from '../src/demo/listen.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let server: Server;
let origin: string;
/** By path; what the issuer and the API answer in one server. */
let handlers: Record<string, Handler>;
let seen: IncomingMessage[];

const sendJson = (response: ServerResponse, status: number, body: unknown, fields: Record<string, string> = {}) => {
  response.writeHead(status, { 'content-type': 'application/json', ...fields });
  response.end(JSON.stringify(body));
};
const notFound: Handler = (_request, response) => sendJson(response, 404, {});

beforeEach(async () => {
  seen = [];
  server = createServer((request, response) => {
    seen.push(request);
    request.resume();
    (handlers[request.url ?? ''] ?? notFound)(request, response);
  });
  origin = `http://127.0.0.1:${await listenOnLoopback(server, 0)}`;
  handlers = {
    '/.well-known/oauth-authorization-server': (_request, response) =>
      sendJson(response, 200, { issuer: origin, token_endpoint: `${origin}/token` }),
    '/token': (_request, response) =>
      sendJson(response, 200, { access_token: 'at', token_type: 'DPoP', expires_in: 600 }),
    '/api': (_request, response) => response.end('ok'),
  };
});

afterEach(async () => {
  vi.useRealTimers();
  await closeServer(server);
});

function create(options: Partial<AgentClientOptions> = {}) {
  return createAgentClient({ issuer: origin, clientId: 'agent-7', clientSecret: 'secret', ...options });
}

const paths = () => seen.map(({ url }) => url);

describe('the agent client', () => {
  test('asks the issuer for one token for many calls, and makes a new proof for each', async () => {
    const keyPair = await generateKeyPair('ES256');
    const client = create({ keyPair });
    await client.call(new URL('/api', origin));
    await client.call(new URL('/api?q=1', origin), { method: 'POST', body: 'x' });
    expect(paths()).toEqual(['/.well-known/oauth-authorization-server', '/token', '/api', '/api?q=1']);
    const [, tokenRequest, first, second] = seen;
    expect(decodeJwt(String(tokenRequest?.headers.dpop))).toMatchObject({ htm: 'POST', htu: `${origin}/token` });
    const proofs = [first, second].map((request) => String(request?.headers.dpop));
    expect(decodeJwt(proofs[0] ?? '')).toMatchObject({ htm: 'GET', htu: `${origin}/api`, ath: expect.any(String) });
    expect(decodeJwt(proofs[1] ?? '')).toMatchObject({ htm: 'POST', htu: `${origin}/api` });
    expect(decodeJwt(proofs[0] ?? '').jti).not.toBe(decodeJwt(proofs[1] ?? '').jti);
    const { typ, alg, jwk } = decodeProtectedHeader(proofs[0] ?? '');
    expect({ typ, alg }).toEqual({ typ: 'dpop+jwt', alg: 'ES256' });
    expect(jwk).not.toHaveProperty('d');
    expect(await calculateThumbprint(keyPair.publicKey)).toEqual(expect.any(String));
    expect(first?.headers.authorization).toBe('DPoP at');
  });

  test('gets a new token shortly before the old one ends', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const client = create();
    await client.accessToken();
    vi.setSystemTime(Date.now() + 589_000);
    await client.accessToken();
    expect(paths().filter((path) => path === '/token')).toHaveLength(1);
    vi.setSystemTime(Date.now() + 2_000);
    await client.accessToken();
    expect(paths().filter((path) => path === '/token')).toHaveLength(2);
  });

  test('finds an issuer that has OpenID discovery only', async () => {
    handlers['/.well-known/openid-configuration'] = handlers['/.well-known/oauth-authorization-server'] ?? notFound;
    delete handlers['/.well-known/oauth-authorization-server'];
    expect(await create().accessToken()).toBe('at');
  });

  test('gives a refusal back with its challenges and unread body', async () => {
    handlers['/api'] = (_request, response) =>
      sendJson(response, 403, { reason: 'x' }, { 'www-authenticate': 'DPoP error="insufficient_scope", scope="a b"' });
    const { response, challenges, attempts } = await create().call(new URL('/api', origin));
    expect({ status: response.status, attempts }).toEqual({ status: 403, attempts: 1 });
    expect(challenges).toMatchObject([{ scheme: 'dpop', parameters: { error: 'insufficient_scope', scope: 'a b' } }]);
    expect(await response.json()).toEqual({ reason: 'x' });
  });

  test('keeps the nonces of issuer and API apart', async () => {
    const demand = (nonce: string, next: Handler, status: number): Handler => {
      return (request, response) => {
        if (decodeJwt(String(request.headers.dpop)).nonce === nonce) return next(request, response);
        const fields = { 'dpop-nonce': nonce, 'www-authenticate': 'DPoP error="use_dpop_nonce"' };
        // RFC 9449 §8: 400 from an authorization server; §9: 401 from a resource server.
        if (status === 400) sendJson(response, 400, { error: 'use_dpop_nonce' }, { 'dpop-nonce': nonce });
        else sendJson(response, 401, {}, fields);
      };
    };
    const api = createServer((request, response) => {
      demand('of-the-api', (_request, allowed) => allowed.end('ok'), 401)(request, response);
    });
    const apiOrigin = `http://127.0.0.1:${await listenOnLoopback(api, 0)}`;
    handlers['/token'] = demand('of-the-issuer', handlers['/token'] ?? notFound, 400);
    const { response, attempts } = await create().call(new URL('/api', apiOrigin));
    expect({ status: response.status, attempts }).toEqual({ status: 200, attempts: 2 });
    await closeServer(api);
  });

  test('follows no redirect with the token', async () => {
    handlers['/api'] = (_request, response) => response.writeHead(302, { location: `${origin}/elsewhere` }).end();
    const { response } = await create().call(new URL('/api', origin));
    expect(response.status).toBe(302);
    expect(paths()).not.toContain('/elsewhere');
  });

  test('refuses a token that is not bound to its key', async () => {
    handlers['/token'] = (_request, response) =>
      sendJson(response, 200, { access_token: 'at', token_type: 'Bearer', expires_in: 600 });
    await expect(create().call(new URL('/api', origin))).rejects.toMatchObject({ code: 'issuer_refused' });
    expect(paths()).not.toContain('/api');
  });

  test('refuses metadata of another issuer', async () => {
    handlers['/.well-known/oauth-authorization-server'] = (_request, response) =>
      sendJson(response, 200, { issuer: 'https://login.example.com', token_endpoint: `${origin}/token` });
    await expect(create().accessToken()).rejects.toMatchObject({ code: 'issuer_refused' });
    expect(paths()).not.toContain('/token');
  });

  test('sends its secret to no http endpoint off this machine, whatever the metadata says', async () => {
    handlers['/.well-known/oauth-authorization-server'] = (_request, response) =>
      sendJson(response, 200, { issuer: origin, token_endpoint: 'http://login.example.com/token' });
    await expect(create().accessToken()).rejects.toMatchObject({ code: 'usage' });
  });

  test.each(['http://login.example.com', 'http://127.0.0.1.example.com', 'ftp://127.0.0.1', 'nonsense', ''])(
    'takes no issuer such as "%s"',
    (issuer) => {
      expect(() => create({ issuer })).toThrow(expect.objectContaining({ code: 'usage' }));
    },
  );

  test('gives up on an API that never answers', async () => {
    handlers['/api'] = () => {};
    const client = create({ timeoutMs: 100 });
    await expect(client.call(new URL('/api', origin))).rejects.toMatchObject({ code: 'unreachable' });
  });

  test('tries discovery again after the issuer was away', async () => {
    const away = handlers['/.well-known/oauth-authorization-server'] ?? notFound;
    handlers['/.well-known/oauth-authorization-server'] = (_request, response) => response.destroy();
    const client = create();
    await expect(client.accessToken()).rejects.toMatchObject({ code: 'unreachable' });
    handlers['/.well-known/oauth-authorization-server'] = away;
    expect(await client.accessToken()).toBe('at');
  });
});
