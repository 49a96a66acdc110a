/** What is common to every JWT that an issuer signs: access tokens (RFC 9068) and introspection answers (RFC 9701). */

import { compactVerify, errors as joseErrors } from 'jose';
import { keyFitOf } from './algorithms.ts';
import { decodeSignature, hasExtensions, type JsonObject, parseJwsPart, splitCompactJws } from './jws.ts';
import type { KeyCandidate } from './key-set.ts';

export type IssuerJwt = {
  readonly header: JsonObject;
  readonly payload: JsonObject;
  /** Header and payload as they were sent, with their dot: what the signature covers. */
  readonly signed: string;
};

/** The parts of a well-formed compact JWS whose payload is a JSON object; else null. Verifies nothing. */
export function parseIssuerJwt(raw: string): IssuerJwt | null {
  const parts = splitCompactJws(raw);
  const header = parts === null ? null : parseJwsPart(parts.header);
  const payload = parts === null ? null : parseJwsPart(parts.payload);
  if (parts === null || header === null || payload === null || decodeSignature(parts.signature) === null) return null;
  return { header, payload, signed: raw.slice(0, raw.length - parts.signature.length - 1) };
}

/** Which of the issuer's keys to verify with; a string says why none is. */
export function readKeyHint(
  { alg, kid, ...header }: JsonObject,
  algorithms: ReadonlySet<string>,
): { readonly algorithm: string; readonly kid: string | null } | string {
  // RFC 7515 §4.1.4: kid only picks among the issuer's keys. jku, x5u, x5c and jwk are not looked at.
  if (kid !== undefined && typeof kid !== 'string') return 'kid is not a string';
  if (hasExtensions(header)) return 'header asks for an extension';
  // RFC 8725 §3.1: the issuer's configured algorithms, never just what the JWT says.
  if (typeof alg !== 'string' || !algorithms.has(alg) || keyFitOf(alg) === null) {
    return 'alg is not allowed for its issuer';
  }
  return { algorithm: alg, kid: kid ?? null };
}

/** The thumbprint of the key that made the signature, or null. */
export async function findSigner(
  raw: string,
  algorithm: string,
  keys: readonly KeyCandidate[],
): Promise<string | null> {
  for (const { key, thumbprint } of keys) {
    try {
      await compactVerify(raw, key, { algorithms: [algorithm] });
      return thumbprint;
    } catch (error) {
      if (!(error instanceof joseErrors.JOSEError)) throw error;
    }
  }
  return null;
}
