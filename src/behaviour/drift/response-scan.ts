/**
 * The destinations that a response shows, found while it streams by: in JSON, YAML or prose, without parsing any. What is
 * looked at is bytes; only the few tokens that may name someone are made into text.
 */

import { Buffer } from 'node:buffer';
import { createFieldKinds } from './destinations.ts';
import type { KeyedHash } from './keyed-hash.ts';
import { normaliseName, recognise, valueCharsMax } from './recognise.ts';
import { seenMax } from './sessions.ts';
import { createWordScan, type WordScan, type Words, wordSeed } from './words.ts';

export type ResponseScan = {
  /** Takes the next part of the text, in UTF-8. */
  readonly write: (bytes: Uint8Array) => void;
  readonly end: () => Findings;
};

/** What a response shows: at most 512 hashes of destinations, and the words it has. */
export type Findings = { readonly hashes: readonly number[]; readonly words: Words | null };

/** Of one response, or of one event of a stream: what comes after so many bytes is not looked at. */
const scannedBytesMax = 64 * 1024;

/** What a token holds, as bits: most tokens are words, and are passed over by these alone. */
const holds = { at: 1, dot: 2, colon: 4, digit: 8, backslash: 16, trailing: 32, beyondAscii: 64 } as const;
/** Any of these may be part of an address, a host or a URL. */
const telling = holds.at | holds.dot | holds.colon;
/** For a token whose bytes were not looked at one by one. */
const anyBits = telling | holds.digit;
/** From here on a byte ends a token; what kind it is says what else it ends. */
const delimiter = 128;
const kinds = { blank: delimiter, line: 129, quote: 130, comma: 131, bracket: 132 } as const;

/** Bits of each byte that belongs to a token, kind of each other. */
const classOf = new Uint8Array(256).fill(holds.beyondAscii, 128);
for (const [characters, value] of [
  [' \t', kinds.blank],
  ['\n\r', kinds.line],
  ['"\'`', kinds.quote],
  [',;|', kinds.comma],
  ['(){}[]<>', kinds.bracket],
  ['0123456789', holds.digit],
  ['@', holds.at],
  ['.', holds.dot | holds.trailing],
  [':', holds.colon],
  ['\\', holds.backslash],
  ['!?*_', holds.trailing],
] as const) {
  for (const character of characters) classOf[character.charCodeAt(0)] = value;
}
const colonCode = 0x3a;
const backslashCode = 0x5c;
/** RFC 8259 §7: what stands for a blank after a backslash. */
const isBlankEscaped = (code: number) => code === 0x6e || code === 0x72 || code === 0x74;
/** Punctuation that ends a sentence or an emphasis, and no name. */
const trailingMax = 8;
const trailing = /[.:!?*_]{1,8}$/;

/** Shorter numbers are no accounts. */
const numberCharsMin = 8;
const ibanCharsMin = 15;
const ibanGroup = /^[A-Z0-9]{1,4}$/;
const ibanStart = /^[A-Z]{2}\d{2}$/;
/** Longer keys name no field that anyone knows. */
const keyBytesMax = 256;

export function createResponseScan(hash: KeyedHash, fields: readonly string[] = []): () => ResponseScan {
  const kindOf = createFieldKinds(fields);
  const isNaming = (key: string) => kindOf(key, key) === 'reach';
  const seed = wordSeed(hash);
  return () => new Scan(hash, isNaming, createWordScan(seed));
}

const nothing = Buffer.alloc(0);

class Scan implements ResponseScan {
  readonly #hash: KeyedHash;
  readonly #isNaming: (key: string) => boolean;
  readonly #words: WordScan;
  readonly #found = new Set<number>();
  #scanned = 0;
  #carry: Buffer = nothing;
  /** The last token, a key if a colon follows: text, or bytes that need not become text if none does. */
  #last = '';
  #lastIn: Buffer | null = null;
  #lastBegin = 0;
  #lastEnd = 0;
  /** Text since the key of a field that names someone; null after any other. */
  #named: string | null = null;
  /** Groups of what may be an IBAN. */
  #groups = '';

  constructor(hash: KeyedHash, isNaming: (key: string) => boolean, words: WordScan) {
    this.#hash = hash;
    this.#isNaming = isNaming;
    this.#words = words;
  }

