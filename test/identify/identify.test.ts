import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import type { Identity, Route } from '../../src/exchange.ts';
import { createVerifyAccessToken } from '../../src/identify/access-token.ts';
import { createIdentify, type Identify } from '../../src/identify/identify.ts';
import { createKeySets, type KeySets } from '../../src/identify/key-sets.ts';
import { createNonces, type Nonces } from '../../src/identify/nonce.ts';
import { createVerifyProof } from '../../src/identify/proof.ts';
import { type ClientRequestChanges, clientRequest, route } from '../support/client-request.ts';
import { createTestClock } from '../support/clock.ts';
import { type JwksServer, startJwksServer } from '../support/jwks-server.ts';
import { createKey } from '../support/keys.ts';
import { type AccessTokenOptions, mintProof, type ProofOptions, sha256 } from '../support/tokens.ts';

const audience = 'https://api.example.com';
const publicOrigin = 'https://api.example.com';
const clock = createTestClock();
const key = createKey('ES256');
const certificate = sha256('a certificate');
let server: JwksServer;
let keySets: KeySets;
let identify: Identify;

beforeAll(async () => {
  server = await startJwksServer();
  const { issuer } = server;
  keySets = createKeySets({
    issuers: [{ issuer, algorithms: ['ES256'], keysMaxAge: 86_400_000, keysMaxStale: 86_400_000 }],
    clock,
  });
  identify = identifyWith(null);
});

afterAll(() => Promise.all([keySets.close(), server.close()]));

function identifyWith(nonces: Nonces | null): Identify {
  const { issuer } = server;
  const keySet = keySets.byIssuer.get(issuer);
  if (keySet === undefined) expect.unreachable('no key set');
  const issuers = [{ issuer, algorithms: ['ES256'], clockSkewMs: 30_000, keySet }];
  return createIdentify({
    verifyAccessToken: createVerifyAccessToken({ issuers, clock, tokenBytesMax: 12_288 }),
    verifyProof: createVerifyProof({
      publicOrigin,
      algorithms: ['ES256'],
      window: 'strict',
      nonces,
      clock,
      proofBytesMax: 4096,
    }),
    nonces,
  });
}

function mint(changes: Partial<AccessTokenOptions> = {}): string {
  return server.mint({ audience, agentKey: key, nowMs: clock(), ...changes });
}

function prove(accessToken: string, changes: Partial<ProofOptions> = {}): string {
  return mintProof({ key, method: 'GET', url: `${publicOrigin}/v1/items`, accessToken, nowMs: clock(), ...changes });
}

/** A request with the DPoP scheme and a good proof, but for what is changed. */
function dpopRequest(accessToken: string, changes: ClientRequestChanges = {}) {
  const { fields, ...rest } = changes;
  return clientRequest({
    ...rest,
    fields: { authorization: `DPoP ${accessToken}`, dpop: prove(accessToken), ...fields },
  });
}

async function accepted(request: ReturnType<typeof clientRequest>, to: Route = route()): Promise<Identity> {
  const result = await identify(request, to);
  if (isDeny(result)) expect.unreachable(`refused: ${result.cause}`);
  return result;
}

