/** Whether words stood beside each other in a text: what names somebody in plain words has no shape to be found by. */

import { Buffer } from 'node:buffer';
import type { KeyedHash } from './keyed-hash.ts';

const wordsAtFirst = 64;
/** Of one text; what comes after them is not looked at. */
const wordsOfTextMax = 4096;
/** Words of a value that are looked for. */
const wordsMax = 8;

/** Letters in lower case and digits; 0 for what stands between words. All beyond ASCII is part of a word, as it is. */
const letterOf = Uint8Array.from({ length: 256 }, (_, code) => (code < 128 ? 0 : code));
for (let code = 48; code < 58; code++) letterOf[code] = code;
for (let code = 97; code < 123; code++) {
  letterOf[code] = code;
  letterOf[code - 32] = code;
}
const backslash = 92;
const prime = 0x01000193;

/** The words of a text in their order, as hashes under a secret. */
export type Words = Uint32Array;

export type WordScan = {
  /** Takes the next part of the text, in UTF-8. */
  readonly write: (bytes: Uint8Array) => void;
  /** Null for a text without words. */
  readonly end: () => Words | null;
};

/** Secret, and the same for requests and responses. */
export function wordSeed(hash: KeyedHash): number {
  return hash('words') | 0;
}

export function createWordScan(seed: number): WordScan {
  let found = new Uint32Array(wordsAtFirst);
  let count = 0;
  let word = seed;
  /** RFC 8259 §7: what comes after a backslash is no letter of a word. */
  let isEscaped = false;
  const add = (hash: number) => {
    if (count === wordsOfTextMax) return;
    if (count === found.length) {
      const longer = new Uint32Array(2 * count);
      longer.set(found);
      found = longer;
    }
    found[count++] = hash;
  };
  return {
    write: (bytes) => {
      if (count === wordsOfTextMax) return;
      let current = word;
      for (let index = 0; index < bytes.length; index++) {
        const code = bytes[index] ?? 0;
        const letter = letterOf[code] ?? 0;
        if (letter !== 0 && !isEscaped) {
          current = Math.imul(current ^ letter, prime);
          continue;
        }
        isEscaped = code === backslash && !isEscaped;
        if (current === seed) continue;
        add(current);
        current = seed;
      }
      word = current;
    },
    end: () => {
      if (word !== seed) add(word);
      return count === 0 ? null : found.slice(0, count);
    },
  };
}

/** The words of a value; the same as of a text that says it. */
export function wordsOf(text: string, seed: number): Words {
  const scan = createWordScan(seed);
  scan.write(Buffer.from(text));
  return scan.end()?.subarray(0, wordsMax) ?? new Uint32Array(0);
}

/** Whether all of a value's words stood there, each beside the next. */
export function hasWords(words: Words, sought: Words): boolean {
  const [first] = sought;
  if (first === undefined) return false;
  for (let begin = words.indexOf(first); begin !== -1; begin = words.indexOf(first, begin + 1)) {
    let at = 1;
    while (at < sought.length && words[begin + at] === sought[at]) at++;
    if (at === sought.length) return true;
  }
  return false;
}
