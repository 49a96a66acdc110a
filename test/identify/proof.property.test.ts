import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import { createVerifyAccessToken } from '../../src/identify/access-token.ts';
import { createIdentify } from '../../src/identify/identify.ts';
import { createKeySets, type KeySets } from '../../src/identify/key-sets.ts';
import { createVerifyProof } from '../../src/identify/proof.ts';
import { clientRequest, route } from '../support/client-request.ts';
import { createTestClock, type TestClock } from '../support/clock.ts';
import { type JwksServer, startJwksServer } from '../support/jwks-server.ts';
import { createKey, type SigningKey } from '../support/keys.ts';
import { mintProof, type ProofOptions, sha256, signJws } from '../support/tokens.ts';
import { oracleAccepts } from './proof-oracle.ts';

const origin = 'https://api.example.com';
const keys = [createKey('ES256'), createKey('ES256'), createKey('EdDSA'), createKey('PS256')] as const;
const foreign = [createKey('ES384'), createKey('RS256'), createKey('ES256')] as const;
const windows = { strict: [60, 10], mcp: [300, 300], own: [5, 0] } as const;

let server: JwksServer;
let keySets: KeySets;
let clock: TestClock;

beforeAll(async () => {
  server = await startJwksServer();
  clock = createTestClock();
  keySets = createKeySets({
    issuers: [{ issuer: server.issuer, algorithms: ['ES256'], keysMaxAge: 8.64e7, keysMaxStale: 8.64e7 }],
    clock,
  });
});

afterAll(() => Promise.all([keySets.close(), server.close()]));

/** Identify, and what the store does with its answer: a key is remembered for as long as was asked, no longer. */
function createPostern(window: keyof typeof windows) {
  const [pastSeconds, futureSeconds] = windows[window];
  const keySet = keySets.byIssuer.get(server.issuer);
  if (keySet === undefined) expect.unreachable('no key set');
  const issuers = [{ issuer: server.issuer, algorithms: ['ES256'], clockSkewMs: 0, keySet }];
  const identify = createIdentify({
    verifyAccessToken: createVerifyAccessToken({ issuers, clock, tokenBytesMax: 12_288 }),
    verifyProof: createVerifyProof({
      publicOrigin: origin,
      algorithms: ['ES256', 'EdDSA', 'PS256'],
      window: window === 'own' ? { pastMs: pastSeconds * 1000, futureMs: futureSeconds * 1000 } : window,
      nonces: null,
      clock,
      proofBytesMax: 8192,
    }),
    nonces: null,
  });
  const usedUntilMs = new Map<string, number>();
  return async (accessToken: string, dpop: string, method: string, path: string): Promise<boolean> => {
    const fields = { authorization: `DPoP ${accessToken}`, dpop };
    const identity = await identify(clientRequest({ method, path, fields }), route());
    if (isDeny(identity)) {
      expect(['proof_invalid', 'key_mismatch']).toContain(identity.reason);
      return false;
    }
    const { singleUse } = identity.possession;
    if (singleUse === null) expect.unreachable('a proof without a single use');
    if ((usedUntilMs.get(singleUse.key) ?? 0) > clock()) return false;
    usedUntilMs.set(singleUse.key, clock() + singleUse.lifetimeMs);
    return true;
  };
}

/** One way to change a proof: members of its claims or header, a time, or the finished text. */
type Mutation =
  | { readonly claims: Readonly<Record<string, unknown>> }
  | { readonly header: Readonly<Record<string, unknown>> }
  /** Members beside those of the client's own key. */
  | { readonly jwk: Readonly<Record<string, unknown>> }
  /** A claim that is so many seconds from the start of the run. */
  | { readonly time: readonly [string, number] }
  | { readonly text: string };

const odd = fc.constantFrom(undefined, null, '', 0, 1, true, [], {}, 'x', -1, 1e300, ['x'], { a: 1 });
const claims = (arbitrary: fc.Arbitrary<Record<string, unknown>>) => arbitrary.map((record) => ({ claims: record }));
const times = (arbitrary: fc.Arbitrary<[string, number]>) => arbitrary.map((time) => ({ time }));
const header = (arbitrary: fc.Arbitrary<Record<string, unknown>>) => arbitrary.map((record) => ({ header: record }));

