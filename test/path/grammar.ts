/**
 * A grammar of requests, good and bad. Each part says what is wrong with it, if anything, so whoever sends a request
 * knows beforehand whether it must pass, what it must be answered with, and what an upstream must see of it.
 */

import type { Random } from '../support/random.ts';
import { type FieldLines, judgedField, writeConnection, writeFields } from './grammar-fields.ts';
import { type Flaw, refusedAs } from './grammar-flaws.ts';
import { writeFraming } from './grammar-framing.ts';
import { writeTarget } from './grammar-target.ts';

/** Tokens and proofs, made by whoever runs the sidecar. */
export type Wallet = {
  readonly token: (kind: TokenKind) => string;
  readonly proof: (options: {
    readonly path: string;
    readonly method: string;
    readonly token: string;
    readonly isForeign?: boolean;
  }) => string;
};
export const tokenKinds = ['good', 'expired', 'foreign-audience', 'foreign-issuer', 'unbound', 'no-scope'] as const;
export type TokenKind = (typeof tokenKinds)[number];

export type WrittenRequest = {
  /** Stands in the path, and nowhere else on the wire. */
  readonly marker: string;
  readonly method: string;
  /** Bytes as latin1 text. */
  readonly bytes: string;
  readonly flaws: readonly Flaw[];
  /** Whether the connection ends with its answer, though nothing is wrong. */
  readonly closes: 'must' | 'may' | 'no';
  /** The client sends no more after this. */
  readonly isTruncated: boolean;
  /** What the upstream sees of it, if it sees anything. */
  readonly passed: {
    readonly target: string;
    readonly path: string;
    readonly query: string | null;
    readonly fields: FieldLines['passed'];
    readonly body: string;
  };
};

type Part = 'method' | 'target' | 'version' | 'host' | 'fields' | 'connection' | 'framing' | 'credentials';
const parts: readonly Part[] = [
  ...(['method', 'target', 'target', 'version', 'host', 'fields', 'fields', 'connection'] as const),
  ...(['framing', 'framing', 'framing', 'credentials', 'credentials', 'credentials'] as const),
];

/** One request. `flawCount` parts of it, more or less, are wrong. */
export function writeRequest(random: Random, wallet: Wallet, marker: string, flawCount: number): WrittenRequest {
  const flawed = new Set(Array.from({ length: flawCount }, () => random.pick(parts)));
  const method = writeMethod(random, flawed.has('method'));
  const version = writeVersion(random, flawed.has('version'));
  const target = writeTarget(random, marker, flawed.has('target'));
  const fields = writeFields(random, flawed.has('fields'));
  const isOld = version.text === 'HTTP/1.0';
  const connection =
    isOld && !flawed.has('connection') ? noConnection : writeConnection(random, flawed.has('connection'));
  const smuggled = () => smuggledRequest(wallet, marker);
  const framing = writeFraming(random, { isFlawed: flawed.has('framing'), isOld, method: method.text, smuggled });
  const host = writeHost(random, flawed.has('host'));
  const credentials = writeCredentials(random, wallet, {
    method: method.text,
    path: random.percent(50) ? target.path : target.written,
    isFlawed: flawed.has('credentials'),
  });
  const lines = [...host.lines, ...credentials.lines, ...fields.lines, ...connection.lines, ...framing.lines];
  for (let index = lines.length - 1; index > 0; index--) {
    const other = random.below(index + 1);
    [lines[index], lines[other]] = [lines[other] ?? '', lines[index] ?? ''];
  }
  const { path, query } = target;
  const isChunkedUpgrade = connection.isUpgrade && framing.lines.some((line) => /^transfer-encoding:/i.test(line));
  return {
    marker,
    method: method.text,
    bytes: `${method.text} ${target.text} ${version.text}\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${framing.body}`,
    flaws: [method, version, target, connection, framing, host, credentials]
      .map(({ flaw }) => flaw)
      .concat(isChunkedUpgrade ? [refusedAs('chunks and an upgrade', [400], 'must')] : [])
      // What Connection takes out of the request no rule denies.
      .concat(fields.flaw?.statuses[0] === 403 && connection.nominated.includes(judgedField) ? [] : [fields.flaw])
      .filter((flaw) => flaw !== null),
    closes: isOld || connection.isLast ? 'must' : connection.isExpecting ? 'may' : 'no',
    isTruncated: framing.isTruncated,
    passed: {
      target: query === null ? path : `${path}?${query}`,
      path,
      query,
      fields: fields.passed.filter(([name]) => !connection.nominated.includes(name)),
      body: framing.passed,
    },
  };
}

const noConnection: ReturnType<typeof writeConnection> = {
  lines: [],
  nominated: [],
  isLast: false,
  isUpgrade: false,
  isExpecting: false,
  flaw: null,
};

type Written = { readonly text: string; readonly flaw: Flaw | null };

