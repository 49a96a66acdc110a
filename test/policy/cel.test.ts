import { describe, expect, it } from 'vitest';
import { isProblem } from '../../src/policy/expression.ts';
import { type Asked, compile, compiled, contextWith, evaluated } from './exchanges.ts';

function problemOf(source: string, type: 'bool' | 'string' | 'int' = 'bool') {
  const result = compile(source, type);
  if (!isProblem(result)) throw new TypeError(`compiles: ${source}`);
  return result;
}

const claims = (members: Record<string, unknown>): Asked => ({ token: { claims: members } });

describe('compile', () => {
  it('says what an expression reads, two names deep', () => {
    const { reads } = compiled(
      'rate.calls_per_minute > 6 && request.headers["x"] == jwt.sub && "s" in token["scopes"] && now > token.issued_at',
    );
    expect(reads).toEqual(
      new Set(['rate.calls_per_minute', 'request.headers', 'jwt', 'token.scopes', 'now', 'token.issued_at']),
    );
  });

  it('says which scopes an expression tests for', () => {
    expect(compiled('"a" in token.scopes && ("b" in token.scopes || "c" in token.aud)').scopeLiterals).toEqual([
      'a',
      'b',
    ]);
  });

  it.each([
    ['request.metod == "GET"', 8, 'method'],
    ['"a" in requests.headers', 7, 'request'],
    ['request.method == "GET" && rate.call_per_minute > 1', 32, 'calls_per_minute'],
    ['has(token.acrs)', 10, 'acr'],
    ['act.chain.exists(link, link.sbu == "x")', 28, 'sub'],
    ['act.chain.exists(link, has(link.sbu))', 32, 'sub'],
    ['request.path.startswith("/a")', 13, 'startsWith'],
    ['scopeLimits(token.scopes, "a") > 1', 0, 'scopeLimit'],
    ['request["metod"] == "GET"', 8, 'method'],
  ])('refuses the misspelling in %s and names the nearest', (source, offset, nearest) => {
    expect(problemOf(source)).toMatchObject({ offset, hint: expect.stringContaining(nearest) });
  });

  it.each([
    ['', 0],
    ['request.method ==', 17],
    ['request.method == 1', 0],
    ['request.method', 0],
    ['token.claims.admin', 0],
    ['(request.method', 15],
    ['"a" == "b', 7],
    ['99999999999999999999 > 1', 0],
    ['rate.calls_per_minute > 1.0 && rate.calls_per_minute == 1.0', 31],
  ])('refuses %s', (source, offset) => {
    expect(problemOf(source)).toMatchObject({ offset, message: expect.any(String) });
  });

  it('refuses a result of another type than asked for', () => {
    expect(problemOf('agent.id', 'int').message).toContain('string');
    expect(compiled('agent.id', 'string').evaluate(contextWith())).toBe('agent-7');
    expect(compiled('request.method == "POST" ? 5 : 1', 'int').evaluate(contextWith())).toBe(1n);
  });

  it('gives rate exactly the declared meters', () => {
    expect(evaluated('rate.calls_per_minute > 60', {}, { calls_per_minute: 61, spend_per_day: 0 })).toBe(true);
    expect(evaluated('rate.calls_per_minute > 60', {}, { calls_per_minute: 60, spend_per_day: 0 })).toBe(false);
    expect(problemOf('rate.other > 1').hint).toContain('calls_per_minute');
  });
});

