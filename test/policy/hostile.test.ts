import { describe, expect, it } from 'vitest';
import { documentNodesMax, expressionCostMax } from '../../src/policy/bounds.ts';
import { isProblem } from '../../src/policy/expression.ts';
import { type Asked, compile, compiled, contextWith, evaluated } from './exchanges.ts';

describe('reaching for the runtime', () => {
  it.each([
    'request.constructor == 1',
    'request["constructor"] == 1',
    'request.__proto__ == 1',
    'request[request.method] == 1',
    'has(request.constructor)',
    'has(request.__proto__)',
    'has(request.method.length)',
    'has(token.scopes.length)',
    'request.headers.constructor == request.headers.constructor && has(request.headers.get.call)',
    'rate.get == 1',
    'rate.size == 1',
    'act.chain.exists(a, a.constructor == 1)',
    'act.chain[0].__proto__ == 1',
    'now.__proto__ == 1',
    'now.constructor == 1',
    'now["getTime"] == 1',
    'has(now.__proto__)',
    '[now][0].__proto__ == 1',
    '[now].exists(t, t.__proto__ == 1)',
    '[now].exists(t, has(t.__proto__))',
    '{"a": now}["a"].__proto__ == 1',
    '(true ? now : token.claims.x).__proto__ == 1',
    '(true ? [now] : token.claims.x)[0].__proto__ == 1',
    '([now] + token.claims.x).exists(t, t.__proto__ == 1)',
    '(token.claims.x + [now]).exists(t, t[token.claims.k] == 1)',
    '(true ? request.time : jwt.x)[jwt.k] == 1',
    'duration("1s").seconds == 1',
    'cidr("10.0.0.0/8").constructor == 1',
    'cidr("10.0.0.0/8").includes("10.0.0.1")',
    'google.protobuf.Timestamp == google.protobuf.Timestamp',
    'type(request.method) == string',
    'dyn(request).method == "GET"',
    'dyn(now).__proto__ == 1',
    'string == string',
    'this.process == 1',
    'process.env.HOME == "/root"',
    'globalThis == 1',
    'cel.bind(x, request, x.method == "GET")',
    'cel == cel',
    'optional.of(1).hasValue()',
    'request.?method.orValue("") == "GET"',
    'request.all(name, true)',
    '[request].exists(r, r.method == "GET")',
    'request.method.checked_size() == 3',
    'checked_size(request.method) == 3',
    'request.method.trim() == "GET"',
    '["a"].join(",") == "a"',
    'bytes("a") == b"a"',
    'b"a" == b"a"',
    '1u == 1u',
    'uint(1) == 1u',
    'token.claims.x == null',
    '{"__proto__": 1}["__proto__"] == 1',
    '{"constructor": 1}["constructor"] == 1',
    '{request.method: 1}["GET"] == 1',
    '{"a": 1, "a": 2}["a"] == 1',
    '{"a": 1} == token.claims.x',
    '{1: "a"}[1] == "a"',
    'token.scopes.exists(request, true)',
    'token.scopes.exists(s, token.scopes.exists(s, true))',
    'token.scopes.exists(s.t, true)',
    'token.scopes.exists(s)',
    'now.getHours("Europe/Berlin") == 1',
  ])('refuses %s', (source) => {
    expect(isProblem(compile(source, 'bool'))).toBe(true);
  });

  it('finds nothing of the runtime behind names in untrusted maps', () => {
    for (const name of ['constructor', '__proto__', 'toString', 'get', 'size', 'hasOwnProperty', 'length']) {
      expect([name, evaluated(`has(token.claims.${name})`)]).toEqual([name, false]);
      expect([name, evaluated(`"${name}" in token.claims || "${name}" in request.headers`)]).toEqual([name, false]);
      expect(() => evaluated(`token.claims.inner["${name}"] == 1`, { token: { claims: { inner: {} } } })).toThrow();
      expect(() => evaluated(`token.claims.list["${name}"] == 1`, { token: { claims: { list: [] } } })).toThrow();
      expect(() => evaluated(`token.claims.text["${name}"] == 1`, { token: { claims: { text: 'x' } } })).toThrow();
    }
  });

  it('reads members that are named like parts of the runtime as what they are', () => {
    const claims = JSON.parse('{"constructor": "c", "__proto__": {"x": "p"}, "get": 1}');
    const source = 'token.claims.constructor == "c" && token.claims["__proto__"].x == "p" && token.claims.get == 1';
    expect(evaluated(source, { token: { claims } })).toBe(true);
  });

  it('runs no getter of claims twice and keeps no object of them', () => {
    const claims = { list: [{ a: 1 }] };
    const context = contextWith({ token: { claims } });
    claims.list[0] = { a: 2 };
    expect(compiled('token.claims.list[0].a == 1').evaluate(context)).toBe(true);
  });
});

