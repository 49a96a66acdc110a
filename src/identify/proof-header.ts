/** The JOSE header of a DPoP proof: type, algorithm and the key that the client says is its own (RFC 9449 §4.2). */

import { createPublicKey, type KeyObject } from 'node:crypto';
import { isJsonObject } from '../strict-json.ts';
import { keyFitOf } from './algorithms.ts';
import { hasExtensions, mediaTypeOf, parseJwsPart } from './jws.ts';
import { hasPrivateMember, isMeantFor, type PublicJwk, readPublicJwk, thumbprintOf } from './public-key.ts';

export type ProofHeader = {
  readonly algorithm: string;
  /** RFC 7638 thumbprint of the key. */
  readonly jkt: string;
  readonly jwk: PublicJwk;
};

/** The vetted header, or the check that failed. No key is imported here, so this is cheap on hostile input. */
export function readProofHeader(part: string, allowed: ReadonlySet<string>): ProofHeader | string {
  const header = parseJwsPart(part);
  if (header === null) return 'proof header is not base64url of a JSON object with unique names';
  // RFC 9449 §4.3 (4).
  if (mediaTypeOf(header) !== 'dpop+jwt') return 'proof typ is not dpop+jwt';
  // RFC 9449 §4.3 (5): asymmetric, so neither none nor HS*, and allowed here.
  const { alg, jwk } = header;
  const fit = typeof alg === 'string' && allowed.has(alg) ? keyFitOf(alg) : null;
  if (typeof alg !== 'string' || fit === null) return 'proof alg is not allowed';
  if (hasExtensions(header)) return 'proof header asks for an extension';
  // RFC 9449 §4.2, §4.3 (6): the key comes from jwk alone. kid, jku, x5u and x5c are not looked at, let alone fetched.
  if (!isJsonObject(jwk)) return 'proof has no jwk';
  // RFC 9449 §4.3 (7).
  if (hasPrivateMember(jwk)) return 'proof jwk has a private member';
  if (!isMeantFor(jwk, alg)) return 'proof jwk is meant for something else';
  // RFC 8725 §3.1: the algorithm must be one for this kind of key; RSA keys are bounded in size both ways.
  const bare = readPublicJwk(jwk, fit);
  if (bare === null) return 'proof jwk does not fit its alg';
  return { algorithm: alg, jkt: thumbprintOf(bare), jwk: bare };
}

/** Null where the numbers make no key, such as a point that is not on its curve. */
export function importProofKey(jwk: PublicJwk): KeyObject | null {
  try {
    return createPublicKey({ key: { ...jwk }, format: 'jwk' });
  } catch {
    return null;
  }
}
