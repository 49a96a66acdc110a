/** Compact JWS serialisation, read strictly (RFC 7515 §7.1). Nothing here verifies a signature. */

import type { Buffer } from 'node:buffer';
import { isJsonObject, parseStrictJsonBytes } from '../strict-json.ts';
import { decodeBase64Url } from './encoding.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** The three parts as they were sent. */
export type JwsParts = { readonly header: string; readonly payload: string; readonly signature: string };

// Deep enough for any delegation chain that is accepted and for nested authorization_details.
const depthMax = 32;

/** RFC 7515 §3.1, RFC 7516 §3.1: three parts, so that a JWE with its five is refused; an unsigned one too. */
export function splitCompactJws(text: string): JwsParts | null {
  const first = text.indexOf('.');
  const second = text.indexOf('.', first + 1);
  if (first <= 0 || second <= first + 1 || second === text.length - 1) return null;
  if (text.indexOf('.', second + 1) >= 0) return null;
  return {
    header: text.slice(0, first),
    payload: text.slice(first + 1, second),
    signature: text.slice(second + 1),
  };
}

/** A part that must be base64url of a JSON object with no name given twice (RFC 7515 §4, RFC 7519 §4); else null. */
export function parseJwsPart(part: string): JsonObject | null {
  const bytes = decodeBase64Url(part);
  if (bytes === null) return null;
  const value = parseStrictJsonBytes(bytes, { maxDepth: depthMax });
  return isJsonObject(value) ? value : null;
}

/** The signature's bytes, or null. */
export function decodeSignature(part: string): Buffer | null {
  return decodeBase64Url(part);
}

/**
 * RFC 7515 §4.1.9, RFC 2045 §5.1: a media type compares without case, and `application/` may be left out. The empty
 * text where there is none.
 */
export function mediaTypeOf(header: JsonObject): string {
  const { typ } = header;
  if (typeof typ !== 'string') return '';
  const type = typ.toLowerCase();
  return type.startsWith('application/') ? type.slice('application/'.length) : type;
}

/**
 * RFC 7515 §4.1.11: an extension named in `crit` must be understood, and none is here. RFC 7797 §3: `b64` changes what
 * is signed; it is refused without `crit` too, where the RFC forbids it and libraries disagree.
 */
export function hasExtensions(header: JsonObject): boolean {
  return header.crit !== undefined || header.b64 !== undefined;
}
