/** Whether words stood beside each other in a text: what names somebody in plain words has no shape to be found by. */

import { Buffer } from 'node:buffer';
import type { KeyedHash } from './keyed-hash.ts';

const wordsAtFirst = 64;
/** Of one text; what comes after them is not looked at. */
const wordsOfTextMax = 4096;
/** Words of a value that are looked for. */
const wordsMax = 8;

/**
 * Letters in lower case and digits; 0 for what stands between words. Beyond ASCII all is part of a word, as it is, save
 * what begins with C2 or E2 in UTF-8: next to all of that are blanks, quotes, dashes and signs.
 */
const letterOf = Uint8Array.from({ length: 256 }, (_, code) => (code < 128 ? 0 : code));
for (let code = 48; code < 58; code++) letterOf[code] = code;
for (let code = 97; code < 123; code++) {
  letterOf[code] = code;
  letterOf[code - 32] = code;
}
/** Those that need no look at what is around them. */
const plainLetterOf = letterOf.map((letter, code) => (code < 0x80 ? letter : 0));
const backslash = 92;
const uCode = 117;
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
  /** Whether what is being read is a sign and no letter, though beyond ASCII. */
  let isSign = false;
  /** RFC 8259 §7: after a backslash comes no letter of a word, or four digits that say which. */
  let isEscaped = false;
  let digitsLeft = 0;
  let escaped = 0;
  const endWord = () => {
    if (word === seed) return;
    const hash = word;
    word = seed;
    if (count === wordsOfTextMax) return;
    if (count === found.length) {
      const longer = new Uint32Array(2 * count);
      longer.set(found);
      found = longer;
    }
    found[count++] = hash;
  };
  const take = (code: number) => {
    let letter = letterOf[code] ?? 0;
    if (code >= 0x80) {
      if (code >= 0xc0) isSign = code === 0xc2 || code === 0xe2;
      if (isSign) letter = 0;
    }
    if (letter === 0) endWord();
    else word = Math.imul(word ^ letter, prime);
  };
  const takeEscaped = (code: number) => {
    if (digitsLeft === 0) {
      isEscaped = code === uCode;
      digitsLeft = isEscaped ? 4 : 0;
      escaped = 0;
      if (!isEscaped) endWord();
      return;
    }
    const digit = Number.parseInt(String.fromCharCode(code), 16);
    digitsLeft = Number.isNaN(digit) ? 0 : digitsLeft - 1;
    escaped = 16 * escaped + digit;
    isEscaped = digitsLeft > 0;
    if (isEscaped) return;
    if (Number.isNaN(digit)) {
      endWord();
      takeNext(code);
    } else for (const byte of Buffer.from(String.fromCharCode(escaped))) take(byte);
  };
  const takeNext = (code: number) => {
    if (code === backslash) isEscaped = true;
    else take(code);
  };
  return {
    write: (bytes) => {
      if (count === wordsOfTextMax) return;
      let index = 0;
      while (index < bytes.length) {
        if (!isEscaped) {
          // Most of a text is letters.
          let current = word;
          for (; index < bytes.length; index++) {
            const letter = plainLetterOf[bytes[index] ?? 0] ?? 0;
            if (letter === 0) break;
            current = Math.imul(current ^ letter, prime);
          }
          word = current;
          if (index === bytes.length) return;
        }
        const code = bytes[index++] ?? 0;
        if (isEscaped) takeEscaped(code);
        else takeNext(code);
      }
    },
    end: () => {
      endWord();
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
