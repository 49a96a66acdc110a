/** Whether words stood beside each other in a text: what names somebody in plain words has no shape to be found by. */

import { Buffer } from 'node:buffer';
import type { KeyedHash } from './keyed-hash.ts';

/** Bits for each word, of which two are for it and two for it beside its neighbour; their number is a power of two. */
const bitsPerWord = 16;
const bitsMin = 256;
const bitsMax = 65_536;
const wordsAtFirst = 64;
/** Of one text; what comes after them is not looked at. */
const wordsOfTextMax = 16_384;
/** Words of a value that are looked up. */
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

/** The words of a text and its pairs of neighbours, as a Bloom filter of two bits each; its length is a power of two. */
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
  const endWord = () => {
    if (count === found.length) {
      const longer = new Uint32Array(2 * count);
      longer.set(found);
      found = longer;
    }
    found[count++] = word;
    word = seed;
  };
  return {
    write: (bytes) => {
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
        word = current;
        if (count < wordsOfTextMax) endWord();
        current = seed;
      }
      word = current;
    },
    end: () => {
      if (word !== seed && count < wordsOfTextMax) endWord();
      return count === 0 ? null : filterOf(found, count);
    },
  };
}

function filterOf(found: Uint32Array, count: number): Words {
  let length = bitsMin;
  while (length < bitsMax && length < bitsPerWord * count) length *= 2;
  const words = new Uint32Array(length / 32);
  for (let index = 0; index < count; index++) {
    const word = found[index] ?? 0;
    set(words, word);
    if (index > 0) set(words, pairOf(found[index - 1] ?? 0, word));
  }
  return words;
}

/** What to look for to find a value: each word, and each pair of neighbours. */
export function wordsOf(text: string, seed: number): readonly number[] {
  const found: number[] = [];
  let word = seed;
  let previous = 0;
  let count = 0;
  const bytes = Buffer.from(text);
  for (let index = 0; index <= bytes.length && count < wordsMax; index++) {
    const letter = letterOf[bytes[index] ?? 0] ?? 0;
    if (letter !== 0) {
      word = Math.imul(word ^ letter, prime);
      continue;
    }
    if (word === seed) continue;
    found.push(word);
    if (count++ > 0) found.push(pairOf(previous, word));
    previous = word;
    word = seed;
  }
  return found;
}

/** Whether all of a value's words stood there, each beside the next. One word in fifty is found that was not there. */
export function hasWords(words: Words, sought: readonly number[]): boolean {
  const mask = words.length * 32 - 1;
  for (const hash of sought) {
    const spread = spreadOf(hash);
    if (!isSet(words, spread & mask) || !isSet(words, (spread >>> 16) & mask)) return false;
  }
  return sought.length > 0;
}

function set(words: Words, hash: number): void {
  const mask = words.length * 32 - 1;
  const spread = spreadOf(hash);
  const [first, second] = [spread & mask, (spread >>> 16) & mask];
  words[first >>> 5] = (words[first >>> 5] ?? 0) | (1 << (first & 31));
  words[second >>> 5] = (words[second >>> 5] ?? 0) | (1 << (second & 31));
}

function isSet(words: Words, bit: number): boolean {
  return ((words[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0;
}

function pairOf(left: number, right: number): number {
  return Math.imul(left, 0x9e3779b1) ^ right;
}

/** FNV leaves its low bits alike for words that end alike. */
function spreadOf(hash: number): number {
  const spread = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return spread ^ (spread >>> 12);
}