describe('evaluate', () => {
  it.each([
    ['request.method == "GET" && request.url_path.startsWith("/repos/")', true],
    ['request.path == "/repos/postern?tag=a%20b&tag=c" && request.url_path == "/repos/postern"', true],
    ['request.query["tag"] == ["a b", "c"]', true],
    ['"x-team" in request.headers && request.headers["x-team"] == "blue, red"', true],
    ['request.headers.exists(name, request.headers[name].contains("blue"))', true],
    ['{"GET": "repo:read", "POST": "repo:write"}[request.method] in token.scopes', true],
    ['request.method in {"GET": true}', true],
    ['request.url_path.split("/")[2] == "postern"', true],
    ['size(token.scopes) == 2 && token.scopes.size() == 2 && "é😀".size() == 2', true],
    ['token.scopes.filter(s, s.startsWith("repo:")) == ["repo:read"]', true],
    ['token.scopes.map(s, s + "!") == ["openid!", "repo:read!"]', true],
    ['token.scopes.exists_one(s, s == "openid")', true],
    ['token.age == 90 && now - token.issued_at == duration("90.5s")', true],
    ['now == timestamp("2026-11-30T12:00:00Z") && now.getHours() == 12 && now.getDayOfWeek() == 1', true],
    ['now < token.expires_at && token.expires_at - now <= duration("1h")', true],
    ['request.url_path.matches("^/repos/[a-z]+$") && !request.url_path.matches("secret")', true],
    ['"ÀbC".lowerAscii() == "Àbc" && "\\u212a".lowerAscii() != "k"', true],
    ['cidr("10.0.0.0/8").contains(source.address) && !cidr("10.0.0.0/16").contains(source.address)', true],
    ['int("12") == 12 && int(3.9) == 3 && double("1.5") == 1.5 && string(12) == "12"', true],
    ['route.name == "github" && route.upstream == "https://api.example.com/v3"', true],
    ['pop.method == "dpop" && pop.proof_age == 2 && pop.nonce && !pop.body_bound && !has(pop.x5t)', true],
    ['agent.id == "agent-7" && subject.id == "alice" && connection.mtls == false', true],
  ])('%s', (source, expected) => {
    const asked = { query: 'tag=a%20b&tag=c', fields: { 'x-team': ['blue', 'red'] } };
    expect(evaluated(source, asked)).toBe(expected);
  });

  it('compares JSON numbers with ints and doubles by value', () => {
    const asked = claims({ level: 3, ratio: 2.5 });
    for (const source of [
      'token.claims.level >= 3',
      'token.claims.level == 3',
      'token.claims.level == 3.0',
      '3 == token.claims.level',
      'token.claims.level in [1, 3]',
      'token.claims.level < 4 && token.claims.level > 2.5',
      'int(token.claims.level) + 1 == 4',
      'token.claims.ratio > 2 && token.claims.ratio < 3',
    ]) {
      expect([source, evaluated(source, asked)]).toEqual([source, true]);
    }
  });

  it('finds values of any type in lists of claims', () => {
    const asked = claims({ mixed: [1, 'a', true, { b: ['c'] }] });
    expect(evaluated('"a" in token.claims.mixed && 1 in token.claims.mixed', asked)).toBe(true);
    expect(evaluated('"b" in token.claims.mixed', asked)).toBe(false);
    expect(evaluated('token.claims.mixed[3].b[0] == "c"', asked)).toBe(true);
    expect(evaluated('token.claims.mixed == jwt.mixed', asked)).toBe(true);
  });

  it('takes null members of claims for absent', () => {
    expect(evaluated('has(token.claims.tier)', claims({ tier: null }))).toBe(false);
    expect(evaluated('has(jwt.tier) && jwt.tier == "gold"', claims({ tier: 'gold' }))).toBe(true);
  });

  it('matches authorization details', () => {
    const asked = claims({ authorization_details: [{ type: 'payment', actions: ['execute'] }] });
    const source = 'token.authorization_details.exists(d, d.type == "payment" && d.actions.exists(a, a == "execute"))';
    expect(evaluated(source, asked)).toBe(true);
    expect(evaluated(source, claims({}))).toBe(false);
  });

  it('reads the largest limit that a scope grants', () => {
    const scopes = ['pay:under-50', 'pay:under-100.5', 'pay:under-x', 'pay:under-1e9', 'pay:under-'];
    expect(evaluated('scopeLimit(token.scopes, "pay:under-") == 100.5', { token: { scopes } })).toBe(true);
    const source = 'scopeLimit(token.scopes, "pay:under-") >= 0';
    expect(() => evaluated(source, { token: { scopes: ['pay:under-x'] } })).toThrow('scopeLimit');
  });

  it.each([
    ['request.headers["x-missing"] == "a"'],
    ['token.acr == "phr"'],
    ['token.claims.missing == "a"'],
    ['has(token.claims.missing.deeper)'],
    ['token.scopes[7] == "a"'],
    ['token.claims.text >= 3'],
    ['token.claims.text && request.method == "GET"'],
    ['token.claims.text.exists(x, true)'],
    ['1 / (rate.calls_per_minute - rate.calls_per_minute) == 1'],
    ['9223372036854775807 + rate.calls_per_minute > 0'],
    ['int(token.claims.empty) < 100'],
    ['int(token.claims.huge) < 100'],
    ['double(token.claims.hex) > 1.0'],
    ['cidr("10.0.0.0/8").contains(token.claims.text)'],
    ['token.claims.long.matches("a")'],
    ['"a/b".split(token.claims.empty) == ["a"]'],
    ['request.headers.all(name, token.claims.missing)'],
    ['!(token.claims.missing == 1)'],
    ['token.claims.missing == 1 || request.method == "POST"'],
    ['token.claims.missing == 1 ? true : true'],
  ])('throws for %s', (source) => {
    const asked = {
      fields: { a: ['1'] },
      ...claims({ text: 'secret-value', empty: '', huge: 1e300, hex: '0x10', long: 'a'.repeat(2049) }),
    };
    expect(() => evaluated(source, asked, { calls_per_minute: 1, spend_per_day: 0 })).toThrow(
      expect.objectContaining({ code: 'expression_failed' }),
    );
  });

  it.each([
    ['token.claims.missing == 1 || request.method == "GET"', true],
    ['request.method == "GET" || token.claims.missing == 1', true],
    ['token.claims.missing == 1 && request.method == "POST"', false],
    ['[token.claims, token.claims].exists(c, c.missing == 1 || true)', true],
    ['["a", "b"].exists(x, x == "b" || token.claims.missing == x)', true],
    ['["a", "b"].all(x, x != "b" && token.claims.missing == x)', false],
  ])('lets an error pass in %s, as CEL does', (source, expected) => {
    expect(evaluated(source)).toBe(expected);
  });

  it('keeps values of the request out of what it throws', () => {
    const asked = claims({ secret: 'hunter2', list: ['hunter2'] });
    for (const source of [
      'token.claims[token.claims.secret] == 1',
      'token.claims.secret > 3',
      'int(token.claims.secret) == 1',
      'request.headers[token.claims.secret] == ""',
      'cidr("10.0.0.0/8").contains(token.claims.secret)',
      'token.claims.list[token.claims.secret] == 1',
    ]) {
      try {
        evaluated(source, asked);
        expect.unreachable();
      } catch (fault) {
        expect(fault).toMatchObject({ code: 'expression_failed' });
        expect(fault).not.toHaveProperty('cause');
        expect(`${String(fault)}`).not.toContain('hunter2');
      }
    }
  });

  it('gives the same answer after an evaluation that failed inside a loop', () => {
    const expression = compiled('token.claims.list.exists_one(x, x.name == "a")');
    const good = contextWith(claims({ list: [{ name: 'a' }, { name: 'b' }] }));
    expect(expression.evaluate(good)).toBe(true);
    expect(() => expression.evaluate(contextWith(claims({ list: [{ name: 'a' }, {}] })))).toThrow();
    expect(expression.evaluate(good)).toBe(true);
  });
});

