/** The dearest rules that load, each kind of work in turn, with requests made to be the worst for them. */

import type { Asked } from './exchanges.ts';

export type Dear = { readonly kind: string; readonly source: string; readonly asked: Asked };

const words = (count: number, chars: number, start = 'a') =>
  Array.from({ length: count }, (_, index) => start + 'a'.repeat(chars) + index);
const claims = (value: object): Asked => ({ token: { claims: { ...value } } });
const scopes = (list: readonly string[]): Asked => ({ token: { scopes: list } });
const body = (json: unknown): Asked => ({ heldBody: { isBound: false, json } });
const path = (text: string): Asked => ({ path: text });
const times = (count: number, part: (index: number) => string) => Array.from({ length: count }, (_, i) => part(i));

const fields = Object.fromEntries(words(250, 3).map((name) => [name, ['a'.repeat(55)]]));
/** As many values as a document may have, in as many lists as make the most turns. */
const lists = times(8, () => 'x').map(() => Array.from({ length: 250 }, () => 1));
const objects = times(256, () => 'x').map(() => ({ type: 'x', price: 1, name: 'a'.repeat(200) }));
const detail = { type: 'payment', actions: words(10, 3) };

export const dearest: readonly Dear[] = [
  {
    kind: 'a pattern on every scope',
    source: 'token.scopes.exists(s, s.matches("^repo:[a-z]+$"))',
    asked: scopes(times(200, () => `repo:${'a'.repeat(34)}1`)),
  },
  {
    kind: 'a pattern on a path',
    source: 'request.path.matches("(a+)+$")',
    asked: path(`/${'a'.repeat(2000)}b`),
  },
  {
    kind: 'a pattern with many states',
    source: 'request.path.matches("(a|b)*a(a|b){7}$")',
    asked: path(`/${times(2000, (i) => ((i * i) % 7 < 3 ? 'a' : 'b')).join('')}`),
  },
  {
    kind: 'patterns on parts of a path',
    source: 'request.path.split("/").exists(p, p.matches("^(a|aa)*(b|c)*d$"))',
    asked: path('/aaaaaaa'.repeat(255)),
  },
  {
    kind: 'errors over claims',
    source: 'jwt.groups.exists(g, g.startsWith("x"))',
    asked: claims({ groups: times(256, () => '').map(() => 1) }),
  },
  {
    kind: 'errors over a body',
    source: 'request.body.items.all(i, i.price < 100.0)',
    asked: body({ items: times(256, () => '').map(() => ({})) }),
  },
  {
    kind: 'errors in long rules',
    source: `request.headers.exists(n,${' '.repeat(3000)}request.headers["missing"] == n)`,
    asked: { fields },
  },
  {
    kind: 'errors one after another',
    source: times(150, (index) => `jwt.a${index} == "M"`).join(' || '),
    asked: claims({}),
  },
  {
    kind: 'authorization details',
    source: 'token.authorization_details.exists(d, d.type == "payment" && d.actions.exists(a, a == request.method))',
    asked: claims({ authorization_details: times(32, () => '').map(() => detail) }),
  },
  {
    kind: 'lists in a list',
    source: 'jwt.list.exists(a, a.exists(b, b == 2))',
    asked: claims({ list: lists }),
  },
  {
    kind: 'every header field',
    source: 'request.headers.exists(n, request.headers[n].contains("b"))',
    asked: { fields },
  },
  {
    kind: 'every value of a query',
    source: 'request.query.exists(k, request.query[k].exists(v, v == "x"))',
    asked: { query: words(256, 3).join('=1&') },
  },
  { kind: 'text in a path', source: 'request.path.contains("admin")', asked: path('/admi'.repeat(3200)) },
  {
    kind: 'long text in a path',
    source: 'request.path.contains(request.headers["x"])',
    asked: { path: 'a'.repeat(16_000), fields: { x: [`${'a'.repeat(4000)}b${'a'.repeat(4000)}`] } },
  },
  {
    kind: 'text in a body',
    source: 'request.body.text.contains("admin")',
    asked: body({ text: 'admi'.repeat(16_000) }),
  },
  {
    kind: 'a body in lower case',
    source: 'request.body.text.lowerAscii() == "x"',
    asked: body({ text: `${'Aa'.repeat(30_000)}\u4e00` }),
  },
  { kind: 'the length of a body', source: 'request.body.text.size() > 9', asked: body({ text: 'a'.repeat(65_000) }) },
  {
    kind: 'two documents compared',
    source: 'jwt.list == token.claims.other',
    asked: claims({ list: lists.slice(4), other: lists.slice(4) }),
  },
  {
    kind: 'a document in a list',
    source: 'jwt.one in jwt.list',
    asked: claims({ one: { type: 'x', price: 1, name: 'b' }, list: objects.slice(0, 200) }),
  },
  {
    kind: 'several tests of each scope',
    source: 'token.scopes.all(s, s != "x" && !s.contains("zz") && s.size() < 200)',
    asked: scopes(words(256, 25)),
  },
  {
    kind: 'a limit in scopes',
    source: 'scopeLimit(token.scopes, "pay:") > 999.0',
    asked: scopes(times(256, (index) => `pay:${index}`)),
  },
  {
    kind: 'a long list of methods',
    source: `request.method in [${words(250, 4).map((word) => `"${word}"`)}]`,
    asked: {},
  },
  { kind: 'many comparisons', source: times(120, (index) => `request.method == "M${index}"`).join(' || '), asked: {} },
  {
    kind: 'many times',
    source: times(60, (index) => `now - token.issued_at < duration("-${index}s")`).join(' || '),
    asked: {},
  },
];
