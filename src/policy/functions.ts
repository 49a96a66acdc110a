/**
 * The functions of expressions that are ours. Where the engine's own function is not linear, not bounded or lenient
 * about bad input, ours stands in under the name `checked_…`; guard.ts puts it in place of the name that was written.
 */

import type { Environment } from '@marcbachmann/cel-js';
import type { RE2JS } from 're2js';
import { Fault } from '../errors.ts';
import { matchCharsMax, numberCharsMax, splitPartsMax } from './bounds.ts';
import { CidrRange } from './cidr.ts';

export const checkedPrefix = 'checked_';
/** Functions and methods whose calls are redirected to ours. */
export const checkedFunctions: ReadonlySet<string> = new Set(['size', 'int', 'double']);
export const checkedMethods: ReadonlySet<string> = new Set(['size', 'matches', 'contains', 'lowerAscii', 'split']);

/** What the literals of expressions were parsed into at load, by their text. */
export type Literals = {
  /** With the units that each character costs. */
  readonly patterns: Map<string, { readonly pattern: RE2JS; readonly charCost: number }>;
  readonly ranges: Map<string, CidrRange>;
};

const int64Max = 9_223_372_036_854_775_807n;
const int64Min = -9_223_372_036_854_775_808n;

/** The message names the function, never its arguments: they are the request's. */
function fail(functionName: string, problem: string): never {
  throw new Fault('expression_failed', `${functionName}(): ${problem}`);
}

/** Registers every function of ours. */
export function declareFunctions(environment: Environment, literals: Literals): void {
  environment.registerType('Cidr', { ctor: CidrRange, fields: {} });
  // A function not declared synchronous makes the engine wrap each call of it for promises.
  const register = (signature: string, handler: (...values: never[]) => unknown) =>
    environment.registerFunction(signature, handler, { async: false });

  register('cidr(string): Cidr', (text: string) => literals.ranges.get(text) ?? fail('cidr', 'unknown range'));
  register(
    'Cidr.checked_contains(string): bool',
    (range: CidrRange, address: string) => range.includes(address) ?? fail('contains', 'not an IP address'),
  );
  register('scopeLimit(list<string>, string): double', scopeLimit);

  register('string.checked_matches(string): bool', (text: string, pattern: string) => {
    if (text.length > matchCharsMax) fail('matches', `text is longer than ${matchCharsMax} characters`);
    return (literals.patterns.get(pattern) ?? fail('matches', 'unknown pattern')).pattern.test(text);
  });
  register('string.checked_contains(string): bool', containsLinear);
  register('string.checked_lowerAscii(): string', lowerAscii);
  register('string.checked_split(string): list<string>', splitBounded);

  for (const [type, sizeOf] of sizes) {
    register(`checked_size(${type}): int`, sizeOf);
    register(`${type}.checked_size(): int`, sizeOf);
  }
  register('checked_int(int): int', (value: bigint) => value);
  register('checked_int(double): int', intOfDouble);
  register('checked_int(string): int', intOfString);
  register('checked_double(double): double', (value: number) => value);
  register('checked_double(int): double', (value: bigint) => Number(value));
  register('checked_double(string): double', doubleOfString);
}

const sizes: readonly (readonly [string, (value: never) => bigint])[] = [
  ['string', (text: string) => BigInt(codePoints(text))],
  ['list', (list: readonly unknown[]) => BigInt(list.length)],
  ['map', (map: ReadonlyMap<unknown, unknown>) => BigInt(map.size)],
];

/** The largest number that follows the prefix in a scope: the limit that the token grants. */
export function scopeLimit(scopes: readonly string[], prefix: string): number {
  let largest = -1;
  for (const scope of scopes) {
    if (!scope.startsWith(prefix)) continue;
    const limit = scope.slice(prefix.length);
    if (limit.length > numberCharsMax || !/^\d+(?:\.\d+)?$/.test(limit)) continue;
    largest = Math.max(largest, Number(limit));
  }
  return largest >= 0 ? largest : fail('scopeLimit', 'no scope has this prefix and a number');
}

const shortPart = 5;

/**
 * Whether the text holds the part, in time linear in both. The runtime's own search takes text times part on input made
 * for it, so it is left to small input and short parts; the rest is Knuth, Morris and Pratt.
 */
export function containsLinear(text: string, part: string): boolean {
  if (part.length > text.length) return false;
  if (part.length <= shortPart || part.length * text.length <= 16_384) return text.includes(part);
  const codes = new Uint16Array(part.length);
  for (let index = 0; index < part.length; index++) codes[index] = part.charCodeAt(index);
  const fallback = new Int32Array(part.length);
  for (let index = 1, matched = 0; index < part.length; index++) {
    const code = codes[index];
    while (matched > 0 && codes[matched] !== code) matched = fallback[matched - 1] ?? 0;
    if (codes[matched] === code) matched++;
    fallback[index] = matched;
  }
  for (let index = 0, matched = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    while (matched > 0 && codes[matched] !== code) matched = fallback[matched - 1] ?? 0;
    if (codes[matched] === code) matched++;
    if (matched === part.length) return true;
  }
  return false;
}

const asciiOnly = /^[\0-\x7f]*$/;

/** ASCII letters only: what Unicode maps to ASCII, such as the Kelvin sign, must not become equal to it. */
function lowerAscii(text: string): string {
  if (asciiOnly.test(text)) return text.toLowerCase();
  const bytes = Buffer.from(text, 'utf16le');
  for (let index = 0; index < bytes.length; index += 2) {
    const code = bytes[index] ?? 0;
    if (code >= 0x41 && code <= 0x5a && bytes[index + 1] === 0) bytes[index] = code + 0x20;
  }
  return bytes.toString('utf16le');
}

function splitBounded(text: string, separator: string): string[] {
  if (separator === '') fail('split', 'separator is empty');
  const parts = text.split(separator, splitPartsMax + 1);
  return parts.length <= splitPartsMax ? parts : fail('split', `more than ${splitPartsMax} parts`);
}

/** CEL counts code points, JavaScript code units. */
function codePoints(text: string): number {
  let count = text.length;
  for (let index = 0; index < text.length - 1; index++) {
    const isPair = (text.charCodeAt(index) & 0xfc00) === 0xd800 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00;
    if (isPair) {
      count--;
      index++;
    }
  }
  return count;
}

function intOfDouble(value: number): bigint {
  if (!Number.isFinite(value)) fail('int', 'not a finite number');
  const whole = BigInt(Math.trunc(value));
  // CEL leaves out the ends, which a double may have been rounded to.
  return whole > int64Min && whole < int64Max ? whole : fail('int', 'out of range');
}

function intOfString(text: string): bigint {
  if (text.length > numberCharsMax || !/^-?\d+$/.test(text)) fail('int', 'not a whole number');
  const value = BigInt(text);
  return value >= int64Min && value <= int64Max ? value : fail('int', 'out of range');
}

function doubleOfString(text: string): number {
  if (text.length > numberCharsMax || !/^-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?$/.test(text)) fail('double', 'not a number');
  return Number(text);
}
