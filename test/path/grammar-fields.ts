/** Fields: what passes unchanged, what stays behind, and what no request may hold. */

import type { Random } from '../support/random.ts';
import { type Flaw, refusedAs } from './grammar-flaws.ts';

export type FieldLines = {
  /** Without their ends. */
  readonly lines: string[];
  /** Lower-case names and values that the upstream must see. */
  readonly passed: readonly (readonly [string, string])[];
  readonly flaw: Flaw | null;
};

/** The field that rules look at: one that says evil is denied. */
export const judgedField = 'x-judged';

const passing = [
  'x-plain',
  'accept',
  'user-agent',
  'x-a',
  judgedField,
  'constructor',
  'tostring',
  'x-tenant',
  'if-none-match',
];
const values = [
  '',
  '1',
  'a, b',
  'text/html;q=0.5',
  '"quoted, text"',
  'caf\xe9',
  'a\tb',
  '{"a":1}',
  'x'.repeat(200),
  ': :',
];

const staying = [
  ...['cookie: session=1', 'Cookie2: a', 'proxy-authorization: Basic eDp5', 'X-Forwarded-For: 1.2.3.4'],
  ...['x-forwarded-host: evil', 'Forwarded: for=1.2.3.4', 'x-original-url: /api/evil', 'X-Rewrite-Url: /api/evil'],
  ...['x-http-method-override: DELETE', 'x_tenant: evil', 'x.tenant: evil', 'X_Judged: evil', 'x.judged: evil'],
  ...['te: trailers', 'keep-alive: timeout=5', 'proxy-connection: x-a', 'trailer: x-a', 'via: 1.1 a', 'baggage: a=b'],
  ...[
    'client-cert: :AAAA:',
    'x-forwarded-client-cert: Hash=00',
    'x-real-ip: 1.1.1.1',
    'postern-agent: a',
    'txn-token: a',
  ],
  ...['http2-settings: AAMAAABkAAQAAP__', 'x-ssl-client-verify: SUCCESS', 'agent-reason: because'],
  ...[
    'authorization_: a',
    'x_http_method_override: PUT',
    'remote-user: root',
    'content_length: 5',
    'transfer_encoding: chunked',
  ],
];

const refusedLines = [
  ...[
    'x-a : 1',
    ' folded',
    '\tfolded: 1',
    'x-a: 1\nx-b: 2',
    'x-a: 1\rx-b: 2',
    'x-a: a\0b',
    ': 1',
    'nonsense',
    'x(y): 1',
  ],
  ...['x-a: a\x01b', 'x-a: a\x7fb', 'x\x80y: 1', 'x\0y: 1', '"x": 1', 'x a: 1', 'x-a: 1\n', '\r', 'x-a: \x0b1'],
];

export function writeFields(random: Random, isFlawed: boolean): FieldLines {
  const lines: string[] = [];
  const passed: [string, string][] = [];
  const taken = new Set<string>();
  for (let count = random.below(5); count > 0; count--) {
    const name = random.pick(passing);
    if (taken.has(name)) continue;
    taken.add(name);
    const value = random.pick(values);
    const spelling = random.percent(50) ? name : name.toUpperCase();
    const blank = random.pick(['', ' ', '  ', '\t']);
    lines.push(`${spelling}:${blank}${value}${random.pick(['', ' ', ' \t'])}`);
    passed.push([name, value]);
  }
  const left = new Set(Array.from({ length: random.below(4) }, () => random.pick(staying)));
  lines.push(...left);
  if (!isFlawed) return { lines, passed, flaw: null };
  switch (random.below(6)) {
    case 0:
      lines.push(...Array.from({ length: 70 }, () => 'x: 1'));
      return { lines, passed, flaw: refusedAs('too many fields', [431], 'must') };
    case 1:
      lines.push(`x: ${'a'.repeat(random.pick([6000, 30_000]))}`);
      return { lines, passed, flaw: refusedAs('too large a field', [431], 'must') };
    case 2:
      lines.push(random.pick([`${judgedField}: evil`, 'X-JUDGED: not so evil', `${judgedField}:evil`]));
      return { lines, passed, flaw: refusedAs('a field that a rule denies', [403], 'may') };
    default: {
      const line = random.pick(refusedLines);
      lines.push(line);
      return { lines, passed, flaw: refusedAs(`field line ${JSON.stringify(line)}`, [400], 'must') };
    }
  }
}

export type ConnectionLines = {
  readonly lines: string[];
  /** Names that Connection takes out of the request. */
  readonly nominated: readonly string[];
  readonly isLast: boolean;
  readonly isUpgrade: boolean;
  /** Node does not trust a connection on which it has answered without a 100 Continue that was expected. */
  readonly isExpecting: boolean;
  readonly flaw: Flaw | null;
};

/** Connection, Upgrade and Expect: what a client asks of the hop to Postern. */
export function writeConnection(random: Random, isFlawed: boolean): ConnectionLines {
  const plain = (lines: string[], nominated: readonly string[] = [], isLast = false): ConnectionLines => ({
    lines,
    nominated,
    isLast,
    isUpgrade: lines.some((line) => line.startsWith('Upgrade:')),
    isExpecting: lines.some((line) => /^expect:/i.test(line)),
    flaw: null,
  });
  if (!isFlawed) {
    switch (random.below(10)) {
      case 0:
        return plain(['connection: keep-alive']);
      case 1:
        return plain(['Connection: close'], [], true);
      case 2:
        return plain(['connection: x-hop', 'x-hop: 1'], ['x-hop']);
      case 3:
        // Rules see nothing of it, and neither does the upstream.
        return plain(
          [`Connection: Keep-Alive, ${judgedField}, x-plain`, `${judgedField}: evil`],
          [judgedField, 'x-plain'],
        );
      case 4:
        return plain(
          ['connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'],
          [],
          true,
        );
      case 5:
        return plain(['expect: 100-continue']);
      case 6:
        return plain(['Expect: 100-Continue', 'connection: x-a'], ['x-a']);
      default:
        return plain([]);
    }
  }
  const lines = random.pick<string[]>([
    ['connection: authorization'],
    ['connection: keep-alive, DPoP'],
    ['Connection: Host'],
    ['connection: cookie'],
    ['connection: content_length'],
    ['connection: transfer.encoding'],
    ['connection: content-type, x-a'],
    ['connection: postern-decision'],
    ['connection: agent-reason'],
    ['connection: upgrade', 'upgrade: websocket'],
    ['connection: upgrade', 'upgrade: h2c, websocket/13'],
    ['expect: 200-ok'],
    ['expect: 100-continue', 'expect: 100-continue'],
    ['expect: 100-continue, x'],
  ]);
  return {
    lines,
    nominated: [],
    isLast: false,
    isUpgrade: false,
    isExpecting: false,
    flaw: refusedAs(lines.join(' + '), [400], 'must'),
  };
}
