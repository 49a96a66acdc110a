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
      accepts: ['dpop'],
      bodyBytesMax: 10_485_760,
      bodyBinding: 'verify',
      jsonBytesMax: null,
      headersTimeoutMs: 30_000,
      bodyTimeoutMs: 300_000,
      forwardFields: [],
      leakGuard: true,
      webSocket: false,
      endsAtTokenExpiry: false,
      allowInPath: [],
      scopes: [],
      resourceMetadata: 'https://agents.example/.well-known/oauth-protected-resource',
      cors: null,
    });
  });

  it('accepts certificate-bound tokens only where a client certificate can arrive', () => {
    const tls = { certFile: 'cert', keyFile: 'key', clientCert: 'request' as const };
    const { listen, ...rest } = config({});
    expect(createRoutes({ ...rest, listen: { ...listen, tls } })[0]?.accepts).toEqual(['dpop', 'mtls']);
    expect(createRoutes({ ...rest, listen: { ...listen, tls: { ...tls, clientCert: 'none' } } })[0]?.accepts).toEqual([
      'dpop',
    ]);
  });

  it('takes the origins of web pages as browsers write them', () => {
    const [route] = createRoutes(
      config({ match: { pathPrefix: '/a/' }, cors: { origins: ['HTTPS://Page.example:443/'], maxAge: '90500ms' } }),
    );
    expect(route?.cors).toEqual({ origins: new Set(['https://page.example']), maxAgeSeconds: 90 });
    expect(route?.resourceMetadata).toBe('https://agents.example/.well-known/oauth-protected-resource/a');
  });

  it.each(['*', 'null', 'https://page.example/path', 'page.example'])('takes no page from %s', (origin) => {
    expect(() => config({ cors: { origins: [origin] } })).toThrow();
  });

  it('takes what the route says itself', () => {
    const [route] = createRoutes(
      config({
        match: { pathPrefix: '/a/', hosts: ['A.example'], methods: ['GET'] },
        upstream: 'http://API.example:8080/v3/x/',
        stripPrefix: true,
        accept: ['bearer'],
        maxBody: '1KiB',
        bodyBinding: 'required',
        inspectBody: { json: true, max: '2KiB' },
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
      bodyBinding: 'required',
      jsonBytesMax: 2048,
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

  it('finds a route for WebSockets that takes no GET, with which they are opened', () => {
    const found = problems(
      { websocket: true },
      { name: 'b', websocket: true, match: { pathPrefix: '/b', methods: ['POST'] } },
    );
    expect(found.map(({ path }) => path)).toEqual([['routes', 1, 'websocket']]);
  });

  it('finds a name used twice and a credential that nobody declared', () => {
    const found = problems({ match: { pathPrefix: '/a' } }, { match: { pathPrefix: '/b' }, credential: 'lost' });
    expect(found.map(({ path }) => path)).toEqual([
      ['routes', 1, 'name'],
      ['routes', 1, 'credential'],
    ]);
  });

  it('finds a route that requires bound bodies of callers who have no proof', () => {
    const required = { bodyBinding: 'required' };
    for (const accept of [undefined, ['mtls'], ['dpop', 'mtls'], ['dpop', 'bearer']]) {
      expect(problems({ ...required, ...(accept === undefined ? {} : { accept }) }).map(({ path }) => path)).toEqual([
        ['routes', 0, 'bodyBinding'],
      ]);
    }
    expect(problems({ ...required, accept: ['dpop'] })).toEqual([]);
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
