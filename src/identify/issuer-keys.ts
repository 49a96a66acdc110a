/** A JWK Set (RFC 7517 §5) read for the keys that may verify an issuer's access tokens. */

import type { Buffer } from 'node:buffer';
import { type CryptoKey, importJWK } from 'jose';
import { isJsonObject, parseStrictJsonBytes } from '../strict-json.ts';
import { keyFitOf } from './algorithms.ts';
import { hasPrivateMember, isMeantFor, type PublicJwk, readPublicJwk, thumbprintOf } from './public-key.ts';

export type IssuerKey = {
  readonly kid: string | null;
  readonly thumbprint: string;
  /** Ready for use, by algorithm: an imported RSA key works with one only. */
  readonly byAlgorithm: ReadonlyMap<string, CryptoKey>;
};

const keysMax = 100;

/**
 * Keys usable with the issuer's algorithms, or what is wrong with the document. Keys that are symmetric, private, of an
 * unknown kind, too weak, or meant for something other than signatures are passed over.
 */
export async function readIssuerKeys(
  document: Buffer,
  algorithms: ReadonlySet<string>,
): Promise<readonly IssuerKey[] | string> {
  const set = parseStrictJsonBytes(document, { maxDepth: 16 });
  if (!isJsonObject(set) || !Array.isArray(set.keys)) return 'is not a JWK Set';
  const { keys } = set;
  if (keys.length > keysMax) return `holds more than ${keysMax} keys`;
  const usable: IssuerKey[] = [];
  for (const jwk of keys) {
    const key = isJsonObject(jwk) ? await readIssuerKey(jwk, algorithms) : null;
    if (key !== null) usable.push(key);
  }
  return usable.length === 0 ? 'holds no key that verifies signatures with the configured algorithms' : usable;
}

async function readIssuerKey(
  jwk: Readonly<Record<string, unknown>>,
  algorithms: ReadonlySet<string>,
): Promise<IssuerKey | null> {
  // A private key in public is no key to trust any longer.
  if (hasPrivateMember(jwk)) return null;
  const byAlgorithm = new Map<string, CryptoKey>();
  let thumbprint = '';
  for (const algorithm of algorithms) {
    const fit = keyFitOf(algorithm);
    const bare = fit !== null && isMeantFor(jwk, algorithm) ? readPublicJwk(jwk, fit) : null;
    const key = bare === null ? null : await importIssuerKey(bare, algorithm);
    if (bare === null || key === null) continue;
    thumbprint = thumbprintOf(bare);
    byAlgorithm.set(algorithm, key);
  }
  if (byAlgorithm.size === 0) return null;
  return { kid: typeof jwk.kid === 'string' ? jwk.kid : null, thumbprint, byAlgorithm };
}

/** Null where the numbers make no key, such as a point that is not on its curve. */
async function importIssuerKey(jwk: PublicJwk, algorithm: string): Promise<CryptoKey | null> {
  try {
    const key = await importJWK({ ...jwk }, algorithm);
    return key instanceof Uint8Array ? null : key;
  } catch {
    return null;
  }
}
