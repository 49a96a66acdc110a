/** The claim `content_digest` of a proof: what the body must hash to, in the form of RFC 9530 §2. */

import { hash } from 'node:crypto';
import type { ContentDigest } from '../exchange.ts';

const claimCharactersMax = 512;

// RFC 9530 §5: the two algorithms in use that are not broken. Others may stand beside them; alone they prove nothing.
const algorithms: ReadonlyMap<string, { readonly algorithm: ContentDigest['algorithm']; readonly bytes: number }> =
  new Map([
    ['sha-256', { algorithm: 'sha256', bytes: 32 }],
    ['sha-512', { algorithm: 'sha512', bytes: 64 }],
  ] as const);

// RFC 9651 §3.2, §3.3.5: a key and a byte sequence. Linear: no two neighbours share a character.
const memberForm = /^([a-z*][a-z0-9_.*-]{0,63})=:([A-Za-z0-9+/]{1,172}={0,2}):$/;

/**
 * The digests of known algorithms, or what is wrong with the claim. Stricter than RFC 9651 §3.2, where the last of two
 * members of one name counts, parameters are ignored and base64 may lack its padding: two readers of this claim must
 * not come to different digests.
 */
export function readContentDigest(claim: unknown): readonly ContentDigest[] | string {
  if (typeof claim !== 'string' || claim.length > claimCharactersMax) {
    return 'proof content_digest is not a string of 512 characters at most';
  }
  const names = new Set<string>();
  const digests: ContentDigest[] = [];
  for (const member of claim.split(',')) {
    const [, name = '', base64 = ''] = memberForm.exec(trimBlanks(member)) ?? [];
    if (name === '' || names.has(name)) return 'proof content_digest is not a dictionary of byte sequences';
    names.add(name);
    const known = algorithms.get(name);
    if (known === undefined) continue;
    const bytes = Buffer.from(base64, 'base64');
    if (bytes.length !== known.bytes || bytes.toString('base64') !== base64) {
      return `proof content_digest is no ${name} digest`;
    }
    digests.push({ algorithm: known.algorithm, base64 });
  }
  return digests.length > 0 ? digests : 'proof content_digest names no known algorithm';
}

/** Whether every digest is that of these very bytes. They are compared as sent, so with any Content-Encoding on. */
export function matchesDigests(bytes: Buffer, digests: readonly ContentDigest[]): boolean {
  return digests.every(({ algorithm, base64 }) => hash(algorithm, bytes, 'base64') === base64);
}

/** RFC 9651 §4.2.2: optional blanks and tabs around the comma. */
function trimBlanks(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(text.charCodeAt(from))) from += 1;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1;
  return text.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
