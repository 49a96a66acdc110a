/** The request target, read once and strictly; rules, htu comparison, routing and forwarding share what comes out. */

import { type Deny, deny, isDeny } from '../decision.ts';
import type { PathOddity, Target } from '../exchange.ts';
import { lenientPathOf } from './lenient-path.ts';

// What a character means in a path. Everything not listed is refused there.
const refused = 0;
const plain = 1;
const slash = 2;
const percent = 3;
const dot = 4;
const question = 5;
const semicolon = 6;

const unreserved = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~';

// RFC 3986 §3.3: pchar. The semicolon apart, because servers disagree on whether it begins a path parameter.
const pathKinds = new Uint8Array(128);
for (const character of `${unreserved}!$&'()*+,=:@`) pathKinds[character.charCodeAt(0)] = plain;
pathKinds[0x2f] = slash;
pathKinds[0x25] = percent;
pathKinds[0x2e] = dot;
pathKinds[0x3f] = question;
pathKinds[0x3b] = semicolon;

// Octets that are the same thing encoded or not (RFC 3986 §2.3).
const isUnreserved = new Uint8Array(256);
for (const character of unreserved) isUnreserved[character.charCodeAt(0)] = 1;

// Octets that some servers decode before and some after they split a path: slash, backslash, percent (double
// encoding), semicolon and every control.
const isRefusedEncoded = new Uint8Array(256);
for (const character of '/\\%;') isRefusedEncoded[character.charCodeAt(0)] = 1;
isRefusedEncoded.fill(1, 0x00, 0x20);
isRefusedEncoded[0x7f] = 1;

// Looser than RFC 3986 §3.4, which has no brackets, braces, bars, backslashes, carets or backquotes: clients send them
// as they are, no server splits a query at them, and the query is forwarded byte for byte.
const isQueryRefused = new Uint8Array(128);
isQueryRefused.fill(1, 0x00, 0x21);
isQueryRefused[0x7f] = 1;
for (const character of '#"<>') isQueryRefused[character.charCodeAt(0)] = 1;

/** What of these a route can opt in to. */
const encodedOddities: Readonly<Record<number, PathOddity>> = {
  47: 'encoded-slash',
  37: 'double-encoding',
  59: 'semicolon',
};

const hexDigits = '0123456789ABCDEF';

export type TargetOptions = {
  readonly bytesMax: number;
  /** What some route has opted in to. Whether the one that is called did is for whoever matches routes. */
  readonly allowed?: ReadonlySet<PathOddity>;
};

/**
 * Takes origin-form only (RFC 9112 §3.2.1), and only where every server must read the same segments out of it, but for
 * what is `allowed`. The path comes back canonical, the query as it was sent. Query parameters are not looked into.
 */
export function vetTarget(rawUrl: string, { bytesMax, allowed }: TargetOptions): Target | Deny {
  if (rawUrl.length > bytesMax) return deny('target_too_long');
  const target = readTarget(rawUrl, null);
  if (!isDeny(target) || allowed === undefined || allowed.size === 0) return target;
  const uses = new Set<PathOddity>();
  const oddTarget = readTarget(rawUrl, uses);
  if (isDeny(oddTarget)) return oddTarget;
  if (![...uses].every((use) => allowed.has(use))) return target;
  const lenientPath = lenientPathOf(oddTarget.path);
  if (lenientPath === null || !isUtf8Encoded(lenientPath)) {
    return ambiguous('decoded once more, the path holds a dot segment or what does not belong there');
  }
  return { ...oddTarget, odd: { uses: [...uses], lenientPath } };
}