function htuVariants(path: string): readonly string[] {
  return [
    `${origin}${path}?a=1`,
    `${origin}${path}#f`,
    `HTTPS://API.EXAMPLE.COM${path}`,
    `https://api.example.com:443${path}`,
    `https://api.example.com:8443${path}`,
    `http://api.example.com${path}`,
    `https://user@api.example.com${path}`,
    `https://api.example.com.evil.test${path}`,
    `${origin}${path}/`,
    `${origin}/x/..${path}`,
    `${origin}/x/%2E%2e${path}`,
    `${origin}/.${path}`,
    `${origin}/${path}`,
    `${origin}${path.replaceAll('%2F', '%2f').replaceAll('~', '%7e')}`,
    `${origin}${path.replaceAll('%2F', '/')}`,
    `${origin}${path.toUpperCase()}`,
    `${origin}${path.replaceAll('e', '%65')}`,
    `${origin}${path.replaceAll('e', '%2565')}`,
    `${origin}${path.replaceAll('/', '\\')}`,
    origin,
    path,
    '',
    'https://',
    'urn:x',
  ];
}

function mutationsFor(path: string): fc.Arbitrary<Mutation> {
  const name = fc.constantFrom('jti', 'htm', 'htu', 'iat', 'ath', 'nbf', 'exp', 'nonce', 'extra', 'iss', 'aud');
  const headerName = fc.constantFrom('typ', 'alg', 'jwk', 'kid', 'crit', 'b64', 'cty', 'extra');
  const jwks = [...keys, ...foreign].flatMap(({ publicJwk, privateJwk }) => [publicJwk, privateJwk]);
  const members = [
    { kid: 'k', extra: { a: 1 } },
    { use: 'enc' },
    { use: 'sig' },
    { alg: 'ES256' },
    { alg: 'none' },
    { kty: 'oct', k: 'AAAA' },
    { x: undefined, n: undefined },
    { crv: 'P-384', e: 'AQ' },
  ];
  return fc.oneof(
    claims(fc.tuple(name, odd).map(([member, value]) => ({ [member]: value }))),
    claims(fc.constantFrom('get', 'GET', 'Post', 'POST ', 'DELETE').map((htm) => ({ htm }))),
    claims(fc.constantFrom(sha256('another token'), sha256('').toUpperCase(), 'A'.repeat(43)).map((ath) => ({ ath }))),
    claims(fc.constantFrom(...htuVariants(path)).map((htu) => ({ htu }))),
    times(fc.tuple(fc.constant('iat'), fc.integer({ min: -330, max: 330 }))),
    times(fc.tuple(fc.constant('iat'), fc.constantFrom(-61, -60, -6, -5, 10, 11, -300, -301, 300, 301, 0.5))),
    times(fc.tuple(fc.constantFrom('nbf', 'exp'), fc.integer({ min: -15, max: 15 }))),
    claims(fc.constantFrom(1, 255, 256, 257, 1000).map((length) => ({ jti: 'j'.repeat(length) }))),
    claims(fc.string({ maxLength: 20 }).map((jti) => ({ jti }))),
    header(fc.tuple(headerName, odd).map(([member, value]) => ({ [member]: value }))),
    header(
      fc
        .constantFrom('DPOP+JWT', 'application/dpop+jwt', 'Application/DPoP+jwt', 'JWT', 'at+jwt', 'text/dpop+jwt')
        .map((typ) => ({ typ })),
    ),
    header(
      fc
        .constantFrom('ES256', 'ES384', 'EdDSA', 'Ed25519', 'PS256', 'RS256', 'HS256', 'none', 'es256')
        .map((alg) => ({ alg })),
    ),
    header(fc.constantFrom(...jwks).map((jwk) => ({ jwk }))),
    fc.constantFrom(...members).map((jwk) => ({ jwk })),
    header(
      fc.constantFrom(
        { crit: ['exp'] },
        { crit: [] },
        { b64: false },
        { crit: ['b64'], b64: false },
        { kid: 'x', jku: 'http://127.0.0.1:1' },
      ),
    ),
    fc
      .constantFrom(
        'flip',
        'truncate',
        'swap',
        'pad',
        'space',
        'dup-claim',
        'dup-header',
        'five',
        'two',
        'empty',
        'plus',
        'append',
        'loose',
      )
      .map((text) => ({ text })),
  );
}