function writeMethod(random: Random, isFlawed: boolean): Written {
  if (!isFlawed)
    return { text: random.pick(['GET', 'GET', 'GET', 'POST', 'POST', 'POST', 'HEAD', 'DELETE']), flaw: null };
  const text = random.pick([
    ...['PUT', 'PATCH', 'OPTIONS', 'PROPFIND', 'QUERY', 'PURGE', 'M-SEARCH', 'TRACE', 'CONNECT'],
    ...['get', 'Get', 'FOO', 'GE T', 'G\0T', '', ' GET', 'GET\t', 'GETS', 'PRI', '\x16\x03\x01'],
  ]);
  const isRefusedLate = ['PUT', 'PATCH', 'OPTIONS', 'PROPFIND', 'QUERY', 'PURGE', 'M-SEARCH'].includes(text);
  if (isRefusedLate) return { text, flaw: refusedAs(`method ${text}`, [405], 'may') };
  const statuses = text === 'TRACE' ? [405] : text === 'CONNECT' ? [400, 405] : [400];
  return { text, flaw: refusedAs(`method ${JSON.stringify(text)}`, statuses, 'must') };
}

function writeVersion(random: Random, isFlawed: boolean): Written {
  if (!isFlawed) return { text: random.percent(95) ? 'HTTP/1.1' : 'HTTP/1.0', flaw: null };
  const odd = [
    'HTTP/0.9',
    'HTTP/1.2',
    'HTTP/2.0',
    'HTTP/1.10',
    'http/1.1',
    'HTTP/11',
    'HTTP/1.1 x',
    'HTTP/1,1',
    'ICE/1.0',
  ];
  const text = random.pick([...odd, 'HTTP/1.1\rx: 1', '']);
  return { text, flaw: refusedAs(`version ${JSON.stringify(text)}`, [400], 'must') };
}

function writeHost(random: Random, isFlawed: boolean): { readonly lines: string[]; readonly flaw: Flaw | null } {
  if (!isFlawed) {
    return {
      lines: [`${random.pick(['host', 'Host', 'HOST'])}: ${random.pick(['a', 'API.example:443', '[::1]:80'])}`],
      flaw: null,
    };
  }
  const lines = random.pick<string[]>([
    ['host: a', 'host: a'],
    ['Host: a', 'host: b'],
    ['host:'],
    ['host: u@a'],
    ['host: a/b'],
    ['host: a, b'],
    ['host: a b'],
    ['host: a:99999999'],
    ['host: \xe4'],
  ]);
  return { lines, flaw: refusedAs(lines.join(' + '), [400], 'must') };
}

type Asked = { readonly method: string; readonly path: string; readonly isFlawed: boolean };

function writeCredentials(
  random: Random,
  wallet: Wallet,
  { method, path, isFlawed }: Asked,
): { readonly lines: string[]; readonly flaw: Flaw | null } {
  const fields = (
    kind: TokenKind,
    { scheme = 'DPoP', ...proof }: { scheme?: string; method?: string; path?: string; isForeign?: boolean } = {},
  ) => {
    const token = wallet.token(kind);
    const name = random.pick(['authorization', 'Authorization', 'AUTHORIZATION']);
    return [
      `${name}: ${scheme} ${token}`,
      `${random.pick(['dpop', 'DPoP', 'Dpop'])}: ${wallet.proof({ method, path, token, ...proof })}`,
    ];
  };
  if (!isFlawed) {
    return { lines: fields('good', { scheme: random.pick(['DPoP', 'DPoP', 'dpop', 'DPOP', 'DPoP  ']) }), flaw: null };
  }
  const [first = '', second = ''] = fields('good');
  const [what, lines, statuses] = random.pick<[string, string[], number[]]>([
    ['no credentials', [], [401]],
    ['a token without a proof', [first], [401]],
    ['a proof without a token', [second], [401]],
    ['a proof for another path', fields('good', { path: `${path}x` }), [401]],
    ['a proof for another method', fields('good', { method: `${method}X` }), [401]],
    ['a proof by another key', fields('good', { isForeign: true }), [401]],
    ['a bound token as Bearer', fields('good', { scheme: 'Bearer' }), [401]],
    ['an unbound token', fields('unbound'), [401]],
    ['an expired token', fields('expired'), [401]],
    ['a token for another API', fields('foreign-audience'), [401]],
    ['a token of another issuer', fields('foreign-issuer'), [401]],
    ['a token without scope', fields('no-scope'), [403]],
    ['another scheme', fields('good', { scheme: 'Basic' }), [401]],
    ['two tokens', [first, second, first], [400]],
    ['two proofs', [first, second, second], [401]],
    ['two proofs in one field', [first, `${second}, ${second.slice(6)}`], [401]],
    ['a tab after the scheme', [first.replace('DPoP ', 'DPoP\t'), second], [400, 401]],
    ['a cut token', [first.slice(0, -3), second], [401]],
    ['rubbish for a proof', [first, `dpop: ${random.text('eyJ.-_A09=', random.below(80))}`], [401]],
    ['rubbish for a token', [`authorization: DPoP ${random.text('eyJ.-_A09', random.between(1, 80))}`, second], [401]],
  ]);
  return { lines, flaw: refusedAs(what, statuses, 'may') };
}

/** A whole request, good in itself, that stands in another's body and must never be seen by anybody. */
function smuggledRequest(wallet: Wallet, marker: string): string {
  const path = `/api/smuggled-${marker}`;
  const token = wallet.token('good');
  const proof = wallet.proof({ path, method: 'GET', token });
  return `GET ${path} HTTP/1.1\r\nhost: a\r\nauthorization: DPoP ${token}\r\ndpop: ${proof}\r\n\r\n`;
}
