/** The destinations that a response shows, found while it streams by: in JSON, YAML or prose, without parsing any. */

import { createFieldKinds } from './destinations.ts';
import type { KeyedHash } from './keyed-hash.ts';
import { normaliseName, recognise, valueCharsMax } from './recognise.ts';
import { seenMax } from './sessions.ts';
import { createWordScan, type Words, wordSeed } from './words.ts';

export type ResponseScan = {
  /** Takes the next part of the text. */
  readonly write: (text: string) => void;
  readonly end: () => Shown;
};

/** What a response shows: at most 512 hashes of destinations, and the words it has. */
export type Shown = { readonly hashes: readonly number[]; readonly words: Words | null };

/** Text beyond this many characters is not looked at. */
const scannedCharsMax = 64 * 1024;

const kinds = { token: 0, blank: 1, line: 2, quote: 3, comma: 4, bracket: 5 } as const;
/** Kind of each ASCII character; every other belongs to a token. */
const kindOfCode = new Uint8Array(128);
for (const blank of [9, 32]) kindOfCode[blank] = kinds.blank;
for (const line of [10, 13]) kindOfCode[line] = kinds.line;
for (const quote of '"\'`') kindOfCode[quote.charCodeAt(0)] = kinds.quote;
for (const comma of ',;|') kindOfCode[comma.charCodeAt(0)] = kinds.comma;
for (const bracket of '(){}[]<>') kindOfCode[bracket.charCodeAt(0)] = kinds.bracket;

/** What a token holds, as bits: most tokens are words, and are passed over by these alone. */
const holds = { at: 1, dot: 2, colon: 4, digit: 8, backslash: 16 } as const;
const bitsOfCode = new Uint8Array(128);
bitsOfCode['@'.charCodeAt(0)] = holds.at;
bitsOfCode['.'.charCodeAt(0)] = holds.dot;
bitsOfCode[':'.charCodeAt(0)] = holds.colon;
bitsOfCode['\\'.charCodeAt(0)] = holds.backslash;
for (const digit of '0123456789') bitsOfCode[digit.charCodeAt(0)] = holds.digit;
/** Any of these may be part of an address, a host or a URL. */
const telling = holds.at | holds.dot | holds.colon;
/** For a token whose characters were not looked at one by one. */
const anyBits = 0xff & ~holds.backslash;
/** Shorter numbers are no accounts. */
const numberCharsMin = 8;

const ibanGroup = /^[A-Z0-9]{1,4}$/;
const ibanStart = /^[A-Z]{2}\d{2}$/;
const trailing = /[.:!?*_]{1,8}$/;
const trailingCharacters = '.:!?*_';

export function createResponseScan(hash: KeyedHash, fields: readonly string[] = []): () => ResponseScan {
  const kindOf = createFieldKinds(fields);
  const seed = wordSeed(hash);
  return () => {
    const found = new Set<number>();
    const words = createWordScan(seed);
    let scanned = 0;
    let carry = '';
    /** The last token, a key if a colon follows; where it lies in its text, as long as nobody has asked. */
    let last = '';
    let lastText = '';
    let lastBegin = -1;
    let lastEnd = 0;
    /** Text since the key of a field that names someone; null after any other. */
    let named: string | null = null;
    let groups = '';

    const add = (name: string | null) => {
      if (name !== null && found.size < seenMax) found.add(hash(name));
    };
    const endGroups = () => {
      if (groups.length >= 15) add(recognise(groups));
      groups = '';
    };
    const endNamed = () => {
      if (named !== null && named.length > 0) add(normaliseName(named));
      named = null;
    };
    const takeLast = () => {
      if (lastBegin !== -1) last = lastText.slice(lastBegin, lastEnd).replace(trailing, '');
      lastBegin = -1;
      return last;
    };
    const isNaming = (key: string) => kindOf(key, key) === 'reach';
    const token = (raw: string, bits: number): void => {
      if (raw === ':') {
        named = isNaming(takeLast()) ? '' : null;
        return;
      }
      // A key and its value without a blank between, as in `to:bob`; a URL's colon is another matter.
      const colon = (bits & holds.colon) === 0 ? -1 : raw.indexOf(':');
      if (
        colon > 0 &&
        !raw.startsWith('//', colon + 1) &&
        (colon === raw.length - 1 || isNaming(raw.slice(0, colon)))
      ) {
        endGroups();
        last = raw.slice(0, colon);
        lastBegin = -1;
        named = isNaming(last) ? '' : null;
        if (colon < raw.length - 1) token(raw.slice(colon + 1), bits);
        return;
      }
      let text = raw;
      if (colon === 0) {
        text = raw.slice(1);
        named = isNaming(takeLast()) ? '' : null;
      } else if (trailingCharacters.includes(raw.charAt(raw.length - 1))) text = raw.replace(trailing, '');
      if (named !== null && named.length + text.length < valueCharsMax) named += named === '' ? text : ` ${text}`;
      last = text;
      lastBegin = -1;
      if (text.length <= 4 && ibanGroup.test(text) && (groups !== '' || ibanStart.test(text))) groups += text;
      else if (groups !== '') endGroups();
      // A full stop that ended a sentence tells nothing.
      const isTelling = bits === holds.dot ? text.includes('.') : (bits & telling) !== 0;
      if (isTelling || ((bits & holds.digit) !== 0 && text.length >= numberCharsMin)) add(recognise(text));
    };
    const split = (text: string, from: number): number => {
      let begin = from;
      let bits = 0;
      for (let index = from; index < text.length; index++) {
        const code = text.charCodeAt(index);
        const kind = code < 128 ? kindOfCode[code] : kinds.token;
        if (kind === kinds.token) {
          if (code < 128) bits |= bitsOfCode[code] ?? 0;
          continue;
        }
        if (index > begin) {
          // Most tokens are plain words: one may turn out to be a key, and says nothing else.
          if (bits === 0 && named === null && groups === '') {
            lastText = text;
            lastBegin = begin;
            lastEnd = index;
          } else takeToken(text.slice(begin, index), bits);
        }
        begin = index + 1;
        bits = 0;
        if (kind === kinds.blank) continue;
        if (groups !== '') endGroups();
        // The quote that opens a value comes before its text, the one that closes it after.
        if (kind !== kinds.quote || (named !== null && named !== '')) {
          if (!(kind === kinds.bracket && named === '')) endNamed();
        }
      }
      return begin;
    };
    const takeToken = (raw: string, bits: number) => {
      if (raw.length > valueCharsMax) return;
      if ((bits & holds.backslash) === 0) return token(raw, bits);
      const text = plainText(raw);
      const rest = text.slice(split(text, 0));
      if (rest.length > 0) token(rest, anyBits);
    };
    return {
      write: (chunk) => {
        if (scanned >= scannedCharsMax) return;
        const text =
          carry + (chunk.length > scannedCharsMax - scanned ? chunk.slice(0, scannedCharsMax - scanned) : chunk);
        words.write(text.slice(carry.length));
        scanned += chunk.length;
        const begin = split(text, 0);
        carry = text.length - begin > valueCharsMax ? text.slice(-valueCharsMax - 1) : text.slice(begin);
      },
      end: () => {
        if (carry.length > 0) takeToken(carry, anyBits | (carry.includes('\\') ? holds.backslash : 0));
        carry = '';
        endGroups();
        endNamed();
        return { hashes: [...found], words: words.end() };
      },
    };
  };
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