describe('address ranges', () => {
  const contains = (range: string, address: string) =>
    evaluated(`cidr("${range}").contains(source.address)`, { address });

  it.each([
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['10.0.0.0/8', '::ffff:10.0.0.1', true],
    ['10.0.0.0/8', '::ffff:a00:1', true],
    ['::ffff:10.0.0.0/104', '10.0.0.1', true],
    ['0.0.0.0/0', '::ffff:1.2.3.4', true],
    ['::/0', '1.2.3.4', false],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['2001:db8::/32', '2001:db8:1::', true],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['192.0.2.7', '192.0.2.7', true],
    ['192.0.2.7', '192.0.2.8', false],
  ])('cidr("%s") on %s is %s', (range, address, expected) => {
    expect(contains(range, address)).toBe(expected);
  });

  it.each([
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0/8',
    '::/129',
    'example.com',
    '10.0.0.0/8/8',
    '::ffff:10.0.0.0/8',
  ])('refuses cidr("%s") at load', (range) => {
    expect(problemOf(`cidr("${range}").contains(source.address)`)).toMatchObject({ offset: 5 });
  });

  it('refuses a range that is not a literal', () => {
    expect(problemOf('cidr(request.method).contains(source.address)')).toMatchObject({ offset: 5 });
  });
});

describe('literals of time', () => {
  it.each([
    'now > timestamp("2026-02-30T00:00:00Z")',
    'now > timestamp("2026-11-30T24:00:00Z")',
    'now > timestamp("2026-11-30 12:00:00Z")',
    'now > timestamp("2026-11-30T12:00:00")',
    'now > timestamp("Nov 30, 2026 12:00 GMT")',
    'now > timestamp(1)',
    'now > timestamp(request.method)',
    'now - now < duration("5 m")',
    'now - now < duration("")',
    'now - now < duration(request.method)',
  ])('refuses %s', (source) => {
    expect(problemOf(source).message).toMatch(/^(timestamp|duration)\(\)/);
  });

  it('takes an offset and a fraction of a second', () => {
    expect(evaluated('now == timestamp("2026-11-30T13:30:00.000+01:30")')).toBe(true);
  });
});
