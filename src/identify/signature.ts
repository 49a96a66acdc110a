/** Verification of a JWS signature with node:crypto (RFC 7518 §3, RFC 8037 §3.1), for the algorithms of a proof. */

import { Buffer } from 'node:buffer';
import { constants, type KeyObject, verify } from 'node:crypto';
import { Fault } from '../errors.ts';

type Scheme = {
  readonly digest: string | null;
  /** Exact length of a signature; null where the key decides it, and OpenSSL checks it. */
  readonly bytes: number | null;
  readonly options: {
    readonly dsaEncoding?: 'ieee-p1363';
    readonly padding?: number;
    readonly saltLength?: number;
  };
};

const ed25519: Scheme = { digest: null, bytes: 64, options: {} };
const schemes: ReadonlyMap<string, Scheme> = new Map<string, Scheme>([
  ['ES256', { digest: 'sha256', bytes: 64, options: { dsaEncoding: 'ieee-p1363' } }],
  ['ES384', { digest: 'sha384', bytes: 96, options: { dsaEncoding: 'ieee-p1363' } }],
  ['EdDSA', ed25519],
  ['Ed25519', ed25519],
  // RFC 7518 §3.5: the salt is as long as the digest.
  ['PS256', { digest: 'sha256', bytes: null, options: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } }],
  ['RS256', { digest: 'sha256', bytes: null, options: { padding: constants.RSA_PKCS1_PADDING } }],
]);

/** Whether signatures with this algorithm can be verified here. */
export function canVerify(algorithm: string): boolean {
  return schemes.has(algorithm);
}

/** Whether a signature over an ASCII text is by the key that this was made for. */
export type IsSignature = (signed: string, signature: Buffer) => boolean;

/** Prepares verification with one key, which must have been checked to fit the algorithm. */
export function createIsSignature(algorithm: string, key: KeyObject): IsSignature {
  const scheme = schemes.get(algorithm);
  if (scheme === undefined) throw new Fault('signature_algorithm', `Signatures with ${algorithm} can't be verified.`);
  const { digest, bytes } = scheme;
  const input = { key, ...scheme.options };
  return (signed, signature) =>
    (bytes === null || signature.length === bytes) && verify(digest, Buffer.from(signed, 'latin1'), input, signature);
}