  write(bytes: Uint8Array): void {
    const left = scannedBytesMax - this.#scanned;
    if (left <= 0) return;
    this.#scanned += bytes.length;
    const part = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, left));
    this.#words.write(part);
    const text = this.#carry.length === 0 ? part : Buffer.concat([this.#carry, part]);
    const token = this.#split(text);
    this.#keepLast();
    const begin = text.length - token > valueCharsMax ? this.#takeRuns(text, token, text.length, false) : token;
    // A longer token names nobody; enough of it is kept to tell that it is too long.
    this.#carry =
      begin === text.length ? nothing : Buffer.from(text.subarray(Math.max(begin, text.length - valueCharsMax - 1)));
  }

  end(): Findings {
    const carry = this.#carry;
    this.#carry = nothing;
    if (carry.length > 0) this.#take(carry, 0, carry.length, bitsOf(carry, 0, carry.length));
    this.#endGroups();
    this.#endNamed();
    return { hashes: [...this.#found], words: this.#words.end() };
  }

  /** Takes every token that has ended, and gives where the one begins that has not. */
  #split(text: Buffer): number {
    let begin = 0;
    let bits = 0;
    for (let index = 0; index < text.length; index++) {
      const what = classOf[text[index] ?? 0] ?? 0;
      let width = 1;
      if (what < delimiter) {
        const next = what === holds.backslash ? (text[index + 1] ?? 0) : 0;
        if (!isBlankEscaped(next)) {
          bits |= what;
          if (next === backslashCode) index++;
          continue;
        }
        // A line of a JSON string ends here: a text may be long, and have no other blanks.
        width = 2;
      }
      if (index > begin) this.#take(text, begin, index, bits);
      begin = index + width;
      index = begin - 1;
      bits = 0;
      if (what === kinds.blank) continue;
      if (this.#groups !== '') this.#endGroups();
      if (this.#named === null) continue;
      // The quote that opens a value comes before its text, the one that closes it after.
      if ((what !== kinds.quote && what !== kinds.bracket) || this.#named !== '') this.#endNamed();
    }
    return begin;
  }

  #take(text: Buffer, from: number, to: number, allBits: number): void {
    if ((allBits & holds.beyondAscii) !== 0 && (allBits & anyBits) !== 0) this.#takeRuns(text, from, to, true);
    if (to - from > valueCharsMax) return;
    let begin = from;
    let end = to;
    let bits = allBits;
    if ((bits & holds.backslash) !== 0) {
      this.#takeEscaped(text.toString('utf8', begin, end));
      return;
    }
    const isValue = text[begin] === colonCode;
    if (isValue) {
      this.#beginValue();
      begin++;
      if (begin === end) return;
      bits = bitsOf(text, begin, end);
    } else if ((bits & holds.colon) !== 0) {
      this.#takeText(text.toString('utf8', begin, end), bits);
      return;
    } else if ((bits & holds.trailing) !== 0) {
      while (end > begin && to - end < trailingMax && isTrailing(text[end - 1])) end--;
      if (end < to) bits = bitsOf(text, begin, end);
    }
    const isPlain = (bits & telling) === 0 || isDecimal(text, begin, end, bits);
    const isShort = (bits & holds.digit) === 0 || end - begin < numberCharsMin;
    const mayBeIban = end - begin === 4 && (bits & holds.digit) !== 0;
    if (this.#named === null && this.#groups === '' && isPlain && isShort && !mayBeIban) {
      this.#lastIn = text;
      this.#lastBegin = begin;
      this.#lastEnd = end;
    } else this.#note(text.toString('utf8', begin, end), bits);
  }

  /**
   * Not all scripts set words apart by blanks, nor are all blanks and quotes ASCII. Takes what is between, and gives where
   * the last begins.
   */
  #takeRuns(text: Buffer, from: number, to: number, isEnd: boolean): number {
    let begin = from;
    let bits = 0;
    for (let index = from; index <= to; index++) {
      const what = index < to ? (classOf[text[index] ?? 0] ?? 0) : holds.beyondAscii;
      if ((what & holds.beyondAscii) === 0) {
        bits |= what;
        continue;
      }
      if (index === to && !isEnd) return begin;
      const isName = (bits & anyBits) !== 0 && index - begin <= valueCharsMax;
      if (isName) this.#add(recognise(text.toString('latin1', begin, index).replace(trailing, '')));
      begin = index + 1;
      bits = 0;
    }
    return begin;
  }

  /** A token with a colon that it does not begin with. */
  #takeText(raw: string, bits: number): void {
    const colon = raw.indexOf(':');
    // A key and its value without a blank between, as in `to:bob`; a URL's colon is another matter.
    const isKey = colon > 0 && !raw.startsWith('//', colon + 1);
    if (isKey && (colon === raw.length - 1 || this.#isNaming(raw.slice(0, colon)))) {
      this.#endGroups();
      this.#setLast(raw.slice(0, colon));
      this.#beginValue();
      const value = raw.slice(colon + 1);
      if (value.startsWith(':')) {
        this.#beginValue();
        if (value.length > 1) this.#note(value.slice(1), bits);
      } else if (value !== '') this.#takeText(value, bits);
      return;
    }
    this.#note(raw.replace(trailing, ''), bits);
  }

  /** RFC 8259 §7: what a JSON string holds may be several tokens once it is read. */
  #takeEscaped(raw: string): void {
    const text = Buffer.from(plainText(raw));
    this.#keepLast();
    const begin = this.#split(text);
    if (begin < text.length) this.#take(text, begin, text.length, bitsOf(text, begin, text.length) | anyBits);
  }

  /** What names someone, may be part of what does, or is the key of what does. */
  #note(text: string, bits: number): void {
    const named = this.#named;
    if (named !== null && named.length + text.length < valueCharsMax) {
      this.#named = named === '' ? text : `${named} ${text}`;
    }
    this.#setLast(text);
    if (text.length <= 4 && ibanGroup.test(text) && (this.#groups !== '' || ibanStart.test(text))) this.#groups += text;
    else if (this.#groups !== '') this.#endGroups();
    const mayBeNumber = (bits & holds.digit) !== 0 && text.length >= numberCharsMin;
    if ((bits & telling) !== 0 || mayBeNumber) this.#add(recognise(text));
  }

  /** After a colon: what comes names someone if the key before it says so. */
  #beginValue(): void {
    this.#keepLast();
    this.#named = this.#isNaming(this.#last) ? '' : null;
  }

  #setLast(text: string): void {
    this.#last = text;
    this.#lastIn = null;
  }

  #keepLast(): void {
    if (this.#lastIn === null) return;
    const length = this.#lastEnd - this.#lastBegin;
    this.#setLast(length > keyBytesMax ? '' : this.#lastIn.toString('utf8', this.#lastBegin, this.#lastEnd));
  }

  #endGroups(): void {
    if (this.#groups.length >= ibanCharsMin) this.#add(recognise(this.#groups));
    this.#groups = '';
  }

  #endNamed(): void {
    if (this.#named !== null && this.#named !== '') this.#add(normaliseName(this.#named));
    this.#named = null;
  }

  #add(name: string | null): void {
    if (name !== null && this.#found.size < seenMax) this.#found.add(this.#hash(name));
  }
}

function bitsOf(text: Buffer, begin: number, end: number): number {
  let bits = 0;
  for (let index = begin; index < end; index++) bits |= classOf[text[index] ?? 0] ?? 0;
  return bits;
}

function isTrailing(code: number | undefined): boolean {
  const what = classOf[code ?? 0] ?? 0;
  return what < delimiter && (what & holds.trailing) !== 0;
}

/** Whether it is a price or the like: digits with one full stop between them. */
function isDecimal(text: Buffer, begin: number, end: number, bits: number): boolean {
  if (bits !== (holds.digit | holds.dot | holds.trailing)) return false;
  let stops = 0;
  for (let index = begin; index < end; index++) {
    const what = classOf[text[index] ?? 0] ?? 0;
    if (what === 0) return false;
    if (what !== holds.digit) stops++;
  }
  return stops === 1;
}

/** RFC 8259 §7: what a JSON string may be written as. */
function plainText(raw: string): string {
  return raw.replaceAll(
    /\\(?:u([0-9a-fA-F]{4})|([\s\S])|$)/g,
    (_, hex: string | undefined, plain: string | undefined) => {
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      return plain === undefined || 'nrtbf'.includes(plain) ? '\n' : plain === '\\' ? ' ' : plain;
    },
  );
}
