import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from 'undici';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import { Fault } from '../../src/errors.ts';
import { createKeySet, type KeySet, type KeySetEvent, type KeySetOptions } from '../../src/identify/key-set.ts';
import { metadataAddresses } from '../../src/identify/key-source.ts';
import { createTestClock } from '../support/clock.ts';
import { type JwksFault, type JwksServer, type JwksServerOptions, startJwksServer } from '../support/jwks-server.ts';
import { createKey, publishedJwk } from '../support/keys.ts';

const dispatcher = new Agent();
let clock = createTestClock();
let servers: JwksServer[] = [];

beforeEach(() => {
  clock = createTestClock();
});

afterEach(async () => {
  await Promise.all(servers.map((server) => server.close()));
  servers = [];
});

afterAll(() => dispatcher.close());

async function start(options: JwksServerOptions = {}): Promise<JwksServer> {
  const server = await startJwksServer(options);
  servers.push(server);
  return server;
}

function keySetOf(issuer: string, changes: Partial<KeySetOptions> = {}): KeySet {
  return createKeySet({
    issuer,
    source: 'discovery',
    algorithms: ['ES256', 'EdDSA', 'PS256', 'RS256'],
    keysMaxAgeMs: 600_000,
    keysMaxStaleMs: 3_600_000,
    clock,
    dispatcher,
    ...changes,
  });
}

/** What a key set makes of a kid: the reason of its refusal, or how many keys there are to try. */
async function find(keySet: KeySet, kid: string | null, algorithm = 'ES256') {
  const found = await keySet.find(kid, algorithm);
  return isDeny(found) ? found.reason : found.length;
}

/** A key set whose fetches can be waited for. */
function observed(issuer: string, changes: Partial<KeySetOptions> = {}) {
  const events: KeySetEvent[] = [];
  let settle: () => void = () => undefined;
  const keySet = keySetOf(issuer, {
    ...changes,
    onChange: (event) => {
      events.push(event);
      settle();
    },
  });
  const nextFetch = () => new Promise<void>((resolve) => (settle = resolve));
  return { keySet, events, nextFetch };
}

