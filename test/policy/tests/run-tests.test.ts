import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { percentOf } from '../../../src/policy/tests/coverage.ts';
import { merge, runTests } from '../../../src/policy/tests/run-tests.ts';
import { mismatchesOf, planFor, runFiles, writeFiles } from './files.ts';

const rules = `rules:
  - { id: reads, when: 'request.method == "GET" && "read" in token.scopes', effect: allow, routes: [api] }
  - { id: nobody-deletes, when: 'request.method == "DELETE"', effect: deny, message: Nobody deletes. }
  - { id: login, when: 'request.url_path == "/keys"', effect: challenge, challenge: { maxAge: 5m } }
  - { id: often, when: 'rate.calls > 5', effect: throttle }
  - { id: fails, when: 'request.url_path == "/broken" && token.claims.absent == "x"', effect: deny }
  - { id: office, when: 'request.url_path == "/"', effect: deny, mode: shadow }
`;
const head = 'meters: [calls]\n';
const mismatches = (testCase: string) => mismatchesOf(rules, testCase, head);

describe('what a case expects', () => {
  it.each([
    ['allow', 'token: { scopes: [read] }', 'effect: allow, rule: reads'],
    [
      'deny',
      'request: { method: DELETE }',
      'effect: deny, reason: rule_denied, rule: nobody-deletes, message: Nobody deletes.',
    ],
    ['challenge', 'request: { path: /keys }', 'effect: challenge, reason: step_up_required, rule: login'],
    ['throttle', 'rate: { calls: 6 }', 'effect: throttle, reason: rate_limited, rule: often'],
    ['no rule', 'request: { method: PUT }', 'effect: deny, reason: no_matching_rule, rule: null'],
    ['a missing scope', 'token: { scopes: [] }', 'reason: scope_insufficient, rule: reads, scope: read'],
    ['a failed rule', 'request: { path: /broken }', 'reason: policy_error, rule: fails, matches: []'],
    ['what shadow rules would do', 'token: { scopes: [read] }', 'effect: allow, would: deny, matches: [reads, office]'],
    ['a target that is refused', 'request: { path: /a//b }', 'effect: deny, reason: target_ambiguous'],
    ['a match among others', 'token: { scopes: [read] }', 'matches: { include: [office], exclude: [often] }'],
  ])('is met: %s', async (_name, given, expected) => {
    expect(await mismatches(`    ${given}\n    expect: { ${expected} }\n`)).toEqual([]);
  });

  it('is each held apart, and each mismatch told with what was', async () => {
    const expected =
      'effect: deny, reason: rule_denied, rule: often, message: x, scope: y, would: allow, matches: [often]';
    const run = await runFiles({
      'x.yaml': rules,
      'x.test.yaml': `${head}cases:\n  - { name: n, token: { scopes: [read] }, expect: { ${expected} } }\n`,
    });
    expect(run.results[0]?.mismatches).toEqual([
      { what: 'effect', expected: 'deny', actual: 'allow' },
      { what: 'reason', expected: 'rule_denied', actual: null },
      { what: 'rule', expected: 'often', actual: 'reads' },
      { what: 'message', expected: 'x', actual: null },
      { what: 'scope', expected: 'y', actual: null },
      { what: 'would', expected: 'allow', actual: 'deny' },
      { what: 'matches', expected: ['often'], actual: ['reads', 'office'] },
    ]);
  });

  it.each([
    ['matches: { include: [often] }', 'matches, among others'],
    ['matches: { exclude: [office] }', 'matches, without'],
    ['matches: []', 'matches'],
  ])('is not met: %s', async (expected, what) => {
    expect(await mismatches(`    token: { scopes: [read] }\n    expect: { ${expected} }\n`)).toEqual([what]);
  });

  it('compares values of every type, and takes null for one that there is not', async () => {
    const values = `
        'scopeLimit(token.scopes, "pay:under-")': 100
        'token.scopes.filter(s, s.startsWith("pay"))': ["pay:under-100"]
        'request.query': { q: [x] }
        'now - token.issued_at': 60s
        'now': 2026-11-30T12:00:00Z
        'token.claims.absent': null
        'request.size > 0': false
`;
    const given = '    token: { scopes: ["pay:under-100"] }\n    request: { path: /?q=x }\n';
    expect(await mismatches(`${given}    expect:\n      values:${values}`)).toEqual([]);
    const wrong = values.replace('100\n', '101\n').replace('60s', '61s').replace('absent', 'iss').replace('[x]', '[y]');
    expect(await mismatches(`${given}    expect:\n      values:${wrong}`)).toEqual([
      'scopeLimit(token.scopes, "pay:under-")',
      'request.query',
      'now - token.issued_at',
      'token.claims.iss',
    ]);
  });

  it('tells why a rule or a value could not be evaluated', async () => {
    const run = await runFiles({
      'x.yaml': rules,
      'x.test.yaml': `${head}cases:
  - { name: n, request: { path: /broken }, expect: { effect: allow, values: { 'token.acr == "x"': true } } }\n`,
    });
    expect(run.results[0]?.failures).toMatchObject([{ rule: { id: 'fails' }, reason: expect.stringContaining('key') }]);
    expect(run.results[0]?.mismatches[1]?.actual).toMatch(/^no value: /);
  });
});