describe('expressions made to be slow', () => {
  const nested = (text: string, count: number) => text.repeat(count);

  it.each([
    ['parentheses', `${nested('(', 500)}true${nested(')', 500)}`],
    ['negations', `${nested('!', 4000)}true`],
    ['minus signs', `${nested('-', 4000)}1 == 1`],
    ['indexes', `token.claims${nested('[0]', 1000)} == 1`],
    ['fields', `token.claims${nested('.a', 1000)} == 1`],
    ['ternaries', `${nested('true ? ', 500)}true${nested(' : true', 500)}`],
    ['lists', `${nested('[', 500)}1${nested(']', 500)} == 1`],
    [
      'loops',
      `${[...'abcdefgh'].map((v) => `[1].all(${v}, `).join('')}true${nested(')', 8)}${nested(' || true', 600)}`,
    ],
    ['the right side', `${nested('true || (', 400)}true${nested(')', 400)}`],
    ['length', `"${nested('a', 4096)}" == ""`],
    ['a list literal', `1 in [${nested('1,', 300)}1]`],
  ])('refuses too much of %s', (_, source) => {
    expect(isProblem(compile(source, 'bool'))).toBe(true);
  });

  it('takes a long chain of one operator', () => {
    const source = Array.from({ length: 100 }, (_, index) => `request.method == "M${index}"`).join(' || ');
    expect(evaluated(source, { method: 'M99' })).toBe(true);
  });

  it.each([
    ['token.scopes.all(a, token.aud.all(b, a != b))'],
    ['token.scopes.map(a, token.scopes.map(b, a + b)).size() > 1'],
    ['token.claims.list.exists(a, token.claims.list.exists(b, a == b))'],
    ['request.headers.exists(a, request.headers.exists(b, request.headers[a] == request.headers[b] && a != b))'],
    ['[jwt.a, jwt.a, jwt.a].exists(x, x.exists(y, y.exists(z, z == 1)))'],
    ['jwt.list.exists(k, jwt.list[k].exists(x, x == 1))'],
    ['request.url_path.split("/").exists(p, request.url_path.split("/").exists(q, p == q))'],
    ['request.path.matches("(\\\\pL{31}){32}")'],
    ['request.headers.exists(a, request.path.matches("^(a|b)*c$"))'],
    ['token.scopes.exists(s, (request.path + request.path).contains(s))'],
    [`[${Array.from({ length: 50 }, (_, i) => i)}].exists(i, token.scopes.exists(s, token.claims.missing == s))`],
  ])('refuses %s for its cost', (source) => {
    expect(compile(source, 'bool')).toMatchObject({ message: expect.stringContaining('units') });
  });

  it.each(['(a+', 'a{1001}', '(?<=a)b', '\\\\1', '(a{500}){500}', 'a'.repeat(513)])(
    'refuses the pattern %s at load',
    (pattern) => {
      expect(compile(`request.path.matches("${pattern}")`, 'bool')).toMatchObject({
        offset: 21,
        message: expect.stringContaining('matches()'),
      });
    },
  );

  it('refuses a pattern that the request could choose', () => {
    expect(isProblem(compile('request.path.matches(request.headers["x"])', 'bool'))).toBe(true);
    expect(isProblem(compile('request.path.matches("a" + "b")', 'bool'))).toBe(true);
  });
});

/** CPU milliseconds of one evaluation, the best of a few. */
function cpuMs(source: string, asked: Asked): number {
  const expression = compiled(source);
  expect(expression.cost).toBeLessThanOrEqual(expressionCostMax);
  const context = contextWith(asked);
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const before = process.cpuUsage();
    try {
      expression.evaluate(context);
    } catch {
      // What is measured is how long it takes, whether it ends in a value or an error.
    }
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, (user + system) / 1000);
  }
  return best;
}

describe('the worst request for a rule that loads', () => {
  const words = (count: number, chars: number) => Array.from({ length: count }, (_, i) => `${'a'.repeat(chars)}${i}`);
  const nestedList = Array.from({ length: 8 }, () =>
    Array.from({ length: Math.floor(documentNodesMax / 8) - 3 }, () => 1),
  );
  const many = Object.fromEntries(words(250, 3).map((name) => [name, ['a'.repeat(60)]]));

  // The cost cap stands for 10 ms. Five times that still shows that no rule takes longer than its cap says it may.
  it.each<[string, Asked]>([
    ['request.path.matches("(a+)+$")', { path: `/${'a'.repeat(2000)}b` }],
    ['request.path.matches("^(a|aa)*(b|c)*d$")', { path: 'a'.repeat(2048) }],
    ['request.path.matches("(\\\\pL{10}){20}0")', { path: 'aé'.repeat(1000) }],
    [
      'request.path.contains(request.headers["x"])',
      { path: 'a'.repeat(8192), fields: { x: [`${'a'.repeat(4000)}b${'a'.repeat(4000)}`] } },
    ],
    ['token.scopes.all(s, s != "x" && !s.contains("zz") && s.size() < 200)', { token: { scopes: words(256, 100) } }],
    [
      'token.scopes.exists(s, request.path.contains(s))',
      { path: 'a'.repeat(8192), token: { scopes: words(256, 100).map((scope) => `${scope}${'a'.repeat(50)}`) } },
    ],
    ['jwt.list.exists(a, a.exists(b, b == 2))', { token: { claims: { list: nestedList } } }],
    [
      'jwt.list == token.claims.other',
      { token: { claims: { list: nestedList.slice(4), other: nestedList.slice(4) } } },
    ],
    ['request.headers.exists(name, request.headers[name].contains("b"))', { fields: many }],
    ['request.headers.exists(name, request.headers["missing"] == name)', { fields: many }],
    [`request.headers.exists(name,${' '.repeat(200)}request.headers["missing"] == name)`, { fields: many }],
    ['request.headers.all(name, request.headers["missing"] == name || true)', { fields: many }],
    ['[1, 2, 3, 4].exists(i, request.headers.exists(name, request.headers["missing"] == name))', { fields: many }],
  ])('%s stays within its cost', (source, asked) => {
    expect(cpuMs(source, asked)).toBeLessThan(50);
  });
});
