import { describe, expect, it } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import type { ClientRequest, Route } from '../../src/exchange.ts';
import { createMatchRoute } from '../../src/route/match.ts';

const route = (name: string, pathPrefix: string, more: Partial<Route> = {}): Route => ({
  name,
  pathPrefix,
  hosts: null,
  methods: ['GET', 'POST'],
  upstream: { origin: 'https://api.example', basePath: '' },
  stripPrefix: false,
  audience: 'https://agents.example',
  credential: 'key',
  accepts: ['dpop'],
  bodyBytesMax: 1024,
  headersTimeoutMs: 1000,
  bodyTimeoutMs: 1000,
  forwardFields: [],
  ...more,
});

function match(routes: readonly Route[], path: string, { method = 'GET', host = 'agents.example' } = {}) {
  const request = { method, host, target: { path, query: null } } as ClientRequest;
  const found = createMatchRoute(routes)(request);
  return isDeny(found) ? found : found.name;
}

describe('createMatchRoute', () => {
  it.each(['/github', '/github/'])('takes %s as a prefix of whole segments', (prefix) => {
    const routes = [route('github', prefix)];
    expect(match(routes, '/github')).toBe('github');
    expect(match(routes, '/github/')).toBe('github');
    expect(match(routes, '/github/x')).toBe('github');
    expect(match(routes, '/githubx')).toMatchObject({ reason: 'no_route' });
    expect(match(routes, '/GitHub/x')).toMatchObject({ reason: 'no_route' });
    expect(match(routes, '/')).toMatchObject({ reason: 'no_route' });
  });

  it('prefers the longest prefix, in whatever order routes are declared', () => {
    const routes = [route('all', '/'), route('deep', '/a/b'), route('short', '/a/')];
    for (const order of [routes, routes.toReversed()]) {
      expect(match(order, '/a/b/c')).toBe('deep');
      expect(match(order, '/a/bc')).toBe('short');
      expect(match(order, '/x')).toBe('all');
    }
  });

  it('prefers a route for the host to one for any host, and skips those for other hosts', () => {
    const routes = [route('any', '/'), route('own', '/', { hosts: ['own.example', 'port.example:8443'] })];
    expect(match(routes, '/x', { host: 'own.example' })).toBe('own');
    expect(match(routes, '/x', { host: 'own.example:8080' })).toBe('own');
    expect(match(routes, '/x', { host: 'port.example:8443' })).toBe('own');
    expect(match(routes, '/x', { host: 'port.example' })).toBe('any');
    expect(match([routes[1] ?? route('', '/')], '/x', { host: 'agents.example' })).toMatchObject({
      reason: 'no_route',
    });
  });

  it('chooses by method among routes of one prefix', () => {
    const routes = [route('reads', '/a', { methods: ['GET'] }), route('writes', '/a', { methods: ['POST'] })];
    expect(match(routes, '/a/x', { method: 'GET' })).toBe('reads');
    expect(match(routes, '/a/x', { method: 'POST' })).toBe('writes');
    expect(match(routes, '/a/x', { method: 'DELETE' })).toMatchObject({
      reason: 'method_not_allowed',
      allowedMethods: ['GET', 'POST'],
    });
  });

  it('never falls through to a wider route because of the method', () => {
    const routes = [route('all', '/', { methods: ['DELETE'] }), route('narrow', '/a', { methods: ['GET'] })];
    expect(match(routes, '/a/x', { method: 'DELETE' })).toMatchObject({
      reason: 'method_not_allowed',
      allowedMethods: ['GET'],
    });
  });

  it('compares methods by case', () => {
    expect(match([route('all', '/')], '/', { method: 'get' })).toMatchObject({ reason: 'method_not_allowed' });
  });
});
