/** JWTs that an issuer signs beside its access tokens: status lists, and the security events of a transmitter. */

import { isDeny } from '../decision.ts';
import { allowedAlgorithms } from './algorithms.ts';
import { findSigner, parseIssuerJwt, readKeyHint } from './issuer-jwt.ts';
import { type JsonObject, mediaTypeOf } from './jws.ts';
import type { KeySet } from './key-set.ts';

/** What is wrong with a JWT: with how it is written, with its signature, or with our having the keys to tell. */
export type JwtProblem = { readonly fault: 'form' | 'signature' | 'keys'; readonly problem: string };

/** The payload once the signature is verified. The caller checks the claims, `iss` included. */
export type VerifyIssuerJwt = (raw: string) => Promise<{ readonly payload: JsonObject } | JwtProblem>;

export type VerifyIssuerJwtOptions = {
  /** What `typ` must be, without `application/`, lower case. */
  readonly type: string;
  readonly algorithms: readonly string[];
  readonly keySet: Pick<KeySet, 'find' | 'ageMs'>;
};

export function createVerifyIssuerJwt({ type, algorithms, keySet }: VerifyIssuerJwtOptions): VerifyIssuerJwt {
  const allowed = allowedAlgorithms(algorithms);
  return async (raw) => {
    const jwt = parseIssuerJwt(raw);
    if (jwt === null) return { fault: 'form', problem: 'is not a well-formed compact JWS' };
    const { header, payload } = jwt;
    // RFC 8725 §3.11: the explicit type, so that no JWT of another kind is taken for this one.
    if (mediaTypeOf(header) !== type) return { fault: 'form', problem: `has a typ other than ${type}` };
    const hint = readKeyHint(header, allowed);
    if (typeof hint === 'string') return { fault: 'signature', problem: `has a header that does not do: ${hint}` };
    const ageBeforeMs = keySet.ageMs();
    const keys = await keySet.find(hint.kid, hint.algorithm);
    if (isDeny(keys)) {
      // A key that is not known, and that was not asked for because keys were fetched just now, may be a new one.
      const ageMs = keySet.ageMs();
      const wasAsked = ageBeforeMs === null || (ageMs !== null && ageMs < ageBeforeMs);
      const isKnown = keys.reason !== 'issuer_unavailable' && wasAsked;
      return { fault: isKnown ? 'signature' : 'keys', problem: 'is signed with a key that is not known' };
    }
    const thumbprint = await findSigner(raw, hint.algorithm, keys);
    if (thumbprint === null) return { fault: 'signature', problem: 'has a signature that is not by its issuer' };
    return { payload };
  };
}
