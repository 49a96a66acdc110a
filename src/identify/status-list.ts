/** One Token Status List (draft-ietf-oauth-status-list): unpacked once, and asked by index. */

import type { Buffer } from 'node:buffer';
import { promisify } from 'node:util';
import { inflate } from 'node:zlib';
import { isJsonObject } from '../strict-json.ts';
import { decodeBase64Url } from './encoding.ts';
import type { JsonObject } from './jws.ts';

const inflateBounded = promisify<Buffer, { maxOutputLength: number }, Buffer>(inflate);

export type StatusList = {
  readonly bytes: Buffer;
  readonly bits: number;
  /** From then on it must not be used. */
  readonly expiresAtMs: number;
};

export type ReadStatusListOptions = {
  /** Where the list was got, which is what its `sub` must be. */
  readonly uri: string;
  readonly issuer: string;
  readonly nowMs: number;
  readonly clockSkewMs: number;
  /** However long its ttl is, the list is used no longer than this. */
  readonly maxAgeMs: number;
  readonly inflatedBytesMax: number;
};

const shortestLifeMs = 1000;

/** The list in the claims of a Status List Token whose signature is verified, or what is wrong with it. */
export async function readStatusList(claims: JsonObject, options: ReadStatusListOptions): Promise<StatusList | string> {
  const { uri, issuer, nowMs, clockSkewMs, inflatedBytesMax } = options;
  const { iss, sub, iat, exp, ttl, status_list: list } = claims;
  // Status List §8.3: sub must equal the uri of the token that is asked about.
  if (sub !== uri) return 'sub is not its address';
  // The claim went out of the draft; where an issuer still puts it in, it must be the one whose tokens are asked about.
  if (iss !== undefined && iss !== issuer) return 'iss is another issuer';
  // §5.1: iat is required; exp and ttl are not.
  if (!isNumber(iat)) return 'iat is not a number';
  if (iat * 1000 > nowMs + clockSkewMs) return 'iat is in the future';
  if (exp !== undefined && !isNumber(exp)) return 'exp is not a number';
  if (exp !== undefined && nowMs >= exp * 1000) return 'exp has passed';
  if (ttl !== undefined && (!isNumber(ttl) || ttl <= 0)) return 'ttl is not a positive number';
  const unpacked = await unpack(list, inflatedBytesMax);
  if (typeof unpacked === 'string') return unpacked;
  // §8.3: exp bounds the use absolutely, ttl from when the list was got. Never so briefly that each request asks anew.
  const livesMs = Math.min(options.maxAgeMs, ttl === undefined ? Number.POSITIVE_INFINITY : ttl * 1000);
  const until = nowMs + Math.max(livesMs, shortestLifeMs);
  return { ...unpacked, expiresAtMs: exp === undefined ? until : Math.min(until, exp * 1000) };
}

/** §4.1: the status at an index, least significant bits first; null where the list does not reach so far. */
export function statusAt({ bytes, bits }: Pick<StatusList, 'bytes' | 'bits'>, index: number): number | null {
  const perByte = 8 / bits;
  const byte = bytes[Math.floor(index / perByte)];
  return byte === undefined ? null : (byte >> ((index % perByte) * bits)) & ((1 << bits) - 1);
}

/** §4.2: bits, and lst as base64url of DEFLATE in the ZLIB format. Inflated to a bound: a bomb gets no further. */
async function unpack(list: unknown, bytesMax: number): Promise<Pick<StatusList, 'bytes' | 'bits'> | string> {
  if (!isJsonObject(list)) return 'status_list is not an object';
  const { bits, lst } = list;
  if (bits !== 1 && bits !== 2 && bits !== 4 && bits !== 8) return 'bits is not 1, 2, 4 or 8';
  const packed = typeof lst === 'string' ? decodeBase64Url(lst) : null;
  if (packed === null) return 'lst is not base64url';
  try {
    return { bits, bytes: await inflateBounded(packed, { maxOutputLength: bytesMax }) };
  } catch (error) {
    const isTooLarge = error instanceof RangeError;
    return isTooLarge ? `lst inflates to more than ${bytesMax} bytes` : 'lst is no ZLIB data';
  }
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= 1e12;
}