describe('what files give', () => {
  it('is the base of every case, which changes it field by field', () => {
    const base = {
      now: '+1h',
      route: 'api',
      token: { scopes: ['a'], acr: 'x', claims: { tier: 'gold', org: 'acme' } },
      request: { headers: { a: '1' }, body: { kept: false, other: 1 } },
    };
    const over = {
      name: 'n',
      expect: {},
      route: { audience: 'b' },
      token: { scopes: ['b'], acr: null, claims: { tier: 'red' } },
      request: { headers: { b: '2' }, body: { kept: true } },
    };
    expect(merge(base, over)).toEqual({
      now: '+1h',
      route: { name: 'api', audience: 'b' },
      token: { scopes: ['b'], acr: null, claims: { tier: 'red', org: 'acme' } },
      request: { headers: { a: '1', b: '2' }, body: { kept: true } },
    });
  });

  it('are tests of the rule file of the same name, else of the folder, else of what they name', async () => {
    const one = 'rules: [{ id: one, when: "true", effect: allow }]\n';
    const two = 'rules: [{ id: two, when: "true", effect: deny }]\n';
    const test = (text: string) => `${text}\ncases: [{ name: n, expect: { matches: { include: [] } } }]\n`;
    const run = await runFiles({
      'one.yaml': one,
      'two.yaml': two,
      'one.test.yaml': test(''),
      'all.test.yaml': test(''),
      'named.test.yaml': test('rules: [two.yaml]'),
    });
    const tested = run.results.map(({ file, decision }) => [
      file.replace(/^.*\//, ''),
      decision.matches?.map(({ id }) => id),
    ]);
    expect(Object.fromEntries(tested)).toEqual({
      'all.test.yaml': ['one', 'two'],
      'named.test.yaml': ['two'],
      'one.test.yaml': ['one'],
    });
  });

  it('can be named one by one, also by their rules', async () => {
    const folder = writeFiles({
      'x.yaml': rules,
      'x.test.yaml': `${head}cases: [{ name: n, expect: { effect: deny } }]`,
      'y.test.yaml': 'cases: [{ name: n, expect: { effect: deny } }]',
    });
    for (const path of ['x.yaml', 'x.test.yaml']) {
      const run = await runTests(planFor([join(folder, path)]));
      expect(run.results.map(({ file }) => file)).toEqual([join(folder, 'x.test.yaml')]);
    }
  });

  it('are filtered by the names of their cases', async () => {
    const cases = 'cases: [{ name: first one, expect: { effect: deny } }, { name: second, expect: { effect: deny } }]';
    const run = await runFiles({ 'x.yaml': rules, 'x.test.yaml': head + cases }, { filter: 'first' });
    expect(run.results.map(({ name }) => name)).toEqual(['first one']);
  });

  it('take their route from the configuration where there is one', async () => {
    const testFile = `${head}cases: [{ name: n, token: { scopes: [read] }, expect: { reason: no_route } }]`;
    const run = await runFiles(
      { 'x.yaml': rules, 'x.test.yaml': testFile },
      {
        declared: { routes: ['api'], meters: ['calls'] },
        matchRoute: () => ({ effect: 'deny', reason: 'no_route' }),
      },
    );
    expect(run.problems).toEqual([]);
    expect(run.results[0]?.mismatches).toEqual([]);
  });
});

describe('what is wrong with a test file', () => {
  const problemsOf = async (test: string, ruleText = rules) => {
    const run = await runFiles({ 'x.yaml': ruleText, 'x.test.yaml': test });
    return run.problems.map(
      ({ file, line, column, message }) => `${file.replace(/^.*\//, '')}:${line}:${column}: ${message}`,
    );
  };
  const inCase = (text: string) => `meters: [calls]\ncases:\n  - name: n\n    ${text}\n    expect: { effect: deny }\n`;

  it.each([
    ['an unknown variable', inCase('tokn: {}'), 'x.test.yaml:4:5: unknown key cases[0].tokn; did you mean "token"?'],
    [
      'an unknown field',
      inCase('token: { scope: [] }'),
      'x.test.yaml:4:14: unknown key cases[0].token.scope; did you mean "scopes"?',
    ],
    [
      'an unknown meter',
      inCase('rate: { cals: 1 }'),
      'x.test.yaml:4:13: unknown key cases[0].rate.cals; did you mean "calls"?',
    ],
    [
      'a wrong type',
      inCase('token: { age: soon }'),
      'x.test.yaml:4:19: cases[0].token.age must be of type number, not string',
    ],
    ['a wrong time', inCase('now: tomorrow'), 'x.test.yaml:4:10: cases[0].now must be a time'],
    ['a derived field', inCase('request: { url_path: /x }'), 'x.test.yaml:4:16: unknown key cases[0].request.url_path'],
    [
      'an unknown expectation',
      'meters: [calls]\ncases: [{ name: n, expect: { efect: deny } }]',
      'did you mean "effect"?',
    ],
    ['no expectation', 'meters: [calls]\ncases: [{ name: n, expect: {} }]', 'must expect something'],
    [
      'an unknown rule',
      'meters: [calls]\ncases: [{ name: n, expect: { rule: raeds } }]',
      'x.test.yaml:2:36: unknown rule raeds; did you mean reads?',
    ],
    [
      'an unknown rule among the matches',
      'meters: [calls]\ncases: [{ name: n, expect: { matches: [reads, oftn] } }]',
      'x.test.yaml:2:47: unknown rule oftn',
    ],
    [
      'a value of nothing known',
      'meters: [calls]\ncases: [{ name: n, expect: { values: { "tokn.iss": x } } }]',
      'x.test.yaml:2:40: values: unknown variable tokn; did you mean token?',
    ],
    ['no cases', 'meters: [calls]\n', 'cases is required'],
  ])('is told with its place: %s', async (_name, test, message) => {
    expect(await problemsOf(test)).toEqual([expect.stringContaining(message)]);
  });

  it('does not keep other files from being run', async () => {
    const run = await runFiles({
      'x.yaml': rules,
      'bad.test.yaml': 'rules: [x.yaml]\nmeters: [calls]\ncases: []',
      'x.test.yaml': `${head}cases: [{ name: n, expect: { effect: deny } }]`,
    });
    expect([run.problems.length, run.results.length]).toEqual([1, 1]);
  });

  it('is told once where several files are about the same faulty rules', async () => {
    const test = 'rules: [x.yaml]\ncases: [{ name: n, expect: { effect: deny } }]';
    const run = await runFiles({ 'x.yaml': rules, 'a.test.yaml': test, 'b.test.yaml': test });
    expect(run.problems.map(({ message }) => message)).toEqual([expect.stringContaining('unknown field rate.calls')]);
  });
});

describe('coverage', () => {
  it('is of rules seen matching and seen not matching', async () => {
    const cases = `cases:
  - { name: reads, token: { scopes: [read] }, request: { path: /x }, expect: { effect: allow } }
  - { name: fails, request: { path: /broken }, expect: { effect: deny } }
  - { name: deletes, request: { method: DELETE, path: /x }, expect: { effect: deny } }
`;
    const run = await runFiles({ 'x.yaml': rules, 'x.test.yaml': head + cases });
    expect(Object.fromEntries(run.coverage.map(({ id, matched, unmatched }) => [id, [matched, unmatched]]))).toEqual({
      reads: [1, 2],
      'nobody-deletes': [1, 2],
      login: [0, 3],
      often: [0, 3],
      // A rule whose evaluation failed was seen neither matching nor not matching.
      fails: [0, 2],
      office: [0, 3],
    });
    expect(percentOf(run.coverage)).toBeCloseTo((100 * 8) / 12);
  });

  it('does not count a rule of another route as seen', async () => {
    const cases = 'cases: [{ name: n, route: other, expect: { effect: deny } }]';
    const run = await runFiles({ 'x.yaml': rules, 'x.test.yaml': head + cases });
    expect(run.coverage.find(({ id }) => id === 'reads')).toMatchObject({ matched: 0, unmatched: 0 });
  });

  it('is nil for rule files that no test is about', async () => {
    const run = await runFiles({
      'x.yaml': 'rules: [{ id: x, when: "true", effect: allow }]',
      'x.test.yaml': 'cases: [{ name: n, expect: { effect: allow } }]',
      'y.yaml': 'rules:\n  - { id: y, when: "true", effect: allow }',
    });
    expect(run.coverage.map(({ id, line, matched, unmatched }) => [id, line, matched, unmatched])).toEqual([
      ['x', 1, 1, 0],
      ['y', 2, 0, 0],
    ]);
    expect(percentOf(run.coverage)).toBe(25);
  });
});

describe('a thousand cases', () => {
  it('run in little more than a second', async () => {
    const one =
      '  - { name: n, token: { scopes: [read] }, request: { path: /x }, expect: { effect: allow, rule: reads } }\n';
    const startedMs = performance.now();
    const run = await runFiles({ 'x.yaml': rules, 'x.test.yaml': `${head}cases:\n${one.repeat(1000)}` });
    expect(run.results.filter(({ mismatches: found }) => found.length === 0)).toHaveLength(1000);
    // Ten times what it takes on an idle core: shared machines are slow at times.
    expect(performance.now() - startedMs).toBeLessThan(5000);
  });
});
