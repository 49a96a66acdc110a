import { Agent } from 'undici';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Deny, isDeny } from '../../src/decision.ts';
import { createVerifyAccessToken, type VerifiedAccessToken } from '../../src/identify/access-token.ts';
import { createKeySet } from '../../src/identify/key-set.ts';
import { createTestClock } from '../support/clock.ts';
import { type JwksServer, startJwksServer } from '../support/jwks-server.ts';
import { createKey, type KeyAlgorithm, publishedJwk, type SigningKey } from '../support/keys.ts';
import { type AccessTokenOptions, mintAccessToken, sha256, signJws } from '../support/tokens.ts';

const audience = 'https://api.example.com';
const dispatcher = new Agent();
const agentKey = createKey('ES256');
const certificate = sha256('a certificate');
let server: JwksServer;
let other: JwksServer;
let clock = createTestClock();
let verify: (raw: string) => Promise<VerifiedAccessToken | Deny>;

function verifierFor(servers: readonly JwksServer[], options: { cacheMax?: number; algorithms?: string[] } = {}) {
  const { algorithms = ['ES256', 'EdDSA', 'PS256', 'RS256'] } = options;
  const issuers = servers.map(({ issuer, jwksUri }) => ({
    issuer,
    algorithms,
    clockSkewMs: 30_000,
    keySet: createKeySet({
      issuer,
      source: { jwksUri },
      algorithms,
      keysMaxAgeMs: 600_000,
      keysMaxStaleMs: 3_600_000,
      clock,
      dispatcher,
    }),
  }));
  const verifyAccessToken = createVerifyAccessToken({ issuers, clock, tokenBytesMax: 12_288, ...options });
  return async (raw: string) => verifyAccessToken(raw);
}

beforeAll(async () => {
  server = await startJwksServer();
  other = await startJwksServer();
});

beforeEach(() => {
  clock = createTestClock();
  server.setKeys([server.key]);
  verify = verifierFor([server, other]);
});

afterAll(async () => {
  await Promise.all([server.close(), other.close(), dispatcher.close()]);
});

function mint(changes: Partial<AccessTokenOptions> = {}): string {
  return server.mint({ audience, agentKey, nowMs: clock(), ...changes });
}

async function accepted(raw: string) {
  const result = await verify(raw);
  if (isDeny(result)) expect.unreachable(`refused: ${result.cause}`);
  return result.accessToken;
}

async function refused(raw: string, word: string, reason = 'token_invalid') {
  expect(await verify(raw)).toMatchObject({ effect: 'deny', reason, cause: expect.stringContaining(word) });
}

describe('a good access token (RFC 9068)', () => {
  it('becomes what the rest of Postern works with', async () => {
    const raw = mint({
      scope: 'repo:read repo:write',
      certificate,
      claims: { jti: 'token-1', acr: 'urn:mfa', auth_time: clock() / 1000 - 60, team: { name: 'blue' } },
    });
    const verified = await verify(raw);
    expect(verified).toMatchObject({
      sha256: sha256(raw),
      accessToken: {
        issuer: server.issuer,
        subject: 'user-1',
        audience: [audience],
        clientId: 'agent-7',
        scopes: ['repo:read', 'repo:write'],
        jti: 'token-1',
        issuedAtMs: clock(),
        expiresAtMs: clock() + 300_000,
        authTimeMs: clock() - 60_000,
        acr: 'urn:mfa',
        claims: { team: { name: 'blue' } },
        confirmation: { jkt: agentKey.jkt, x5t: certificate },
        agent: { id: 'agent-7', issuer: server.issuer },
        actors: [],
        roles: [],
        subjectType: 'user',
        source: 'jwt',
      },
    });
  });

  it('is frozen through and through, being shared between requests', async () => {
    const token = await accepted(mint({ claims: { team: { name: 'blue' }, act: { sub: 'agent-8' } } }));
    const values = [token, token.claims, token.claims.team, token.audience, token.scopes, token.confirmation];
    expect([...values, token.agent, token.actors, token.actors[0]].every(Object.isFrozen)).toBe(true);
  });

  it('may leave out scope, nbf, auth_time, acr and cnf', async () => {
    const token = await accepted(mint({ agentKey: undefined, claims: { scope: undefined } }));
    expect(token).toMatchObject({ scopes: [], authTimeMs: null, acr: null, confirmation: { jkt: null, x5t: null } });
  });

  it('counts no empty scopes', async () => {
    expect((await accepted(mint({ scope: '' }))).scopes).toEqual([]);
    expect((await accepted(mint({ scope: ' a  b ' }))).scopes).toEqual(['a', 'b']);
  });

  it('says application/at+jwt or at+jwt, in any case', async () => {
    for (const typ of ['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/At+Jwt']) {
      await accepted(mint({ header: { typ } }));
    }
  });

  it.each(['ES256', 'EdDSA', 'PS256', 'RS256'] as const)('may be signed with %s', async (algorithm: KeyAlgorithm) => {
    const issuerKey = createKey(algorithm);
    server.setKeys([issuerKey]);
    await accepted(mint({ issuerKey }));
  });

  it('needs no kid where the keys can be tried', async () => {
    server.setKeys([createKey('ES256'), server.key]);
    await accepted(mint({ header: { kid: undefined } }));
    await refused(mint({ issuerKey: createKey('ES256'), header: { kid: undefined } }), 'signature');
  });
});

