/** Request targets: vetting, with the properties that everything behind it relies on. */

import { isDeny } from '../../src/decision.ts';
import type { PathOddity } from '../../src/exchange.ts';
import { createMatchHtu } from '../../src/identify/htu.ts';
import { vetTarget } from '../../src/receive/target.ts';
import { type FuzzTarget, mustHold } from './fuzzer.ts';
import { mutateText } from './mutate.ts';

const bytesMax = 2048;
const origin = 'https://api.example.com';
const oddities: readonly PathOddity[] = ['encoded-slash', 'semicolon', 'empty-segments', 'double-encoding'];

const seeds = [
  ...[
    '/',
    '/a',
    '/v1/items?x=1&y=%2F',
    '/a/b/c/',
    "/~user/caf%c3%a9/%7e!$&'()*+,=:@",
    '/a?q=http://x/../y;z',
    '/a/%41%2d%2E%5f?',
  ],
  ...[
    '/a%2Fb',
    '/a;v=1/b',
    '/a//b',
    '/a%252Fb',
    '/a/..;/b',
    '/a/%2e%2e/b',
    'http://a/b',
    '*',
    '//a/b',
    '/a\\b',
    '/a%5c..%5cb',
  ],
];
const dictionary = [
  ...[
    '/',
    '//',
    '/./',
    '/../',
    '..',
    '.',
    '%2e',
    '%2E%2e',
    '%2f',
    '%2F',
    '%5c',
    '\\',
    ';',
    '%3b',
    ';a=b',
    '%25',
    '%252e',
    '%2525',
  ],
  ...[
    '%00',
    '%0a',
    '%0d',
    '%7f',
    '%',
    '%4',
    '%zz',
    '%c3%a9',
    '%c0%af',
    '%ed%a0%80',
    '%ff',
    '%f0%9f%94%91',
    '%41',
    '%7e',
    '%3f',
    '%23',
  ],
  ...[
    '?',
    '#',
    '&',
    '=',
    ' ',
    '\t',
    '\r\n',
    '\0',
    '\x7f',
    'é',
    '"',
    '<',
    '>',
    '^',
    '|',
    '`',
    '{',
    '}',
    '[',
    ']',
    '@',
    ':',
    '*',
    'http://a',
  ],
];

export function createRequestTarget(): FuzzTarget {
  const matchHtu = createMatchHtu(origin);
  const allOddities = new Set(oddities);
  return {
    name: 'target',
    boundMs: 20,
    write: (random, known) =>
      mutateText(
        random,
        random.percent(70) || known.length === 0 ? random.pick(seeds) : random.pick(known),
        dictionary,
        random.pick(seeds),
      ),
    judge(rawUrl) {
      const target = vetTarget(rawUrl, { bytesMax });
      const lenient = vetTarget(rawUrl, { bytesMax, allowed: allOddities });
      if (isDeny(target)) {
        mustHold(['target_ambiguous', 'target_too_long'].includes(target.reason), `reason ${target.reason}`);
        if (isDeny(lenient)) {
          mustHold(['target_ambiguous', 'target_too_long'].includes(lenient.reason), `reason ${lenient.reason}`);
          return `${lenient.reason}: ${lenient.cause}`;
        }
        mustHold(
          lenient.odd !== undefined && lenient.odd.uses.length > 0,
          'what only opting in lets through is marked',
        );
        checkLenient(lenient.odd.lenientPath);
        const needed = new Set(lenient.odd.uses);
        mustHold(!isDeny(vetTarget(rawUrl, { bytesMax, allowed: needed })), 'its own oddities are enough');
        for (const one of needed) {
          const fewer = new Set([...needed].filter((use) => use !== one));
          mustHold(isDeny(vetTarget(rawUrl, { bytesMax, allowed: fewer })), `${one} is needed`);
        }
        return `odd: ${[...needed].toSorted().join(' ')}`;
      }
      mustHold(
        !isDeny(lenient) && lenient.path === target.path && lenient.odd === undefined,
        'to opt in changes nothing',
      );
      const { path, query } = target;
      checkPath(path);
      const again = vetTarget(query === null ? path : `${path}?${query}`, { bytesMax });
      mustHold(!isDeny(again) && again.path === path && again.query === query, 'canonical is canonical');
      mustHold(query === null ? !rawUrl.includes('?') : rawUrl.endsWith(`?${query}`), 'the query is as it was sent');
      const rawPath = rawUrl.split('?')[0] ?? '';
      mustHold(matchHtu(`${origin}${rawPath}`, path) && matchHtu(`${origin}${path}`, path), 'a proof for it matches');
      const url = new URL(`${origin}${path}${query === null ? '' : `?${query}`}`);
      mustHold(url.origin === origin && url.pathname === path, 'a URL parser reads the same path');
      return 'accepted';
    },
    close() {},
  };
}

/** However a server reads it, it reads the same segments. */
function checkPath(path: string): void {
  mustHold(/^\/[\x21-\x7e]*$/.test(path), 'a path is printable');
  const segments = path.slice(1).split('/');
  const decoded = segments.map((segment) => decodeURIComponent(segment));
  mustHold(
    decoded.every((segment) => !['.', '..'].includes(segment)),
    'no dot segments',
  );
  mustHold(
    segments.slice(0, -1).every((segment) => segment !== ''),
    'no empty segments',
  );
  mustHold(
    decoded.every((segment) => !/[/\\;%\p{Cc}]/u.test(segment)),
    'nothing that servers read differently',
  );
}

/** The most lenient reading must not lead elsewhere either. */
function checkLenient(path: string): void {
  mustHold(path.startsWith('/'), 'a lenient path begins with a slash');
  mustHold(
    path.split('/').every((segment) => !['.', '..'].includes(segment)),
    'no dot segments, however lenient',
  );
}
