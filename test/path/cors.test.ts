import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type CallOptions, type Harness, startSidecar } from '../support/sidecar.ts';

const page = 'https://page.example';
const corsNames = [
  'access-control-allow-origin',
  'access-control-allow-methods',
  'access-control-allow-headers',
  'access-control-allow-credentials',
  'access-control-expose-headers',
  'access-control-max-age',
];
const corsOf = ({ headers }: Answer) =>
  Object.fromEntries(corsNames.flatMap((name) => (name in headers ? [[name, headers[name]]] : [])));
const readable = {
  'access-control-allow-origin': page,
  'access-control-expose-headers':
    'DPoP-Nonce, WWW-Authenticate, postern-decision, RateLimit, RateLimit-Policy, Retry-After',
};

let harness: Harness;
let bare: Harness;
beforeAll(async () => {
  const cors = { origins: [page, 'http://localhost:5173'], maxAge: '90s' };
  harness = await startSidecar({ route: { cors } });
  bare = await startSidecar();
  for (const { upstream } of [harness, bare]) {
    upstream.answerWith((_incoming, response) => {
      const theirs = { 'access-control-allow-origin': '*', 'access-control-allow-credentials': 'true' };
      response.writeHead(200, { ...theirs, vary: 'accept' });
      response.end('{"ok":true}');
    });
  }
});
afterAll(() => Promise.all([harness.close(), bare.close()]));

const preflight = (fields: CallOptions['fields'], from = harness, path = '/api/x') =>
  from.call(path, { method: 'OPTIONS', token: '', proof: null, fields: fields ?? {} });
const asking = (origin: string, method = 'POST') => ({ origin, 'access-control-request-method': method });

describe('a preflight', () => {
  it.each([page, 'http://localhost:5173'])('of a listed origin is answered without a token: %s', async (origin) => {
    const answer = await preflight({
      ...asking(origin),
      'access-control-request-headers': 'authorization,dpop,x-evil',
    });
    expect(answer.status).toBe(204);
    expect(answer.text).toBe('');
    expect(corsOf(answer)).toEqual({
      'access-control-allow-origin': origin,
      'access-control-allow-methods': 'GET, HEAD, POST, DELETE',
      'access-control-allow-headers': 'authorization, dpop, content-type, agent-reason',
      'access-control-max-age': '90',
    });
    expect(answer.headers).toMatchObject({ vary: 'Origin', 'cache-control': 'no-store' });
    expect(answer.headers).not.toHaveProperty('content-length');
    expect(await harness.record(answer.decision)).toMatchObject({
      decision: 'allow',
      rule: 'postern:cors-preflight',
      route: null,
      credential: null,
      status: 204,
      bytes_out: 0,
    });
    expect(harness.upstream.requests).toEqual([]);
  });

  it.each<[string, Record<string, string | string[]>]>([
    ['another origin', asking('https://evil.example')],
    ['an origin that begins like a listed one', asking(`${page}.evil.example`)],
    ['a listed origin with another scheme', asking('http://page.example')],
    ['a listed origin with another port', asking(`${page}:8443`)],
    ['a listed origin in other letters', asking('https://PAGE.example')],
    ['no origin to speak of', asking('null')],
    ['any origin', asking('*')],
    ['two origins', { ...asking(page), origin: [page, page] }],
    ['two origins in one field', asking(`${page}, ${page}`)],
    ['a method that the route does not take', asking(page, 'PUT')],
    ['a method in other letters', asking(page, 'post')],
    ['two methods', { ...asking(page), 'access-control-request-method': ['GET', 'POST'] }],
    ['no method', { origin: page }],
    ['no origin', { 'access-control-request-method': 'POST' }],
  ])('of %s is a request like any, and says nothing to a page', async (_name, fields) => {
    const answer = await preflight(fields);
    expect(answer).toMatchObject({ status: 405, reason: 'method_not_allowed' });
    expect(corsOf(answer)).toEqual({});
    expect(harness.upstream.requests).toEqual([]);
  });

  it('for a path of no route, or a route that lists nobody, is none', async () => {
    expect(await preflight(asking(page), harness, '/other')).toMatchObject({ status: 404, reason: 'no_route' });
    const answer = await preflight(asking(page), bare);
    expect(answer).toMatchObject({ status: 405, reason: 'method_not_allowed' });
    expect(corsOf(answer)).toEqual({});
  });

  it('with a body is none', async () => {
    const answer = await harness.call('/api/x', { method: 'OPTIONS', fields: asking(page), body: 'x' });
    expect(answer.reason).toBe('method_not_allowed');
  });
});

describe('an answer to a page', () => {
  it('of a listed origin can be read by it, and by no other', async () => {
    const answer = await harness.call('/api/x', { fields: { origin: page } });
    expect(answer.status).toBe(200);
    expect(corsOf(answer)).toEqual(readable);
    expect([answer.headers.vary].flat()).toEqual(['accept', 'Origin']);
  });

  it.each<[string, string, CallOptions, number]>([
    ['no token', '/api/x', { token: '', proof: null }, 401],
    ['a bad proof', '/api/x', { proof: 'a.b.c' }, 401],
    ['no matching rule', '/api/x', { method: 'DELETE' }, 403],
    ['a rule that denies', '/api/forbidden', {}, 403],
  ])('can be read where it is a refusal: %s', async (_name, path, options, status) => {
    const answer = await harness.call(path, { ...options, fields: { origin: page } });
    expect(answer.status).toBe(status);
    expect(corsOf(answer)).toEqual(readable);
    expect(answer.headers.vary).toBe('Origin');
  });

  it.each(['https://evil.example', 'null', `${page}/`])(
    'of another origin is judged, and cannot be read: %s',
    async (origin) => {
      const answer = await harness.call('/api/x', { fields: { origin } });
      expect(answer.status).toBe(200);
      expect(corsOf(answer)).toEqual({});
      const refused = await harness.call('/api/x', { token: '', proof: null, fields: { origin } });
      expect(refused.status).toBe(401);
      expect(corsOf(refused)).toEqual({});
    },
  );

  it('says that it varies where there is no Origin either', async () => {
    const answer = await harness.call('/api/forbidden');
    expect(corsOf(answer)).toEqual({});
    expect(answer.headers.vary).toBe('Origin');
  });

  it('is as it was on a route that lists nobody', async () => {
    const answer = await bare.call('/api/x', { fields: { origin: page } });
    expect(corsOf(answer)).toEqual({});
    expect(answer.headers.vary).toBe('accept');
  });

  it('can be read where it is the resource metadata', async () => {
    const path = '/.well-known/oauth-protected-resource/api';
    const answer = await harness.call(path, { token: '', proof: null, fields: { origin: page } });
    expect(corsOf(answer)).toEqual(readable);
    expect(answer.headers).toMatchObject({ vary: 'Origin', 'cache-control': 'public, max-age=300' });
  });
});