describe('structure and header (RFC 7515, RFC 8725)', () => {
  it('refuses a token of 100 kB before any other work', async () => {
    const before = server.keyRequests();
    await refused(mint({ claims: { padding: 'x'.repeat(100_000) } }), 'too large');
    expect(server.keyRequests()).toBe(before);
  });

  it('refuses what is no compact JWS of two JSON objects with unique names', async () => {
    const [header, payload, signature] = mint().split('.') as [string, string, string];
    const bad = [
      '',
      'opaque',
      `${header}.${payload}`,
      `${header}.${payload}.`,
      `${header}.${payload}.${signature}.${signature}.${signature}`,
      `${header}=.${payload}.${signature}`,
      `${header}.${payload}.${signature}=`,
      mint({ header: '[]' }),
      mint({ claims: 'null' }),
      mint({ claims: `{"iss":"${server.issuer}","iss":"${server.issuer}"}` }),
      mint({ header: '{"typ":"at+jwt","alg":"ES256","alg":"none"}' }),
    ];
    for (const raw of bad) await refused(raw, 'well-formed');
  });

  it.each([
    'dpop+jwt',
    'secevent+jwt',
    'logout+jwt',
    'oauth-id-jag+jwt',
    'txntoken+jwt',
    'wit+jwt',
    'wpt+jwt',
    'token-introspection+jwt',
    'entity-statement+jwt',
  ])('refuses typ %s as another kind of JWT', async (typ) => {
    await refused(mint({ header: { typ } }), 'another kind');
    await refused(mint({ header: { typ: `application/${typ.toUpperCase()}` } }), 'another kind');
  });

  it('refuses an ID token and anything else that does not say at+jwt', async () => {
    for (const typ of ['JWT', undefined, '', 'jwt', 1, ['at+jwt']]) await refused(mint({ header: { typ } }), 'typ');
  });

  it('refuses an alg that its issuer is not configured for, whatever key there is', async () => {
    for (const alg of ['none', 'HS256', 'ES384', 'RS512', '', undefined, 1, 'constructor']) {
      await refused(mint({ header: { alg } }), 'alg');
    }
    verify = verifierFor([server], { algorithms: ['PS256'] });
    await refused(mint(), 'alg');
  });

  it('refuses an alg that does not fit the key of its kid', async () => {
    const rsa = createKey('RS256');
    server.setKeys([rsa, server.key]);
    await refused(mint({ issuerKey: rsa, header: { alg: 'PS256' } }), 'does not publish');
    await refused(mint({ header: { alg: 'RS256', kid: rsa.kid } }), 'signature');
    await accepted(mint({ issuerKey: rsa }));
  });

  it('refuses crit and b64, and never looks at jku, x5u or an embedded jwk', async () => {
    await refused(mint({ header: { crit: ['x'], x: 1 } }), 'extension');
    await refused(mint({ header: { b64: false } }), 'extension');
    await refused(mint({ header: { kid: 1 } }), 'kid');
    const forger = createKey('ES256');
    const header = { jku: `${other.origin}/jwks`, x5u: `${other.origin}/x5u`, jwk: forger.publicJwk };
    await accepted(mint({ header }));
    await refused(mint({ issuerKey: forger, header: { ...header, kid: server.key.kid } }), 'signature');
    expect(other.requests.size).toBe(0);
  });

  it('refuses a signature that is not its issuer’s', async () => {
    const forger: SigningKey = { ...createKey('ES256'), kid: server.key.kid };
    await refused(mint({ issuerKey: forger }), 'signature');
    const [header, , signature] = mint().split('.');
    const [, payload] = mint({ scope: 'admin' }).split('.');
    await refused(`${header}.${payload}.${signature}`, 'signature');
    const published = publishedJwk(server.key);
    await refused(
      signJws({ header: { typ: 'at+jwt', alg: 'ES256', kid: published.kid }, payload: {}, key: server.key }),
      'iss',
    );
  });
});