/** Oddities are added to `uses`, or refused where it is null. */
function readTarget(rawUrl: string, uses: Set<PathOddity> | null): Target | Deny {
  // RFC 9112 §3.2: absolute-form, authority-form and asterisk-form do not begin with a slash.
  if (rawUrl.charCodeAt(0) !== 0x2f) return ambiguous('the target is not in origin-form');

  let isEncoded = false;
  let end = rawUrl.length;
  for (let index = 0; index < end; index++) {
    const code = rawUrl.charCodeAt(index);
    const kind = code < 128 ? pathKinds[code] : refused;
    if (kind === refused || (kind === semicolon && uses === null)) {
      return ambiguous('the path holds a character that does not belong there');
    }
    if (kind === question) end = index;
    else if (kind === semicolon) uses?.add('semicolon');
    else if (kind === percent) isEncoded = true;
  }
  const rawPath = end === rawUrl.length ? rawUrl : rawUrl.slice(0, end);
  const path = isEncoded ? canonicalPath(rawPath, uses) : rawPath;
  if (typeof path !== 'string') return path;
  if (hasOddSegment(path, uses)) return ambiguous('the path holds an empty segment or a dot segment');

  if (end === rawUrl.length) return { path, query: null };
  const query = rawUrl.slice(end + 1);
  const problem = queryProblem(query);
  return problem === null ? { path, query } : ambiguous(problem);
}

/** RFC 3986 §6.2.2.1 and §6.2.2.2: upper-case hex, unreserved octets decoded, all else left encoded. */
function canonicalPath(path: string, uses: Set<PathOddity> | null): string | Deny {
  let canonical = '';
  let copied = 0;
  let isAscii = true;
  for (let index = path.indexOf('%'); index >= 0; index = path.indexOf('%', index + 3)) {
    const octet = octetAt(path, index);
    if (octet < 0) return ambiguous('a percent sign is not followed by two hex digits');
    if (isRefusedEncoded[octet] === 1) {
      const oddity = encodedOddities[octet];
      if (uses === null || oddity === undefined) {
        return ambiguous('an encoded slash, backslash, percent, semicolon or control is in the path');
      }
      uses.add(oddity);
    }
    if (octet > 0x7f) isAscii = false;
    canonical += path.slice(copied, index) + canonicalOctet(octet);
    copied = index + 3;
  }
  canonical += path.slice(copied);
  if (!isAscii && !isUtf8Encoded(canonical)) return ambiguous('the path is not UTF-8');
  return canonical;
}

function canonicalOctet(octet: number): string {
  if (isUnreserved[octet] === 1) return String.fromCharCode(octet);
  return `%${hexDigits.charAt(octet >> 4)}${hexDigits.charAt(octet & 15)}`;
}

/** The octet that a percent sign stands for; -1 where two hex digits don't follow. */
function octetAt(text: string, index: number): number {
  const high = hexValue(text.charCodeAt(index + 1));
  const low = hexValue(text.charCodeAt(index + 2));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexValue(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function isUtf8Encoded(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}

/**
 * Dot segments (RFC 3986 §5.2.4), and empty ones, which some servers merge and others don't. A last slash is fine. Two
 * slashes at the beginning never are: clients and servers take what follows for a host (RFC 3986 §4.2).
 */
function hasOddSegment(path: string, uses: Set<PathOddity> | null): boolean {
  let from = 1;
  while (from < path.length) {
    let to = path.indexOf('/', from);
    if (to < 0) to = path.length;
    const isDots = path.charCodeAt(from) === 0x2e && (to - from === 1 || (to - from === 2 && path[from + 1] === '.'));
    if (isDots || (to === from && (uses === null || from === 1))) return true;
    if (to === from) uses?.add('empty-segments');
    from = to + 1;
  }
  return false;
}

function queryProblem(query: string): string | null {
  for (let index = 0; index < query.length; index++) {
    const code = query.charCodeAt(index);
    if (code > 0x7f || isQueryRefused[code] === 1) return 'the query holds a character that does not belong there';
    if (code === 0x25 && octetAt(query, index) < 0) return 'a percent sign is not followed by two hex digits';
  }
  return null;
}

function ambiguous(cause: string): Deny {
  return deny('target_ambiguous', { cause });
}