describe('a DPoP-bound access token (RFC 9449 §7)', () => {
  it('with its proof identifies the agent', async () => {
    const accessToken = mint({ claims: { act: { sub: 'agent-8' } } });
    const { possession, nextNonce, accessToken: token } = await accepted(dpopRequest(accessToken));
    expect(token).toMatchObject({ subject: 'user-1', agent: { id: 'agent-8' }, scopes: ['read'] });
    expect(possession).toMatchObject({ method: 'dpop', jkt: key.jkt, x5t: null, proofAgeMs: 0, hasNonce: false });
    expect(possession.singleUse?.key).toMatch(/^[\w-]{43}$/);
    expect(nextNonce).toBeNull();
  });

  it.each(['DPoP', 'dpop', 'DPOP', 'dPoP'])(
    'may come with the scheme written %s, and spaces after it',
    async (scheme) => {
      const accessToken = mint();
      await accepted(dpopRequest(accessToken, { fields: { authorization: `${scheme} ${accessToken}` } }));
      await accepted(dpopRequest(accessToken, { fields: { authorization: `${scheme}   ${accessToken}` } }));
    },
  );

  it('is told to bring a proof', async () => {
    const request = clientRequest({ fields: { authorization: `DPoP ${mint()}` } });
    expect(await identify(request, route())).toMatchObject({ reason: 'proof_missing', challenge: { scheme: 'DPoP' } });
  });

  it('is refused with more than one proof, in one field or several', async () => {
    const accessToken = mint();
    const [first, second] = [prove(accessToken), prove(accessToken)];
    for (const dpop of [[first, second], [first, first], `${first}, ${second}`, `${first},`, '']) {
      const answer = await identify(dpopRequest(accessToken, { fields: { dpop } }), route());
      expect(answer).toMatchObject({ reason: 'proof_invalid', challenge: { scheme: 'DPoP' } });
    }
  });

  it('is refused with a proof for another token, method, path or key', async () => {
    const accessToken = mint();
    const wrong: Partial<ProofOptions>[] = [
      { accessToken: mint() },
      { method: 'POST' },
      { url: `${publicOrigin}/v1/items/2` },
      { url: 'https://other.example.com/v1/items' },
    ];
    for (const changes of wrong) {
      const dpop = prove(accessToken, changes);
      expect(await identify(dpopRequest(accessToken, { fields: { dpop } }), route())).toMatchObject({
        reason: 'proof_invalid',
      });
    }
    const stolen = prove(accessToken, { key: createKey('ES256') });
    expect(await identify(dpopRequest(accessToken, { fields: { dpop: stolen } }), route())).toMatchObject({
      reason: 'key_mismatch',
      challenge: { scheme: 'DPoP' },
    });
  });

  it('is proven for the path alone, whatever Host and the query say', async () => {
    await accepted(dpopRequest(mint(), { query: 'page=2', host: 'evil.test' }));
  });

  it('takes method overrides for nothing', async () => {
    const fields = { 'x-http-method-override': 'GET' };
    const answer = await identify(dpopRequest(mint(), { method: 'POST', fields }), route());
    expect(answer).toMatchObject({ reason: 'proof_invalid' });
  });

  it.each(['Bearer', 'bearer', 'BEARER'])(
    'is refused as %s, with a good proof alongside or without (§7.2)',
    async (scheme) => {
      const accessToken = mint();
      for (const dpop of [prove(accessToken), undefined]) {
        const request = dpopRequest(accessToken, { fields: { authorization: `${scheme} ${accessToken}`, dpop } });
        expect(await identify(request, route({ accepts: ['dpop', 'mtls', 'bearer'] }))).toMatchObject({
          reason: 'token_invalid',
          challenge: { scheme: 'Bearer' },
        });
      }
    },
  );

  it('is refused where the route takes no DPoP', async () => {
    expect(await identify(dpopRequest(mint()), route({ accepts: ['mtls'] }))).toMatchObject({
      reason: 'token_invalid',
      challenge: { scheme: 'DPoP' },
    });
  });
});

describe('what the token is for', () => {
  it('must be the audience of the route (RFC 9068 §4)', async () => {
    for (const aud of ['https://other.example.com', `${audience}/`, [`${audience}.evil.test`]]) {
      expect(await identify(dpopRequest(mint({ audience: aud })), route())).toMatchObject({
        reason: 'audience_mismatch',
        challenge: { scheme: 'DPoP' },
      });
    }
    await accepted(dpopRequest(mint({ audience: ['https://other.example.com', audience] })));
  });

  it('is checked for each route, the token being remembered or not', async () => {
    const accessToken = mint();
    await accepted(dpopRequest(accessToken));
    const other = route({ audience: 'https://other.example.com' });
    expect(await identify(dpopRequest(accessToken), other)).toMatchObject({ reason: 'audience_mismatch' });
    await accepted(dpopRequest(accessToken));
  });

  it('tells an expired token from a bad one, on the scheme that was used', async () => {
    const expired = mint({ nowMs: clock() - 3_600_000 });
    expect(await identify(dpopRequest(expired), route())).toMatchObject({
      reason: 'token_expired',
      challenge: { scheme: 'DPoP' },
    });
    const request = clientRequest({ fields: { authorization: 'Bearer opaque' } });
    expect(await identify(request, route())).toMatchObject({
      reason: 'token_invalid',
      challenge: { scheme: 'Bearer' },
    });
    const large = `DPoP ${'x'.repeat(100_000)}`;
    expect(await identify(dpopRequest(expired, { fields: { authorization: large } }), route())).toMatchObject({
      reason: 'token_invalid',
    });
  });
});

describe('a token bound to no key', () => {
  const bearer = (accessToken: string, more: ClientRequestChanges['fields'] = {}) =>
    clientRequest({ fields: { authorization: `Bearer ${accessToken}`, ...more } });

  it('is accepted as Bearer only where the route names bearer', async () => {
    const accessToken = mint({ agentKey: undefined });
    expect(await identify(bearer(accessToken), route())).toMatchObject({
      reason: 'token_invalid',
      challenge: { scheme: 'Bearer' },
    });
    const { possession } = await accepted(bearer(accessToken), route({ accepts: ['dpop', 'bearer'] }));
    expect(possession).toEqual({
      method: 'none',
      jkt: null,
      x5t: null,
      proofAgeMs: 0,
      hasNonce: false,
      singleUse: null,
    });
  });

  it('is refused with the DPoP scheme, whatever proof it brings', async () => {
    const accessToken = mint({ agentKey: undefined });
    expect(await identify(dpopRequest(accessToken), route({ accepts: ['dpop', 'bearer'] }))).toMatchObject({
      reason: 'token_invalid',
      challenge: { scheme: 'DPoP' },
    });
  });

  it('is refused as Bearer beside a proof', async () => {
    const accessToken = mint({ agentKey: undefined });
    for (const dpop of [prove(accessToken), 'anything', ['a', 'b']]) {
      const answer = await identify(bearer(accessToken, { dpop }), route({ accepts: ['bearer'] }));
      expect(answer).toMatchObject({ reason: 'proof_invalid' });
    }
  });
});