describe('issuer', () => {
  it('must be one that is configured, character by character', async () => {
    const near = [
      `${server.issuer}/`,
      server.issuer.toUpperCase(),
      'https://evil.test',
      '',
      undefined,
      [server.issuer],
      1,
    ];
    for (const iss of near) await refused(mint({ claims: { iss } }), 'iss');
  });

  it('is never spoken for by the keys of another', async () => {
    await refused(
      mintAccessToken({ issuer: server.issuer, issuerKey: other.key, audience, nowMs: clock() }),
      'publish',
    );
    const sameKid: SigningKey = { ...other.key, kid: server.key.kid };
    await refused(mint({ issuerKey: sameKid }), 'signature');
    await accepted(other.mint({ audience, nowMs: clock() }));
  });

  it('being out of reach is told apart from a bad token', async () => {
    const down = await startJwksServer();
    verify = verifierFor([down]);
    const raw = down.mint({ audience, nowMs: clock() });
    await down.close();
    const answer = await verify(raw);
    expect(answer).toMatchObject({ reason: 'issuer_unavailable', retryAfterSeconds: 1 });
  });
});

describe('times (RFC 9068 §4, RFC 7519 §4.1)', () => {
  it('refuses what is expired, with a reason of its own', async () => {
    await accepted(mint({ claims: { exp: clock() / 1000 - 29 } }));
    await refused(mint({ claims: { exp: clock() / 1000 - 30 } }), 'exp', 'token_expired');
  });

  it('refuses what is not yet valid', async () => {
    const now = clock() / 1000;
    await accepted(mint({ claims: { nbf: now + 30, iat: now + 30 } }));
    await refused(mint({ claims: { nbf: now + 31 } }), 'future');
    await refused(mint({ claims: { iat: now + 31 } }), 'future');
  });
});