describe('where keys come from', () => {
  it.each([
    ['https://login.test', '/.well-known/oauth-authorization-server', '/.well-known/openid-configuration'],
    ['https://login.test/', '/.well-known/oauth-authorization-server', '/.well-known/openid-configuration'],
    ['https://login.test/a/b', '/.well-known/oauth-authorization-server/a/b', '/a/b/.well-known/openid-configuration'],
    ['https://login.test/a/', '/.well-known/oauth-authorization-server/a', '/a/.well-known/openid-configuration'],
  ])('discovery for %s asks RFC 8414 first, then OpenID', (issuer, oauth, openid) => {
    expect(metadataAddresses(issuer)).toEqual([`https://login.test${oauth}`, `https://login.test${openid}`]);
  });

  it.each(['login', 'ftp://login.test', 'https://login.test/?a', 'https://login.test#a', 'https://u:p@login.test'])(
    'discovery cannot start from %s',
    (issuer) => expect(() => keySetOf(issuer)).toThrow(Fault),
  );

  it('discovery uses the first metadata there is', async () => {
    for (const [path, metadata] of [
      ['', 'oauth'],
      ['/tenant', 'oauth'],
      ['/tenant/', 'openid'],
      ['', 'openid'],
    ] as const) {
      const server = await start({ path, metadata: [metadata] });
      expect(await find(keySetOf(server.issuer), server.key.kid)).toBe(1);
      expect(server.requests.size).toBe(metadata === 'oauth' ? 2 : 3);
    }
  });

  it('metadata must name the very issuer', async () => {
    const server = await start({ metadata: [] });
    for (const issuer of [`${server.issuer}/`, server.issuer.toUpperCase(), 'https://evil.test', undefined, 1]) {
      server.setDocument('/.well-known/oauth-authorization-server', { issuer, jwks_uri: server.jwksUri });
      const keySet = keySetOf(server.issuer);
      expect(await find(keySet, server.key.kid)).toBe('issuer_unavailable');
      expect(keySet.problem()).toContain('another issuer');
    }
    expect(server.keyRequests()).toBe(0);
  });

  it('metadata must have a jwks_uri that may be trusted', async () => {
    const server = await start({ metadata: [] });
    for (const jwks_uri of [undefined, 1, 'jwks', 'ftp://login.test/jwks', 'file:///etc/passwd', 'data:,{}']) {
      server.setDocument('/.well-known/oauth-authorization-server', { issuer: server.issuer, jwks_uri });
      expect(await find(keySetOf(server.issuer), server.key.kid)).toBe('issuer_unavailable');
    }
    server.setDocument('/.well-known/oauth-authorization-server', []);
    expect(await find(keySetOf(server.issuer), server.key.kid)).toBe('issuer_unavailable');
    expect(server.keyRequests()).toBe(0);
  });

  it('a jwksUri is asked without discovery', async () => {
    const server = await start();
    const keySet = keySetOf('any name at all', { source: { jwksUri: server.jwksUri } });
    expect(await find(keySet, server.key.kid)).toBe(1);
    expect([...server.requests.keys()]).toEqual(['/jwks']);
  });

  it('a jwksFile is read, and read again when it is old or missing', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'postern-keys-'));
    try {
      const jwksFile = join(folder, 'jwks.json');
      const { keySet, nextFetch } = observed('any name at all', { source: { jwksFile } });
      expect(await keySet.warm()).toBe(false);
      expect(keySet.problem()).toContain(jwksFile);
      const [first, second] = [createKey(), createKey()];
      await writeFile(jwksFile, JSON.stringify({ keys: [publishedJwk(first)] }));
      clock.advance(1000);
      expect(await find(keySet, first.kid)).toBe(1);
      await writeFile(jwksFile, JSON.stringify({ keys: [publishedJwk(second)] }));
      clock.advance(600_001);
      const fetched = nextFetch();
      expect(await find(keySet, first.kid)).toBe(1);
      await fetched;
      expect(await find(keySet, second.kid)).toBe(1);
      expect(await find(keySet, first.kid)).toBe('token_invalid');
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('which keys are used', () => {
  it('only public ones for signatures, strong enough, and of an allowed kind', async () => {
    const server = await start();
    const [good, weak, p384] = [createKey(), createKey('RS256', { modulusLength: 1024 }), createKey('ES384')];
    server.setKeys([
      { kty: 'oct', k: 'AAAA', kid: 'a', alg: 'HS256' },
      { ...createKey().privateJwk, kid: 'b' },
      publishedJwk(createKey(), { kid: 'c', use: 'enc' }),
      publishedJwk(createKey(), { kid: 'd', key_ops: ['sign'] }),
      publishedJwk(createKey(), { kid: 'e', alg: 'ES384' }),
      publishedJwk(weak, { kid: 'f' }),
      publishedJwk(p384, { kid: 'g' }),
      { kty: 'EC', crv: 'P-256', x: good.publicJwk.x, y: good.publicJwk.x, kid: 'h' },
      { kty: 'LWE', kid: 'i' },
      publishedJwk(good),
    ]);
    const keySet = keySetOf(server.issuer);
    expect(await find(keySet, good.kid)).toBe(1);
    expect(await find(keySet, null)).toBe(1);
    for (const kid of 'abcdefghi') {
      for (const algorithm of ['ES256', 'RS256', 'PS256'])
        expect(await find(keySet, kid, algorithm)).toBe('token_invalid');
    }
  });

  it('an RSA key without alg serves each allowed algorithm, one with alg only that', async () => {
    const server = await start();
    const [free, fixed] = [createKey('PS256'), createKey('RS256')];
    server.setKeys([publishedJwk(free, { alg: undefined }), publishedJwk(fixed)]);
    const keySet = keySetOf(server.issuer);
    expect(await find(keySet, free.kid, 'PS256')).toBe(1);
    expect(await find(keySet, free.kid, 'RS256')).toBe(1);
    expect(await find(keySet, free.kid, 'RS512')).toBe('token_invalid');
    expect(await find(keySet, fixed.kid, 'RS256')).toBe(1);
    expect(await find(keySet, fixed.kid, 'PS256')).toBe('token_invalid');
  });

  it('no more than eight are tried for a token without a kid', async () => {
    const server = await start();
    server.setKeys(Array.from({ length: 12 }, () => createKey()));
    expect(await find(keySetOf(server.issuer), null)).toBe(8);
  });

  it.each([
    ['more keys than anybody has', Array.from({ length: 101 }, () => ({ kty: 'oct' }))],
    ['no usable key', [{ kty: 'oct', k: 'AA' }]],
    ['no key', []],
  ])('a set with %s is a failure', async (_, keys) => {
    const server = await start();
    server.setKeys(keys);
    expect(await find(keySetOf(server.issuer), 'any')).toBe('issuer_unavailable');
  });
});

describe('fetching', () => {
  it.each<JwksFault>([500, 204, 'hang', 'stall', 'reset', 'redirect', 'too_large', 'not_json', 'html'])(
    'fails on an answer that is %s, within its time, and recovers',
    async (fault) => {
      const server = await start();
      const keySet = keySetOf(server.issuer, { source: { jwksUri: server.jwksUri }, fetchTimeoutMs: 300 });
      server.setFault(fault);
      expect(await keySet.find(server.key.kid, 'ES256')).toMatchObject({
        reason: 'issuer_unavailable',
        retryAfterSeconds: 1,
      });
      expect([...server.requests.keys()]).toEqual(['/jwks']);
      expect(keySet.problem()).toContain(server.origin);
      expect(keySet.ageMs()).toBeNull();
      server.setFault(null);
      clock.advance(1000);
      expect(await find(keySet, server.key.kid)).toBe(1);
      expect(keySet.problem()).toBeNull();
    },
  );

  it('happens once for all who ask at once', async () => {
    const server = await start();
    const release = server.hold();
    const keySet = keySetOf(server.issuer);
    const asked = Array.from({ length: 50 }, () => find(keySet, server.key.kid));
    release();
    expect(await Promise.all(asked)).toEqual(Array.from({ length: 50 }, () => 1));
    expect(server.keyRequests()).toBe(1);
  });

  it('backs off, longer each time, and asks nothing meanwhile', async () => {
    const server = await start();
    server.setFault(500);
    const keySet = keySetOf(server.issuer, { source: { jwksUri: server.jwksUri } });
    for (const [attempt, seconds] of [1, 2, 4, 8, 16, 30, 30].entries()) {
      expect(await keySet.find('any', 'ES256')).toMatchObject({ retryAfterSeconds: seconds });
      clock.advance(seconds * 1000 - 1);
      expect(await keySet.find('any', 'ES256')).toMatchObject({ reason: 'issuer_unavailable', retryAfterSeconds: 1 });
      expect(server.keyRequests()).toBe(attempt + 1);
      clock.advance(1);
    }
  });

  it('for unknown key ids happens once in 30 seconds, however many there are', async () => {
    const server = await start();
    const keySet = keySetOf(server.issuer);
    expect(await find(keySet, server.key.kid)).toBe(1);
    const rotated = createKey();
    server.setKeys([server.key, rotated]);
    const storm = () => Promise.all(Array.from({ length: 100 }, (_, index) => find(keySet, `made-up-${index}`)));
    expect(new Set(await storm())).toEqual(new Set(['token_invalid']));
    expect(server.keyRequests()).toBe(1);
    expect(await find(keySet, rotated.kid)).toBe('token_invalid');
    clock.advance(30_000);
    await storm();
    expect(server.keyRequests()).toBe(2);
    expect(await find(keySet, rotated.kid)).toBe(1);
    await storm();
    expect(server.keyRequests()).toBe(2);
  });

  it('for an unknown key id that fails says that it cannot tell', async () => {
    const server = await start();
    const keySet = keySetOf(server.issuer);
    expect(await find(keySet, server.key.kid)).toBe(1);
    clock.advance(30_000);
    server.setFault(503);
    expect(await find(keySet, 'new')).toBe('issuer_unavailable');
    expect(await find(keySet, server.key.kid)).toBe(1);
  });
});

describe('warming up', () => {
  it('asks a failing issuer no more often than its back-off allows, however often it is asked for', async () => {
    const server = await start();
    server.setFault(500);
    const { keySet, events } = observed(server.issuer, { source: { jwksUri: server.jwksUri } });
    for (let probe = 0; probe < 10; probe++) expect(await keySet.warm()).toBe(false);
    expect(events).toHaveLength(1);
    clock.advance(1000);
    for (let probe = 0; probe < 10; probe++) expect(await keySet.warm()).toBe(false);
    expect(events).toHaveLength(2);
    server.setFault(null);
    clock.advance(2000);
    expect(await keySet.warm()).toBe(true);
  });
});

describe('age', () => {
  it('of more than keysMaxAge starts a fetch that nobody waits for', async () => {
    const server = await start();
    const { keySet, events, nextFetch } = observed(server.issuer);
    expect(keySet.ageMs()).toBeNull();
    expect(await keySet.warm()).toBe(true);
    clock.advance(600_000);
    expect(keySet.ageMs()).toBe(600_000);
    expect(keySet.trusts(server.key.jkt)).toBe(true);
    expect(server.keyRequests()).toBe(1);
    clock.advance(1);
    const rotated = createKey();
    server.setKeys([rotated]);
    const fetched = nextFetch();
    expect(keySet.find(server.key.kid, 'ES256')).not.toBeInstanceOf(Promise);
    await fetched;
    expect(keySet.ageMs()).toBe(0);
    expect(keySet.trusts(server.key.jkt)).toBe(false);
    expect(keySet.trusts(rotated.jkt)).toBe(true);
    expect(events.map((event) => event.outcome)).toEqual(['fetched', 'fetched']);
  });

  it('of more than keysMaxStale ends the use of keys, until they are fetched again', async () => {
    const server = await start();
    const { keySet, events, nextFetch } = observed(server.issuer, { source: { jwksUri: server.jwksUri } });
    await keySet.warm();
    server.setFault(500);
    clock.advance(3_600_000);
    const failed = nextFetch();
    expect(await find(keySet, server.key.kid)).toBe(1);
    await failed;
    expect(events.at(-1)).toMatchObject({ issuer: server.issuer, outcome: 'failed', error: undefined });
    clock.advance(1);
    expect(await find(keySet, server.key.kid)).toBe('issuer_unavailable');
    expect(keySet.trusts(server.key.jkt)).toBe(false);
    server.setFault(null);
    clock.advance(30_000);
    expect(await find(keySet, server.key.kid)).toBe(1);
    expect(keySet.trusts(server.key.jkt)).toBe(true);
  });
});