function mutateText(proof: string, how: string, key: SigningKey): string {
  const [head = '', body = '', signature = ''] = proof.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  const json = (part: string) => Buffer.from(part, 'base64url').toString();
  switch (how) {
    case 'flip':
      bytes[7] = (bytes[7] ?? 0) ^ 4;
      return `${head}.${body}.${bytes.toString('base64url')}`;
    case 'truncate':
      return `${head}.${body}.${bytes.subarray(1).toString('base64url')}`;
    case 'swap':
      return `${head}.${body}.${signJws({ header: {}, payload: {}, key }).split('.')[2]}`;
    case 'pad':
      return `${head}.${body}.${signature}==`;
    case 'space':
      return `${head} .${body}.${signature}`;
    case 'dup-claim':
      return signJws({ header: json(head), payload: `${json(body).slice(0, -1)},"jti":"again"}`, key });
    case 'dup-header':
      return signJws({ header: `${json(head).slice(0, -1)},"\\u0074yp":"dpop+jwt"}`, payload: json(body), key });
    case 'five':
      return `${proof}.${body}.${signature}`;
    case 'two':
      return `${head}.${body}`;
    case 'empty':
      return `${head}.${body}.`;
    case 'plus':
      return `${head}.${body}.${signature.replace(/^./, '+')}`;
    case 'append':
      return `${proof},${proof}`;
    default: {
      const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
      const last = alphabet.indexOf(signature.at(-1) ?? 'A');
      return `${head}.${body}.${signature.slice(0, -1)}${alphabet[last ^ 1]}`;
    }
  }
}

function mutate(options: ProofOptions & { readonly nowMs: number }, mutations: readonly Mutation[]): string {
  const claims = {};
  const header: { jwk?: object } = {};
  for (const mutation of mutations) {
    if ('claims' in mutation) Object.assign(claims, mutation.claims);
    if ('time' in mutation) Object.assign(claims, { [mutation.time[0]]: options.nowMs / 1000 + mutation.time[1] });
    if ('header' in mutation) Object.assign(header, mutation.header);
    if ('jwk' in mutation) header.jwk = { ...options.key.publicJwk, ...mutation.jwk };
  }
  let proof = mintProof({ ...options, claims, header });
  for (const mutation of mutations) if ('text' in mutation) proof = mutateText(proof, mutation.text, options.key);
  return proof;
}

function jtiOf(proof: string): unknown {
  const payload: unknown = JSON.parse(Buffer.from(proof.split('.')[1] ?? '', 'base64url').toString());
  return typeof payload === 'object' && payload !== null && 'jti' in payload ? payload.jti : undefined;
}

it('accepts a proof exactly when jose and the checks that it lacks do', { timeout: 60_000 }, async () => {
  const scenarios = fc.constantFrom('/v1/items', '/a%2Fb/~user/e', '/', '/caf%C3%A9').chain((path) =>
    fc.record({
      path: fc.constant(path),
      window: fc.constantFrom('strict', 'mcp', 'own'),
      method: fc.constantFrom('GET', 'POST'),
      key: fc.nat(keys.length - 1),
      isBoundElsewhere: fc.nat(19).map((draw) => draw === 0),
      mutations: fc.array(mutationsFor(path), { maxLength: 2 }),
      /** More sends: seconds to wait, then the same proof or a new one. */
      sends: fc.array(fc.tuple(fc.constantFrom(0, 1, 5, 30, 61, 130, 299, 301, 600), fc.constantFrom('same', 'new')), {
        maxLength: 3,
      }),
    }),
  );
  const counts = { accepted: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(scenarios, async ({ path, window, method, key: index, isBoundElsewhere, mutations, sends }) => {
      const key = keys[index] ?? keys[0];
      const agentKey = isBoundElsewhere ? foreign[2] : key;
      const startMs = clock();
      const accessToken = server.mint({ audience: origin, agentKey, nowMs: startMs, lifetimeSeconds: 36_000 });
      const proof = mutate({ key, method, url: `${origin}${path}`, accessToken, nowMs: startMs }, mutations);
      const posternAccepts = createPostern(window);
      const [pastSeconds, futureSeconds] = windows[window];
      const seen = new Set<string>();
      for (const [wait, kind] of [[0, 'same'], ...sends] as const) {
        clock.advance(wait * 1000);
        const shared = { method, url: `${origin}${path}`, accessToken, jkt: agentKey.jkt, nowMs: clock(), seen };
        const sent = kind === 'same' ? proof : mintProof({ ...shared, key });
        const expected = await oracleAccepts(sent, { ...shared, pastSeconds, futureSeconds });
        counts[expected ? 'accepted' : 'refused'] += 1;
        expect(await posternAccepts(accessToken, sent, method, path)).toBe(expected);
        // Another proof with the jti of one just accepted is new to neither.
        const twin = expected ? mintProof({ ...shared, key, claims: { jti: jtiOf(sent) } }) : null;
        if (twin === null) continue;
        expect(await oracleAccepts(twin, { ...shared, pastSeconds, futureSeconds })).toBe(false);
        expect(await posternAccepts(accessToken, twin, method, path)).toBe(false);
      }
    }),
    { numRuns: 1000 },
  );
  // The property would also hold of a generator that makes nothing but rubbish.
  expect(counts.accepted).toBeGreaterThan(300);
  expect(counts.refused).toBeGreaterThan(300);
});
