/** JSON read strictly: what two parsers could read differently is refused (RFC 7515 §4, RFC 8725 §2.4, RFC 8259 §4). */

import { isUtf8 } from 'node:buffer';

export type StrictJsonOptions = {
  /** How deep objects and arrays may nest; `{}` is 1 deep. */
  readonly maxDepth: number;
};

/**
 * The value of a JSON text, or undefined (which no JSON text stands for) where the text is malformed, begins with a byte
 * order mark, nests deeper than `maxDepth`, gives an object two members of one name, or names a member `__proto__`.
 * Numbers are doubles: one that no double can hold becomes Infinity, so check with Number.isFinite before use.
 */
export function parseStrictJson(text: string, { maxDepth }: StrictJsonOptions): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const members = countMembers(value, maxDepth);
  // JSON.parse keeps the last of several members with one name (after unescaping), and drops whatever the others held.
  // So the text has more members than the value exactly when some name is repeated.
  return members >= 0 && members === countNames(text) ? value : undefined;
}

/** As parseStrictJson, for bytes, which must be well-formed UTF-8 (RFC 8259 §8.1). */
export function parseStrictJsonBytes(bytes: Buffer, options: StrictJsonOptions): unknown {
  return isUtf8(bytes) ? parseStrictJson(bytes.toString('utf8'), options) : undefined;
}

/** Whether a JSON value is an object, and not an array or null. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Members of all objects in a value; -1 where it nests too deep or holds a name that is refused. */
function countMembers(value: unknown, depthLeft: number): number {
  if (typeof value !== 'object' || value === null) return 0;
  if (depthLeft === 0) return -1;
  let count = 0;
  if (Array.isArray(value)) {
    for (const item of value) {
      const inner = countMembers(item, depthLeft - 1);
      if (inner < 0) return -1;
      count += inner;
    }
    return count;
  }
  const object = value as Record<string, unknown>;
  for (const name in object) {
    // Harmless here, where it is an own property, but not to whoever copies members by assignment. Nobody needs it.
    if (name === '__proto__') return -1;
    const inner = countMembers(object[name], depthLeft - 1);
    if (inner < 0) return -1;
    count += 1 + inner;
  }
  return count;
}

/** Strings followed by a colon in a text already known to be JSON, which are just the member names. */
function countNames(text: string): number {
  let count = 0;
  let open = text.indexOf('"');
  while (open >= 0) {
    let close = text.indexOf('"', open + 1);
    while (isEscaped(text, close)) close = text.indexOf('"', close + 1);
    let next = close + 1;
    let code = text.charCodeAt(next);
    while (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) code = text.charCodeAt(++next);
    if (code === 0x3a) count += 1;
    open = text.indexOf('"', next);
  }
  return count;
}

/** Whether an odd number of backslashes stands before this place. */
function isEscaped(text: string, at: number): boolean {
  let first = at;
  while (text.charCodeAt(first - 1) === 0x5c) first -= 1;
  return (at - first) % 2 === 1;
}
