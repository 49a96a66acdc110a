/**
 * An independent judge of proofs, for the property test: `jose` with the key embedded in the proof, and beside it the
 * checks that jose leaves to its caller, written from RFC 9449 §4.3 without a look at the code under test.
 */

import { calculateJwkThumbprint, decodeProtectedHeader, EmbeddedJWK, errors, type JWK, jwtVerify } from 'jose';
import { parseDocument } from 'yaml';
import { sha256 } from '../support/tokens.ts';

export type OracleContext = {
  readonly method: string;
  /** As the client called it. */
  readonly url: string;
  readonly accessToken: string;
  /** cnf.jkt. */
  readonly jkt: string;
  readonly nowMs: number;
  readonly pastSeconds: number;
  readonly futureSeconds: number;
  /** What was accepted before, for ever. */
  readonly seen: Set<string>;
};

/** Whether the proof is good, and new; if so it has been seen from now on. */
export async function oracleAccepts(proof: string, context: OracleContext): Promise<boolean> {
  if (!isStrictCompactJws(proof)) return false;
  let payload: Record<string, unknown>;
  let jkt: string;
  try {
    const verified = await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: ['ES256', 'EdDSA', 'Ed25519', 'PS256'],
      currentDate: new Date(context.nowMs),
      clockTolerance: 10,
      requiredClaims: ['jti', 'htm', 'htu', 'iat', 'ath'],
    });
    payload = verified.payload;
    jkt = await calculateJwkThumbprint(decodeProtectedHeader(proof).jwk as JWK);
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof DOMException || error instanceof TypeError) return false;
    throw error;
  }
  const { jti, htm, htu, iat, ath } = payload;
  if (decodeProtectedHeader(proof).b64 !== undefined) return false;
  if (typeof jti !== 'string' || jti.length === 0 || jti.length > 256) return false;
  if (htm !== context.method || ath !== sha256(context.accessToken) || jkt !== context.jkt) return false;
  if (typeof iat !== 'number' || typeof htu !== 'string') return false;
  const now = context.nowMs / 1000;
  if (iat < now - context.pastSeconds || iat > now + context.futureSeconds) return false;
  const [wanted, got] = [normalised(context.url), normalised(htu)];
  if (wanted === null || wanted !== got) return false;
  const use = `${jkt} ${jti}`;
  if (context.seen.has(use)) return false;
  context.seen.add(use);
  return true;
}

/** jose skips what is no base64url, takes padding, and lets JSON.parse pick one of two members with one name. */
function isStrictCompactJws(proof: string): boolean {
  const parts = proof.split('.');
  if (parts.length !== 3 || !parts.every((part) => /^[A-Za-z0-9_-]+$/.test(part))) return false;
  const texts = parts.map((part) => Buffer.from(part, 'base64url'));
  if (!texts.every((bytes, index) => bytes.toString('base64url') === parts[index])) return false;
  return texts.slice(0, 2).every((bytes) => parseDocument(bytes.toString(), { uniqueKeys: true }).errors.length === 0);
}

/** RFC 3986 §6.2.2, §6.2.3 by way of the WHATWG parser; null for what is no plain URL without dot segments. */
function normalised(text: string): string | null {
  if (/[\s\\]/.test(text) || !/^https?:\/\/[^/]/i.test(text) || !URL.canParse(text)) return null;
  const url = new URL(text);
  if (text.replace(/[?#].*/, '').includes('@') || hasDotSegment(text.replace(/[?#].*/, ''))) return null;
  const path = url.pathname
    .split('/')
    .map((segment) =>
      segment.replace(/%[0-9a-f]{2}/gi, (octet) =>
        isUnreserved(octet) ? decodeURIComponent(octet) : octet.toUpperCase(),
      ),
    )
    .join('/');
  return `${url.origin}${path}`;
}

function hasDotSegment(text: string): boolean {
  return text.split('/').some((segment) => ['.', '..'].includes(segment.replaceAll(/%2e/gi, '.')));
}

function isUnreserved(octet: string): boolean {
  return /^[A-Za-z0-9._~-]$/.test(String.fromCharCode(Number.parseInt(octet.slice(1), 16)));
}
