/** base64url, digests and comparison, as JOSE uses them. */

import { Buffer } from 'node:buffer';
import { hash, timingSafeEqual } from 'node:crypto';

/**
 * The bytes of a base64url text without padding (RFC 7515 §2), or null. Node's decoder skips what it doesn't know and
 * takes the other alphabet too, so the text must be exactly what its own bytes encode to: one text for one value.
 */
export function decodeBase64Url(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : null;
}

/** base64url(SHA-256(text)) without padding. */
export function sha256(text: string): string {
  return hash('sha256', text, 'base64url');
}

/** Whether a value is base64url without padding of 32 bytes, the form of every SHA-256 thumbprint in `cnf`. */
export function isSha256Text(value: unknown): value is string {
  return typeof value === 'string' && value.length === 43 && decodeBase64Url(value) !== null;
}

/** Compares two ASCII texts in a time that depends on their lengths only. */
export function equalInConstantTime(left: string, right: string): boolean {
  if (left.length !== right.length) return false;
  return timingSafeEqual(Buffer.from(left, 'utf16le'), Buffer.from(right, 'utf16le'));
}
