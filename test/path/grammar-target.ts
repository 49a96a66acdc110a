/** Request targets: what must pass in one canonical form, and what must not pass at all. */

import type { Random } from '../support/random.ts';
import { type Flaw, refusedAs } from './grammar-flaws.ts';

export type WrittenTarget = {
  /** As it stands on the wire. */
  readonly text: string;
  /** The path as it stands on the wire. */
  readonly written: string;
  /** Canonical: what rules see, what a proof is made for, and what the upstream gets. */
  readonly path: string;
  readonly query: string | null;
  readonly flaw: Flaw | null;
};

/** As it may be written, and as it must arrive (RFC 3986 §6.2.2). */
const spellings: readonly (readonly [string, string])[] = [
  ...[...'aZ09-._~'].map((character) => [character, character] as const),
  ...[...`!$&'()*+,=:@`].map((character) => [character, character] as const),
  ['%41', 'A'],
  ['%7e', '~'],
  ['%2D', '-'],
  ['%c3%a9', '%C3%A9'],
  ['%20', '%20'],
  ['%22', '%22'],
  ['%3f', '%3F'],
  ['%23', '%23'],
  ['%3a', '%3A'],
  ['%f0%9f%94%91', '%F0%9F%94%91'],
];

const queries = [
  '',
  'a=b',
  'a=1&a=2',
  'q=%20%2F%2f',
  'x=/../..//;y',
  'a={b}|c^`d`[e]\\',
  '?',
  'a=%C3%A9&&',
  'access_tokens=1',
];

const refusedAtoms = [
  ...['//', '/./', '/../', '/%2e%2e/', '/.%2E/', '/%2e/', '%2f', '%2F', '\\', '%5c', '%252e', '%25', ';v=1', '%3b'],
  ...[
    '%00',
    '%0d%0a',
    '%7f',
    '%',
    '%z',
    '%1',
    '#f',
    '%ff',
    '%c0%af',
    '%ed%a0%80',
    '<',
    '>',
    '"',
    '^',
    '|',
    '`',
    '{',
    '[',
  ],
  ...['\x01', '\x7f', '\xe9', ' ', '\t'],
];

export function writeTarget(random: Random, marker: string, isFlawed: boolean): WrittenTarget {
  const segments = Array.from({ length: random.below(4) }, () => writeSegment(random));
  const slash = random.percent(20) ? '/' : '';
  const join = (index: 0 | 1) => `/api/${marker}${segments.map((segment) => `/${segment[index]}`).join('')}${slash}`;
  const [written, path] = [join(0), join(1)];
  const query = random.percent(50) ? null : random.pick(queries);
  const text = query === null ? written : `${written}?${query}`;
  const good = { text, written, path, query, flaw: null };
  return isFlawed ? spoil(random, marker, good) : good;
}

/** A segment as written and as it must arrive: never a dot segment, however it is written. */
function writeSegment(random: Random): readonly [string, string] {
  const pieces = Array.from({ length: random.between(1, 6) }, () => random.pick(spellings));
  return [`s${pieces.map(([from]) => from).join('')}`, `s${pieces.map(([, to]) => to).join('')}`];
}

function spoil(random: Random, marker: string, good: WrittenTarget): WrittenTarget {
  const { written } = good;
  const odd = (text: string, statuses: readonly number[] = [400]): WrittenTarget => ({
    ...good,
    text,
    flaw: refusedAs(`target ${JSON.stringify(text.slice(0, 60))}`, statuses, 'may'),
  });
  switch (random.below(12)) {
    case 0:
      return odd(
        random.pick([`http://a${written}`, `https://api.agents.example${written}`, `//a${written}`, `/\\a${written}`]),
      );
    case 1:
      return odd(random.pick(['*', 'a:443', '', '?', `?${written}`, `a${written}`, `/..${written}`, `/.${written}`]));
    case 2:
      return odd(`${written}?${random.pick(['a=%', 'a=%zz', 'a=%0', '<b>', 'a="b"', 'a#b', 'a=\xe9', 'a=\x01'])}`);
    case 3:
      return odd(
        `${written}?${random.pick(['access_token=x', 'ACCESS_TOKEN=x', 'a=b&access%5Ftoken=x', 'a;access_token'])}`,
      );
    case 4:
      return odd(`${written}/${'a'.repeat(random.pick([600, 2000]))}`, [414]);
    case 5:
      return odd(`${written}/${'a'.repeat(20_000)}`, [414, 431]);
    case 6:
      return routed(good, random.pick(['/other/', '/apix/', '/API/', '/%61pj/', '/']), marker, 404);
    case 7:
      return routed(good, '/api/forbidden/', marker, 403);
    default: {
      const at = random.between(4, written.length);
      const atom = random.pick(refusedAtoms);
      // Within an encoded octet the atom would make another one; a segment of dots needs its slashes.
      const safe = atom.startsWith('/') ? written.length : written.lastIndexOf('/', at);
      return odd(`${written.slice(0, safe)}/x${atom}${written.slice(safe)}`);
    }
  }
}

/** Sound in form, and refused for where it leads. */
function routed(good: WrittenTarget, prefix: string, marker: string, status: number): WrittenTarget {
  const path = `${prefix}${marker}`;
  const canonical = path.replace('%61', 'a');
  return { ...good, text: path, written: path, path: canonical, query: null, flaw: refusedAs(path, [status], 'may') };
}
