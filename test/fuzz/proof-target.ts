/** DPoP proofs: parser and verifier, with an independent judge beside them. */

import { isDeny } from '../../src/decision.ts';
import { createNonces } from '../../src/identify/nonce.ts';
import { createVerifyProof } from '../../src/identify/proof.ts';
import { oracleAccepts } from '../identify/proof-oracle.ts';
import { createTestClock } from '../support/clock.ts';
import { sha256 } from '../support/tokens.ts';
import { fixedKey } from './fixed-keys.ts';
import { type FuzzTarget, mustHold } from './fuzzer.ts';
import { type JwsSeed, writeJws } from './jws.ts';
import { mutateText, oddValues } from './mutate.ts';

const origin = 'https://api.example.com';
const path = '/v1/items/%C3%A9';
const accessToken = 'a.bound.token';
const method = 'POST';
const agentKey = fixedKey('ES256', 'agent');
const otherKey = fixedKey('EdDSA', 'other');
const clock = createTestClock();

const reasons = new Set(['proof_invalid', 'key_mismatch']);
const reasonsWithNonce = new Set([...reasons, 'proof_nonce_required']);

export function createProofTarget(): FuzzTarget {
  const nonces = createNonces({ secret: Buffer.alloc(32, 1), clock });
  const options = {
    publicOrigin: origin,
    algorithms: ['ES256', 'EdDSA', 'PS256', 'RS256'],
    window: 'strict' as const,
    clock,
    proofBytesMax: 4096,
  };
  const verify = createVerifyProof({ ...options, nonces: null });
  const verifyWithNonce = createVerifyProof({ ...options, nonces });
  const context = { method, path, accessTokenSha256: sha256(accessToken), jkt: agentKey.jkt };
  const seeds = seedsWith(nonces.issue());
  return {
    name: 'proof',
    boundMs: 50,
    write: (random, known) =>
      random.percent(90) || known.length === 0
        ? writeJws(random, seeds, [...oddValues, ...agentOddities])
        : mutateText(random, random.pick(known)),
    async judge(proof) {
      const verified = await verify(proof, context);
      const withNonce = await verifyWithNonce(proof, context);
      if (isDeny(withNonce)) mustHold(reasonsWithNonce.has(withNonce.reason), `reason ${withNonce.reason}`);
      else mustHold(!isDeny(verified) && withNonce.hasNonce, 'what is good with a nonce is good without');
      if (isDeny(verified)) {
        mustHold(reasons.has(verified.reason), `reason ${verified.reason}`);
        mustHold(!`${verified.detail}${verified.cause}`.includes(accessToken), 'a refusal repeats nothing');
        return `${verified.reason}: ${verified.cause}`;
      }
      const seen = new Set<string>();
      const window = { nowMs: clock(), pastSeconds: 60, futureSeconds: 10 };
      const oracle = { method, url: `${origin}${path}`, accessToken, jkt: agentKey.jkt, ...window, seen };
      mustHold(await oracleAccepts(proof, oracle), 'jose accepts what is accepted');
      const { ageMs, singleUse } = verified;
      mustHold(Number.isFinite(ageMs) && ageMs <= 60_000 && ageMs >= -10_001, `age ${ageMs}`);
      mustHold(singleUse.lifetimeMs > 0 && singleUse.lifetimeMs <= 200_000, `lifetime ${singleUse.lifetimeMs}`);
      mustHold(/^[A-Za-z0-9_-]{43}$/.test(singleUse.key), 'the key of a single use is a digest');
      return 'accepted';
    },
    close() {},
  };
}

const agentOddities: readonly unknown[] = [
  ...[
    agentKey.publicJwk,
    agentKey.privateJwk,
    otherKey.publicJwk,
    { kty: 'oct', k: 'AAAA' },
    { ...agentKey.publicJwk, kid: 'a' },
  ],
  ...[
    'ES256',
    'EdDSA',
    'Ed25519',
    'none',
    'HS256',
    'RS256',
    'dpop+jwt',
    'application/dpop+jwt',
    'JWT',
    'POST',
    'GET',
    ['b64'],
  ],
  ...[
    `${origin}${path}?a#b`,
    `${origin.toUpperCase()}:443${path}`,
    `${origin}/v1/../v1/items/%c3%a9`,
    'https://',
    'urn:x',
    '//a',
  ],
  ...[{ 'sha-256': ':x:' }, 'sha-256=:AAAA:'],
];

function seedsWith(nonce: string): readonly JwsSeed[] {
  const iat = clock() / 1000;
  const payload = { jti: 'proof-1', htm: method, htu: `${origin}${path}`, iat, ath: sha256(accessToken) };
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: agentKey.publicJwk };
  return [
    { header, payload, key: agentKey },
    { header, payload: { ...payload, nonce }, key: agentKey },
    {
      header,
      payload: { ...payload, reason: 'because', content_digest: 'sha-256=:AAAA:', nbf: iat, exp: iat + 60 },
      key: agentKey,
    },
    { header: { ...header, alg: 'EdDSA', jwk: otherKey.publicJwk }, payload, key: otherKey },
  ];
}
