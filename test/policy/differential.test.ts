import { isCelError, run } from '@bufbuild/cel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Context } from '../../src/policy/context.ts';
import { isProblem } from '../../src/policy/expression.ts';
import { type Asked, compile, contextWith } from './exchanges.ts';

/**
 * Well-typed expressions of the part of CEL that rules have, over variables that hold something, nothing or something
 * of an unexpected type. @bufbuild/cel, which passes 99% of CEL's conformance suite, says what each of them gives.
 */
const text = fc.constantFrom(
  '""',
  '"a"',
  '"GET"',
  '"repo:read"',
  '"é😀"',
  'request.method',
  'request.url_path',
  'token.sub',
);
const claim = fc.constantFrom(
  'token.claims.tier',
  'token.claims.level',
  'jwt.groups',
  'jwt.nested.deep',
  'jwt.missing',
);
const list = fc.constantFrom('token.scopes', 'token.aud', '["a", "GET"]', 'request.query["tag"]');
const dynamicList = fc.constantFrom('jwt.groups', 'jwt.mixed', 'jwt.empty');
const member = fc.constantFrom('has(token.claims.tier)', 'has(jwt.nested.deep)', 'has(jwt.missing)', 'has(token.acr)');
const comparison = fc.constantFrom('==', '!=', '<', '<=', '>', '>=');
const equality = fc.constantFrom('==', '!=');
const quantifier = fc.constantFrom('all', 'exists', 'exists_one');
const item = fc.constantFrom('i', 'j', 'k', 'l', 'm', 'n');
const pattern = fc.constantFrom('^a', 'T$', '[a-z]+', '(a|b)*c', '^$', '.');

const { bool } = fc.letrec<{ bool: string; int: string }>((tie) => ({
  int: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.integer({ min: -3, max: 9 }).map(String),
    fc.constantFrom('9223372036854775807', 'rate.calls_per_minute', 'token.age'),
    fc.tuple(tie('int'), fc.constantFrom('+', '-', '*', '/', '%'), tie('int')).map(([a, op, b]) => `(${a} ${op} ${b})`),
    fc.tuple(tie('bool'), tie('int'), tie('int')).map(([c, a, b]) => `(${c} ? ${a} : ${b})`),
    text.map((value) => `size(${value})`),
    list.map((value) => `${value}.size()`),
  ),
  bool: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom('true', 'false', 'subject.human'),
    member,
    fc.tuple(text, comparison, text).map(([a, op, b]) => `${a} ${op} ${b}`),
    fc.tuple(tie('int'), comparison, tie('int')).map(([a, op, b]) => `${a} ${op} ${b}`),
    fc
      .tuple(claim, equality, fc.oneof(text, claim, fc.constantFrom('3', '3.0', '2.5', 'true')))
      .map((all) => all.join(' ')),
    fc.tuple(claim, comparison, fc.constantFrom('3', '2.5', '"gold"')).map((all) => all.join(' ')),
    fc.tuple(text, list).map(([a, b]) => `${a} in ${b}`),
    fc.tuple(fc.oneof(text, fc.constantFrom('3', 'true')), dynamicList).map(([a, b]) => `${a} in ${b}`),
    fc.tuple(text, fc.constantFrom('token.claims', 'request.headers')).map(([a, b]) => `${a} in ${b}`),
    fc
      .tuple(text, fc.constantFrom('startsWith', 'endsWith', 'contains'), text)
      .map(([a, method, b]) => `${a}.${method}(${b})`),
    fc.tuple(text, pattern).map(([a, b]) => `${a}.matches("${b}")`),
    fc.tuple(list, quantifier, text).map(([a, name, b]) => `${a}.${name}(item, item == ${b})`),
    fc.tuple(dynamicList, quantifier, comparison).map(([a, name, op]) => `${a}.${name}(item, item ${op} "a")`),
    fc.tuple(list, item, tie('bool')).map(([a, i, b]) => `${a}.filter(${i}, ${i} != "a" && ${b}) == ["GET"]`),
    fc.tuple(list, item, tie('int')).map(([a, i, b]) => `${a}.map(${i}, ${b}) == [1, 2]`),
    fc.tuple(tie('bool'), fc.constantFrom('&&', '||'), tie('bool')).map(([a, op, b]) => `(${a} ${op} ${b})`),
    fc.tuple(tie('bool'), tie('bool'), tie('bool')).map(([c, a, b]) => `(${c} ? ${a} : ${b})`),
    tie('bool').map((a) => `!(${a})`),
  ),
}));

const asked: fc.Arbitrary<Asked> = fc.record({
  method: fc.constantFrom('GET', 'POST'),
  path: fc.constantFrom('/', '/repos/a', '/é'),
  query: fc.constantFrom(null, 'tag=a', 'tag=GET&tag=a'),
  fields: fc.constantFrom({}, { a: ['1'] }),
  token: fc.record({
    subject: fc.constantFrom('alice', 'a', 'GET'),
    acr: fc.constantFrom(null, 'phr'),
    scopes: fc.subarray(['a', 'GET', 'repo:read']),
    claims: fc.record(
      {
        tier: fc.constantFrom('gold', 'a', 3),
        level: fc.constantFrom(3, 2.5, '3', true),
        groups: fc.subarray(['a', 'GET', 'gold']),
        mixed: fc.constantFrom([], [3, 'a', true], ['a', 3], [true]),
        empty: fc.constant([]),
        nested: fc.constantFrom({}, { deep: 'a' }, { deep: 3 }),
      },
      { requiredKeys: [] },
    ),
  }),
});

/** The variables as the other engine takes them. */
function bindingsOf(context: Context): Record<string, Map<string, unknown>> {
  const names = ['request', 'token', 'subject', 'agent'] as const;
  const records = names.map((name) => {
    const members = Object.entries(context[name]).filter(
      ([, value]) => value !== undefined && !(value instanceof Date),
    );
    return [name, new Map<string, unknown>(members)] as const;
  });
  return { ...Object.fromEntries(records), jwt: new Map(context.jwt), rate: new Map(context.rate) };
}

describe('compile against @bufbuild/cel', () => {
  it('gives what the other engine gives, or fails where it fails', () => {
    let values = 0;
    let errors = 0;
    fc.assert(
      fc.property(bool, asked, (source, request) => {
        const expression = compile(source, 'bool');
        // A generated expression may be refused for its size, and for using the name of an item twice.
        if (isProblem(expression)) {
          expect(expression.message).toMatch(/nested|units|longer|names its item/);
          return;
        }
        const context = contextWith(request, { calls_per_minute: 3, spend_per_day: 0 });
        const expected = run(source, bindingsOf(context) as Parameters<typeof run>[1]);
        let actual: unknown;
        try {
          actual = expression.evaluate(context);
          values++;
        } catch {
          actual = 'error';
          errors++;
        }
        expect([source, actual]).toEqual([source, isCelError(expected) ? 'error' : expected]);
      }),
      { numRuns: 3000 },
    );
    expect(Math.min(values, errors)).toBeGreaterThan(300);
  });
});
