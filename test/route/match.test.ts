import { describe, expect, it } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import type { ClientRequest, OddPath, PathOddity, Route } from '../../src/exchange.ts';
import { createMatchRoute } from '../../src/route/match.ts';
import { route as anyRoute } from '../support/client-request.ts';

const route = (name: string, pathPrefix: string, more: Partial<Route> = {}): Route =>
  anyRoute({ name, pathPrefix, ...more });

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

describe('what a route has to opt in to', () => {
  const odd = (uses: readonly PathOddity[], lenientPath: string) => ({ uses, lenientPath });
  const matchOdd = (routes: readonly Route[], path: string, oddPath: OddPath) => {
    const request = {
      method: 'GET',
      host: 'a',
      target: { path, query: null, odd: oddPath },
    } as unknown as ClientRequest;
    const found = createMatchRoute(routes)(request);
    return isDeny(found) ? found.reason : found.name;
  };

  it('passes where the route itself has, for everything that the path uses', () => {
    const routes = [route('odd', '/odd', { allowInPath: ['semicolon'] }), route('plain', '/')];
    expect(matchOdd(routes, '/odd/a;b', odd(['semicolon'], '/odd/a'))).toBe('odd');
    expect(matchOdd(routes, '/plain/a;b', odd(['semicolon'], '/plain/a'))).toBe('target_ambiguous');
    const both = odd(['semicolon', 'empty-segments'], '/odd/a/c');
    expect(matchOdd(routes, '/odd/a;b//c', both)).toBe('target_ambiguous');
  });

  it('never lets a path of a wider route be read as one of a narrower', () => {
    const allowInPath: readonly PathOddity[] = ['semicolon', 'encoded-slash', 'empty-segments'];
    const routes = [route('wide', '/', { allowInPath }), route('narrow', '/admin/keys', { allowInPath })];
    expect(matchOdd(routes, '/admin;x/keys', odd(['semicolon'], '/admin/keys'))).toBe('target_ambiguous');
    expect(matchOdd(routes, '/admin%2Fkeys', odd(['encoded-slash'], '/admin/keys'))).toBe('target_ambiguous');
    expect(matchOdd(routes, '/admin//keys', odd(['empty-segments'], '/admin/keys'))).toBe('target_ambiguous');
    expect(matchOdd(routes, '/admin/keys;x', odd(['semicolon'], '/admin/keys'))).toBe('target_ambiguous');
    expect(matchOdd(routes, '/admin/keys/a;x', odd(['semicolon'], '/admin/keys/a'))).toBe('narrow');
  });

  it('never leaves two slashes at the beginning when the prefix is taken off', () => {
    const allowInPath: readonly PathOddity[] = ['empty-segments'];
    const uses = odd(allowInPath, '/odd/evil.example');
    expect(matchOdd([route('odd', '/odd', { allowInPath, stripPrefix: true })], '/odd//evil.example', uses)).toBe(
      'target_ambiguous',
    );
    expect(matchOdd([route('odd', '/odd', { allowInPath })], '/odd//evil.example', uses)).toBe('odd');
  });
});