describe('a certificate-bound access token (RFC 8705 §3)', () => {
  const bound = () => mint({ agentKey: undefined, certificate });
  const bearer = (accessToken: string, changes: ClientRequestChanges = {}) =>
    clientRequest({ fields: { authorization: `Bearer ${accessToken}` }, ...changes });

  it('is accepted as Bearer over a connection with that certificate', async () => {
    const { possession } = await accepted(bearer(bound(), { certificate }));
    expect(possession).toMatchObject({ method: 'mtls', jkt: null, x5t: certificate, singleUse: null });
  });

  it('is refused without a certificate, and with another one', async () => {
    for (const changes of [{}, { certificate: sha256('another') }, { certificate: '' }]) {
      expect(await identify(bearer(bound(), changes), route({ accepts: ['mtls', 'bearer'] }))).toMatchObject({
        reason: 'key_mismatch',
        challenge: { scheme: 'Bearer' },
      });
    }
  });

  it('is refused where the route takes no mTLS, also where it takes bearer', async () => {
    for (const accepts of [['dpop'], ['dpop', 'bearer']] as const) {
      expect(await identify(bearer(bound(), { certificate }), route({ accepts }))).toMatchObject({
        reason: 'token_invalid',
        challenge: { scheme: 'Bearer' },
      });
    }
  });

  it('is refused with the DPoP scheme: its binding decides the method', async () => {
    const accessToken = bound();
    expect(await identify(dpopRequest(accessToken, { certificate }), route())).toMatchObject({
      reason: 'token_invalid',
    });
  });

  it('that is bound to a DPoP key as well needs both', async () => {
    const accessToken = mint({ certificate });
    const { possession } = await accepted(dpopRequest(accessToken, { certificate }));
    expect(possession).toMatchObject({ method: 'dpop', jkt: key.jkt, x5t: certificate });
    expect(await identify(dpopRequest(accessToken), route())).toMatchObject({
      reason: 'key_mismatch',
      challenge: { scheme: 'DPoP' },
    });
    const wrong = prove(accessToken, { key: createKey('ES256') });
    expect(await identify(dpopRequest(accessToken, { certificate, fields: { dpop: wrong } }), route())).toMatchObject({
      reason: 'key_mismatch',
    });
    expect(await identify(bearer(accessToken, { certificate }), route())).toMatchObject({ reason: 'token_invalid' });
  });
});

describe('where nonces are required (RFC 9449 §9)', () => {
  const nonces = createNonces({ secret: Buffer.alloc(32, 3), clock });

  it('a proof needs one, and the answer says which', async () => {
    const withNonces = identifyWith(nonces);
    const accessToken = mint();
    const missing = clientRequest({ fields: { authorization: `DPoP ${accessToken}` } });
    expect(await withNonces(missing, route())).toMatchObject({ reason: 'proof_missing', nonce: nonces.issue() });
    const answer = await withNonces(dpopRequest(accessToken), route());
    expect(answer).toMatchObject({ reason: 'proof_nonce_required', nonce: nonces.issue() });
    const nonce = nonces.issue();
    const retry = dpopRequest(accessToken, { fields: { dpop: prove(accessToken, { nonce }) } });
    expect(await withNonces(retry, route())).toMatchObject({ possession: { hasNonce: true }, nextNonce: null });
    clock.advance(120_000);
    const late = dpopRequest(accessToken, { fields: { dpop: prove(accessToken, { nonce }) } });
    expect(await withNonces(late, route())).toMatchObject({
      possession: { hasNonce: true },
      nextNonce: nonces.issue(),
    });
  });
});

describe('a refusal', () => {
  it('holds nothing of the token, the proof or the request', async () => {
    const accessToken = mint();
    const dpop = prove(accessToken, { claims: { htm: 'MARKER' } });
    const requests = [
      dpopRequest(accessToken, { fields: { dpop } }),
      dpopRequest(accessToken, { fields: { authorization: 'DPoP MARKER"' } }),
      dpopRequest(accessToken, { query: 'access_token=MARKER' }),
      dpopRequest(mint({ claims: { iss: 'MARKER' } })),
    ];
    for (const request of requests) {
      const text = JSON.stringify(await identify(request, route()));
      expect(text).toContain('"effect":"deny"');
      for (const secret of ['MARKER', accessToken, dpop]) expect(text).not.toContain(secret);
    }
  });
});
