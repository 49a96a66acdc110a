/** What a secret may look like, and a wrapping that keeps it out of print. */

import { isUtf8 } from 'node:buffer';
import { inspect } from 'node:util';

/** More than any credential of a field needs; larger than this is a wrong file. */
export const secretBytesMax = 8192;

/** A secret as a value that can be handed around and printed without harm. */
export class Secret {
  /** Of the credential, not of this copy: counts up from 1 each time the secret changes. */
  readonly version: number;
  readonly #text: string;

  constructor(text: string, version: number) {
    this.#text = text;
    this.version = version;
  }

  /** The secret itself. Whoever calls this answers for where it goes. */
  reveal(): string {
    return this.#text;
  }

  isSame(text: string): boolean {
    return this.#text === text;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}

/** The text of a secret, or what is wrong with it. One newline at the end belongs to the file, not to the secret. */
export function readSecretText(bytes: Buffer, mustBeAscii: boolean): { text: string } | { problem: string } {
  if (bytes.length > secretBytesMax) return { problem: `is larger than ${secretBytesMax} bytes` };
  if (!isUtf8(bytes)) return { problem: 'is not UTF-8' };
  const text = withoutNewline(bytes.toString('utf8'));
  if (text === '') return { problem: 'is empty' };
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    // RFC 9110 §5.5: CR, LF and NUL in a field value would let a secret add fields of its own.
    if (code < 0x20 || code === 0x7f) return { problem: 'holds a control character' };
    if (mustBeAscii && code > 0x7e) return { problem: 'holds a character that a header field cannot carry' };
  }
  // RFC 9110 §5.5: blanks around a field value are not part of it, so another secret would arrive than was meant.
  if (mustBeAscii && text.trim() !== text) return { problem: 'begins or ends with a blank' };
  return { text };
}

function withoutNewline(text: string): string {
  if (text.endsWith('\r\n')) return text.slice(0, -2);
  return text.endsWith('\n') ? text.slice(0, -1) : text;
}
