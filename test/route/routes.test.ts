import { describe, expect, it } from 'vitest';
import { type Config, configSchema } from '../../src/config/schema.ts';
import { createRoutes, routeProblems } from '../../src/route/routes.ts';

const base = {
  name: 'a',
  match: {},
  upstream: 'https://api.example',
  audience: 'https://agents.example',
  credential: 'key',
};

function config(...routes: readonly object[]): Config {
  return configSchema.parse({
    listen: { publicOrigin: 'https://agents.example' },
    issuers: [{ issuer: 'https://login.example' }],
    routes: routes.map((route) => ({ ...base, ...route })),
    credentials: { key: { from: { env: 'KEY' }, inject: { header: 'authorization' } } },
    rules: ['rules'],
  });
}

const problems = (...routes: readonly object[]) => routeProblems(config(...routes));

describe('createRoutes', () => {
  it('fills in what the route leaves to the rest of the configuration', () => {
    expect(createRoutes(config({}))[0]).toEqual({
      name: 'a',
      pathPrefix: '/',
      hosts: null,
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      upstream: { origin: 'https://api.example', basePath: '' },
      stripPrefix: false,
      audience: 'https://agents.example',
      credential: 'key',
      accepts: ['dpop', 'mtls'],
      bodyBytesMax: 10_485_760,
      headersTimeoutMs: 30_000,
      bodyTimeoutMs: 300_000,
      forwardFields: [],
    });
  });

  it('takes what the route says itself', () => {
    const [route] = createRoutes(
      config({
        match: { pathPrefix: '/a/', hosts: ['A.example'], methods: ['GET'] },
        upstream: 'http://API.example:8080/v3/x/',
        stripPrefix: true,
        accept: ['bearer'],
        maxBody: '1KiB',
        timeouts: { headers: '1s', body: '2s' },
        forwardFields: ['Cookie'],
      }),
    );
    expect(route).toMatchObject({
      pathPrefix: '/a',
      hosts: ['a.example'],
      methods: ['GET'],
      upstream: { origin: 'http://api.example:8080', basePath: '/v3/x' },
      stripPrefix: true,
      accepts: ['bearer'],
      bodyBytesMax: 1024,
      headersTimeoutMs: 1000,
      bodyTimeoutMs: 2000,
      forwardFields: ['cookie'],
    });
  });
});

describe('routeProblems', () => {
  it('finds nothing wrong with routes that differ in prefix, host or method', () => {
    expect(
      problems(
        { name: 'a', match: { pathPrefix: '/a' } },
        { name: 'b', match: { pathPrefix: '/b' } },
        { name: 'c', match: { pathPrefix: '/b', hosts: ['x'] } },
        { name: 'd', match: { pathPrefix: '/b', hosts: ['y'], methods: ['GET'] } },
        { name: 'e', match: { pathPrefix: '/b', hosts: ['y'], methods: ['POST'] } },
        { name: 'f', match: { pathPrefix: '/caf%C3%A9' } },
      ),
    ).toEqual([]);
  });

  it('finds a name used twice and a credential that nobody declared', () => {
    const found = problems({ match: { pathPrefix: '/a' } }, { match: { pathPrefix: '/b' }, credential: 'lost' });
    expect(found.map(({ path }) => path)).toEqual([
      ['routes', 1, 'name'],
      ['routes', 1, 'credential'],
    ]);
  });

  it.each([
    ['the same match', {}, {}],
    ['a prefix that differs in its last slash', { pathPrefix: '/a' }, { pathPrefix: '/a/' }],
    ['methods that overlap', { methods: ['GET', 'POST'] }, { methods: ['POST', 'PUT'] }],
    ['hosts that overlap', { hosts: ['x', 'y'] }, { hosts: ['Y', 'z'] }],
  ])('finds %s', (_name, first, second) => {
    expect(problems({ match: first }, { name: 'b', match: second }).map(({ path }) => path)).toEqual([
      ['routes', 1, 'match'],
    ]);
  });

  it.each(['//', '/a//b', '/a/../b', '/a/.', '/%2e', '/a%2Fb', '/%c3%a9', '/%', '/%4', '/%41', '/%25', '/%00'])(
    'finds that no path can begin with %s',
    (pathPrefix) => {
      expect(problems({ match: { pathPrefix } }).map(({ path }) => path)).toEqual([['routes', 0, 'match']]);
    },
  );
});
