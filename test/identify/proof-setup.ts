/** A verifier of proofs, and the builders that its tests share. */

import { expect } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import { createVerifyProof, type ProofContext, type VerifyProofOptions } from '../../src/identify/proof.ts';
import { createTestClock } from '../support/clock.ts';
import { createKey } from '../support/keys.ts';
import { mintProof, type ProofOptions, sha256 } from '../support/tokens.ts';

export const clock = createTestClock();
export const accessToken = 'a.bound.token';
export const key = createKey('ES256');
export const rsa = createKey('PS256');
export const ed25519 = createKey('EdDSA');
export const p384 = createKey('ES384');
export const origin = 'https://api.example.com';

export function verifierWith(changes: Partial<VerifyProofOptions> = {}) {
  return createVerifyProof({
    publicOrigin: origin,
    algorithms: ['ES256', 'EdDSA', 'PS256'],
    window: 'strict',
    nonces: null,
    clock,
    proofBytesMax: 4096,
    ...changes,
  });
}

export const verifyProof = verifierWith();

export function mint(changes: Partial<ProofOptions> = {}): string {
  return mintProof({ key, method: 'POST', url: `${origin}/v1/items`, accessToken, nowMs: clock(), ...changes });
}

export function context(changes: Partial<ProofContext> = {}): ProofContext {
  return { method: 'POST', path: '/v1/items', accessTokenSha256: sha256(accessToken), jkt: key.jkt, ...changes };
}

/** The cause tells that it was this check that refused, and no other one before it. */
export async function refusal(proof: string, word: string, where: ProofContext = context(), verify = verifyProof) {
  const result = await verify(proof, where);
  expect(result).toMatchObject({ effect: 'deny', reason: 'proof_invalid', cause: expect.stringContaining(word) });
  expect(result).toMatchObject({ challenge: { scheme: 'DPoP' } });
}

export async function acceptance(proof: string, where: ProofContext = context(), verify = verifyProof) {
  const result = await verify(proof, where);
  if (isDeny(result)) expect.unreachable(`refused: ${result.cause}`);
  return result;
}
