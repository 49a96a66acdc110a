import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createKeyedHash } from '../../../src/behaviour/drift/keyed-hash.ts';
import { createWordScan, hasWords, wordSeed, wordsOf } from '../../../src/behaviour/drift/words.ts';

const seed = wordSeed(createKeyedHash(Buffer.alloc(32, 5), 'destination'));

function scan(...chunks: readonly string[]) {
  const { write, end } = createWordScan(seed);
  for (const chunk of chunks) write(Buffer.from(chunk));
  return end();
}

function says(text: string, value: string): boolean {
  const words = scan(text);
  return words !== null && hasWords(words, wordsOf(value, seed));
}

describe('the words of a text', () => {
  it.each([
    ['Please book Riverside Palace Suites for all.', 'riverside palace suites'],
    ['{"hotels":["Casa Mirador","Gasthof Linde"]}', 'Gasthof Linde'],
    ['{"text":"first line\\nGasthof Linde"}', 'Gasthof Linde'],
    ['0: payroll.xlsx', 'payroll.xlsx'],
    ['Glow & Sons, Ohlson Wood', 'glow & sons'],
    ['Le Café\tRémy', 'Café Rémy'],
    ['book \u201cGasthof Linde\u201d\u2014now', 'gasthof linde'],
    ['book\u00a0Gasthof\u00a0Linde\u2026', 'gasthof linde'],
    ['{"hotel":"\\u201cCaf\\u00e9 R\\u00E9my\\u201d\\u00a0\\u0041b"}', 'Café Rémy ab'],
    ['{"hotel":"\\u0413\\u043e\\u0440\\u0430"}', 'Гора'],
    ['{"path":"C:\\\\users\\\\eve"}', 'users eve'],
    ['C:\\ux and Gasthof Linde', 'gasthof linde'],
  ])('of %s hold %s', (text, value) => {
    expect(says(text, value)).toBe(true);
  });

  it.each([
    ['Please book Riverside Palace Suites for all.', 'Palace Riverside'],
    ['Please book Riverside Palace Suites for all.', 'Riverside Suites'],
    ['Please book Riverside Palace Suites for all.', 'River'],
    ['Please book Riverside Palace Suites for all.', ''],
    ['Please book Riverside Palace Suites for all.', '...'],
  ])('of %s do not hold %s', (text, value) => {
    expect(says(text, value)).toBe(false);
  });

  it('are the same wherever the text is cut, and none is nothing', () => {
    const text = 'He said: "book \\"Casa Mirador\\"\\nor \\u201cGasthof L\\u00efnde\\u201d", \\u12, at \u20ac7.';
    const bytes = Buffer.from(text);
    const whole = createWordScan(seed);
    for (const byte of bytes) whole.write(Buffer.of(byte));
    expect(whole.end()).toEqual(scan(text));
    for (let cut = 0; cut <= text.length; cut++) {
      expect(scan(text.slice(0, cut), text.slice(cut))).toEqual(scan(text));
    }
    expect([scan(), scan(''), scan(' ... \\n')]).toEqual([null, null, null]);
  });

  it('hold every run of up to eight words that a text holds', () => {
    const word = fc.stringMatching(/^[a-zA-Z0-9]{1,12}$/);
    fc.assert(
      fc.property(
        fc.array(word, { minLength: 1, maxLength: 60 }),
        fc.nat(),
        fc.nat({ max: 7 }),
        (words, at, length) => {
          const begin = at % words.length;
          return says(
            words.join(' '),
            words
              .slice(begin, begin + length + 1)
              .join('-')
              .toUpperCase(),
          );
        },
      ),
    );
  });

  it('hold none that were not there, in bounded room', () => {
    const text = Array.from({ length: 3000 }, (_, index) => `word${index}`).join(' ');
    const words = scan(text);
    if (words === null) throw new Error('no words');
    const others = Array.from({ length: 2000 }, (_, index) => `other${index}`);
    expect(others.filter((value) => hasWords(words, wordsOf(value, seed)))).toEqual([]);
    expect(hasWords(words, wordsOf('word17 word18', seed))).toBe(true);
    expect(scan(`${text} `.repeat(20))?.byteLength).toBe(16 * 1024);
    expect(scan('one')?.byteLength).toBe(4);
  });
});
