/** Finds a secret, in any of its spellings, in fields and in bytes that come in pieces. */

import type { LeakGuard, LeakSearch } from '../leak-search.ts';

/** A spelling and, for each place in it, the longest beginning of it that ends there (Knuth, Morris and Pratt). */
type Form = { readonly bytes: Buffer; readonly borders: Int32Array };

const nothing = Buffer.alloc(0);

/** The forms live in private members, where neither JSON nor inspect finds them. */
export function createLeakGuard(forms: readonly Buffer[]): LeakGuard {
  const prepared = forms.map((bytes) => ({ bytes, borders: bordersOf(bytes) }));
  // undici gives field values as latin1, one character a byte.
  const texts = forms.map((bytes) => bytes.toString('latin1'));
  return {
    isIn: (text) => texts.some((form) => text.includes(form)),
    search: () => new Search(prepared),
  };
}

/** Keeps back only what may be the beginning of a secret, so that a stream is not held up for longer than it must be. */
class Search implements LeakSearch {
  readonly #forms: readonly Form[];
  #kept: Buffer = nothing;

  constructor(forms: readonly Form[]) {
    this.#forms = forms;
  }

  push(chunk: Buffer): Buffer | null {
    const bytes = this.#kept.length === 0 ? chunk : Buffer.concat([this.#kept, chunk]);
    let kept = 0;
    for (const form of this.#forms) {
      // Native, and several times as fast as any automaton of our own.
      if (bytes.indexOf(form.bytes) >= 0) return null;
      kept = Math.max(kept, beginningAtEnd(form, bytes));
    }
    // Copied, so that a few bytes do not keep a whole chunk alive.
    this.#kept = kept === 0 ? nothing : Buffer.from(bytes.subarray(bytes.length - kept));
    return kept === 0 ? bytes : bytes.subarray(0, bytes.length - kept);
  }

  isClean(): boolean {
    return this.#kept.length === 0;
  }

  rest(): Buffer {
    const rest = this.#kept;
    this.#kept = nothing;
    return rest;
  }
}

/** How many bytes at the end are the beginning of the form, which is not whole in them. */
function beginningAtEnd({ bytes: form, borders }: Form, bytes: Buffer): number {
  let matched = 0;
  for (let at = Math.max(0, bytes.length - form.length + 1); at < bytes.length; at++) {
    const byte = bytes[at];
    while (matched > 0 && form[matched] !== byte) matched = borders[matched - 1] ?? 0;
    if (form[matched] === byte) matched += 1;
  }
  return matched;
}

function bordersOf(form: Buffer): Int32Array {
  const borders = new Int32Array(form.length);
  let matched = 0;
  for (let at = 1; at < form.length; at++) {
    while (matched > 0 && form[matched] !== form[at]) matched = borders[matched - 1] ?? 0;
    if (form[matched] === form[at]) matched += 1;
    borders[at] = matched;
  }
  return borders;
}
