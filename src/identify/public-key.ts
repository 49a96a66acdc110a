/** Public keys in JWK form: which are fit to be imported, and their thumbprints. For proofs and issuers alike. */

import type { Buffer } from 'node:buffer';
import { type AlgorithmFit, isSameAlgorithm } from './algorithms.ts';
import { decodeBase64Url, sha256 } from './encoding.ts';
import type { JsonObject } from './jws.ts';

/** Only the members that make the key, so nothing else of the sender's reaches an import. */
export type PublicJwk =
  | { readonly kty: 'EC'; readonly crv: string; readonly x: string; readonly y: string }
  | { readonly kty: 'OKP'; readonly crv: string; readonly x: string }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string };

// RFC 7518 §6.2.2, §6.3.2, §6.4.1, and AKP's private member: any of them says that a secret has left its owner.
const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'] as const;
const coordinateBytes: ReadonlyMap<string, number> = new Map([
  ['P-256', 32],
  ['P-384', 48],
  ['P-521', 66],
  ['Ed25519', 32],
]);
const modulusBitsMin = 2048;
// A verification costs more with each bit, and the sender of a proof chooses its key.
const modulusBitsMax = 4096;
const exponentBytesMax = 4;

/** RFC 9449 §4.3 (7): looked for before any import, which must not be what finds it. */
export function hasPrivateMember(jwk: JsonObject): boolean {
  return privateMembers.some((name) => jwk[name] !== undefined);
}

/** RFC 7517 §4.2-4.4: what the key's owner says it is for, where said, must be verification with this algorithm. */
export function isMeantFor(jwk: JsonObject, algorithm: string): boolean {
  const { use, key_ops: operations, alg } = jwk;
  if (use !== undefined && use !== 'sig') return false;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return false;
  return alg === undefined || (typeof alg === 'string' && isSameAlgorithm(alg, algorithm));
}

/** The bare public key, where it is one that this kind of algorithm may use; else null. */
export function readPublicJwk(jwk: JsonObject, fit: AlgorithmFit): PublicJwk | null {
  if (jwk.kty !== fit.kty) return null;
  if (fit.kty === 'RSA') return readRsa(jwk);
  const { crv, x, y } = jwk;
  if (crv !== fit.crv || typeof crv !== 'string') return null;
  // RFC 7518 §6.2.1.2, RFC 8037 §2: full length, leading zeros included.
  const bytes = coordinateBytes.get(crv);
  if (typeof x !== 'string' || decodeBase64Url(x)?.length !== bytes) return null;
  if (fit.kty === 'OKP') return { kty: 'OKP', crv, x };
  if (typeof y !== 'string' || decodeBase64Url(y)?.length !== bytes) return null;
  return { kty: 'EC', crv, x, y };
}

function readRsa(jwk: JsonObject): PublicJwk | null {
  const { n, e } = jwk;
  // Checked before it is decoded, so that the work is bounded.
  if (typeof n !== 'string' || n.length > modulusBitsMax / 6 + 2 || typeof e !== 'string' || e.length > 8) return null;
  const modulus = decodeBase64Url(n);
  const exponent = decodeBase64Url(e);
  if (modulus === null || exponent === null) return null;
  const bits = bitLength(modulus);
  if (bits < modulusBitsMin || bits > modulusBitsMax || !isOdd(modulus)) return null;
  // RFC 8017 §3.1: an odd exponent from 3. A large one is a way to make each verification slow.
  const exponentBits = bitLength(exponent);
  if (exponentBits < 2 || exponent.length > exponentBytesMax || !isOdd(exponent)) return null;
  return { kty: 'RSA', n, e };
}

/** Of an unsigned big-endian integer; -1 where it has leading zeros, which RFC 7518 §2 forbids. */
function bitLength(integer: Buffer): number {
  const first = integer[0] ?? 0;
  return first === 0 ? -1 : integer.length * 8 - (Math.clz32(first) - 24);
}

function isOdd(integer: Buffer): boolean {
  return ((integer[integer.length - 1] ?? 0) & 1) === 1;
}

/** RFC 7638 §3: SHA-256 over the required members only, in lexicographic order. Their values need no escaping. */
export function thumbprintOf(jwk: PublicJwk): string {
  switch (jwk.kty) {
    case 'EC':
      return sha256(`{"crv":"${jwk.crv}","kty":"EC","x":"${jwk.x}","y":"${jwk.y}"}`);
    case 'OKP':
      return sha256(`{"crv":"${jwk.crv}","kty":"OKP","x":"${jwk.x}"}`);
    case 'RSA':
      return sha256(`{"e":"${jwk.e}","kty":"RSA","n":"${jwk.n}"}`);
  }
}