describe('the cache', () => {
  it('answers the same token with the same result, without waiting', async () => {
    const verifyAccessToken = createVerifyAccessToken({
      issuers: [trusting({ trusted: true })],
      clock,
      tokenBytesMax: 12_288,
    });
    const raw = mint();
    const first = await verifyAccessToken(raw);
    expect(verifyAccessToken(raw)).toBe(first);
    expect(verifyAccessToken(mint())).toBeInstanceOf(Promise);
  });

  it('checks times on every call', async () => {
    const raw = mint({ lifetimeSeconds: 60, claims: { nbf: clock() / 1000 } });
    await accepted(raw);
    clock.advance(89_999);
    await accepted(raw);
    clock.advance(1);
    await refused(raw, 'exp', 'token_expired');
    clock.advance(-90_000);
    await accepted(raw);
    clock.advance(-30_001);
    await refused(raw, 'future');
  });

  it('that lives longer than its issuer may make it live is refused', async () => {
    const issuers = [{ ...trusting({ trusted: true }), lifetimeMaxMs: 60_000 }];
    verify = async (raw) => createVerifyAccessToken({ issuers, clock, tokenBytesMax: 12_288 })(raw);
    await accepted(mint({ lifetimeSeconds: 60 }));
    await refused(mint({ lifetimeSeconds: 61 }), 'tokenMaxLifetime');
    // Issued earlier, and of a shorter rest.
    await refused(mint({ lifetimeSeconds: 61, nowMs: clock() - 60_000 }), 'tokenMaxLifetime');
    await refused(mint({ lifetimeSeconds: 60, claims: { iat: undefined } }), 'iat');
  });

  it('forgets a token after five minutes and verifies it anew', async () => {
    const state = { trusted: true, found: 0 };
    const verifyAccessToken = createVerifyAccessToken({ issuers: [trusting(state)], clock, tokenBytesMax: 12_288 });
    const raw = mint({ lifetimeSeconds: 3600 });
    await verifyAccessToken(raw);
    clock.advance(299_999);
    await verifyAccessToken(raw);
    expect(state.found).toBe(1);
    clock.advance(1);
    expect(isDeny(await verifyAccessToken(raw))).toBe(false);
    expect(state.found).toBe(2);
  });

  it('forgets a token as soon as its key is known to be withdrawn', async () => {
    const fetched: (() => void)[] = [];
    const keySet = createKeySet({
      issuer: server.issuer,
      source: { jwksUri: server.jwksUri },
      algorithms: ['ES256'],
      keysMaxAgeMs: 60_000,
      keysMaxStaleMs: 3_600_000,
      clock,
      dispatcher,
      onChange: () => fetched.shift()?.(),
    });
    const issuers = [{ issuer: server.issuer, algorithms: ['ES256'], clockSkewMs: 30_000, keySet }];
    const verifyAccessToken = createVerifyAccessToken({ issuers, clock, tokenBytesMax: 12_288 });
    const raw = mint();
    expect(isDeny(await verifyAccessToken(raw))).toBe(false);
    server.setKeys([createKey('ES256')]);
    clock.advance(60_001);
    const { promise, resolve } = Promise.withResolvers<void>();
    fetched.push(resolve);
    expect(verifyAccessToken(raw)).not.toBeInstanceOf(Promise);
    await promise;
    expect(await verifyAccessToken(raw)).toMatchObject({ reason: 'token_invalid' });
  });

  it('is bounded', async () => {
    const state = { trusted: true, found: 0 };
    const issuers = [trusting(state)];
    const verifyAccessToken = createVerifyAccessToken({ issuers, clock, tokenBytesMax: 12_288, cacheMax: 2 });
    const tokens = [mint(), mint(), mint()] as const;
    for (const raw of tokens) await verifyAccessToken(raw);
    await verifyAccessToken(tokens[0]);
    expect(state.found).toBe(4);
  });

  it('keeps no refusal', async () => {
    const raw = mint({ claims: { nbf: clock() / 1000 + 60 } });
    await refused(raw, 'future');
    clock.advance(60_000);
    await accepted(raw);
  });

  it('verifies a new token once for all requests that bring it at once', async () => {
    const state = { trusted: true, found: 0 };
    const verifyAccessToken = createVerifyAccessToken({ issuers: [trusting(state)], clock, tokenBytesMax: 12_288 });
    const raw = mint();
    const results = await Promise.all(Array.from({ length: 20 }, () => verifyAccessToken(raw)));
    expect(new Set(results).size).toBe(1);
    expect(state.found).toBe(1);
    await verifyAccessToken(mint());
    expect(state.found).toBe(2);
  });

  /** The server's issuer, with a key set that counts how often a key is looked for. */
  function trusting(state: { trusted: boolean; found?: number }) {
    const keySet = createKeySet({
      issuer: server.issuer,
      source: { jwksUri: server.jwksUri },
      algorithms: ['ES256'],
      keysMaxAgeMs: 3_600_000,
      keysMaxStaleMs: 3_600_000,
      clock,
      dispatcher,
    });
    const find: typeof keySet.find = (kid, algorithm) => {
      state.found = (state.found ?? 0) + 1;
      return keySet.find(kid, algorithm);
    };
    return { issuer: server.issuer, algorithms: ['ES256'], clockSkewMs: 30_000, keySet: { ...keySet, find } };
  }
});
