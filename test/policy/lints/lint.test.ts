import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { ConfigurationFault } from '../../../src/errors.ts';
import { createCompile } from '../../../src/policy/cel.ts';
import { isFeasible } from '../../../src/policy/lints/feasible.ts';
import { lintRules, lints } from '../../../src/policy/lints/lint.ts';
import { loadRules, ruleFaults } from '../../../src/policy/rule-files.ts';
import { compiled, contextWith } from '../exchanges.ts';

const root = resolve(import.meta.dirname, '../../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const all = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];
const routes = [
  { name: 'github', methods: ['GET', 'HEAD', 'POST'] },
  { name: 'orders', methods: all },
];
const meters = ['calls_per_minute', 'spend_per_day'];

type Rule = Readonly<Record<string, unknown>>;

function written(rules: readonly Rule[]): string {
  const file = join(mkdtempSync(join(tmpdir(), 'postern-lints-')), 'rules.yaml');
  writeFileSync(file, stringify({ rules }));
  return file;
}

/** Codes of what is found, with the rule: `never-matches a`. */
async function found(...rules: readonly Rule[]): Promise<readonly string[]> {
  const names = routes.map(({ name }) => name);
  const compile = createCompile({ meters });
  try {
    const ruleSet = await loadRules({ paths: [written(rules)], routes: names, compile });
    return lintRules({ ruleSet, routes }).map(({ lint, rule }) => `${lint} ${rule.id}`);
  } catch (fault) {
    if (!(fault instanceof ConfigurationFault)) throw fault;
    return fault.problems.map(({ code, rule }) => `${code ?? 'configuration'} ${rule ?? ''}`.trim());
  }
}

const rule = (id: string, effect: string, when: string, more: Rule = {}): Rule => ({ id, when, effect, ...more });

describe('the lints of README', () => {
  const rows = [...readme.matchAll(/^\| `([a-z-]+)` \| (error|warning) \| `(.+?)` \|/gm)].map(
    ([, lint = '', level = '', example = '']) => ({ lint, level, example: example.replaceAll('\\|', '|') }),
  );

  it('are all that there are, with their levels', () => {
    const stated = rows.map(({ lint, level }) => `${lint} ${level}`);
    const known = [
      ...['configuration', ...ruleFaults].map((code) => `${code} error`),
      ...lints.map((l) => `${l} warning`),
    ];
    expect(stated.toSorted()).toEqual(known.toSorted());
  });

  it.each(rows)('$lint is found in its example', async ({ lint, example }) => {
    const codes = await found(...(parse(example) as readonly Rule[]));
    // What makes others without effect is told of, too.
    expect(codes.at(-1)?.split(' ')[0]).toBe(lint);
  });
});

describe('rules as they are meant', () => {
  const quiet = async (...paths: readonly string[]) => {
    const ruleSet = await loadRules({ paths, routes: null, compile: createCompile({ meters }) });
    return lintRules({ ruleSet, routes }).map(({ lint, rule: { id } }) => `${lint} ${id}`);
  };

  it('are the shipped ones, of which none is warned about', async () => {
    expect(await quiet(join(root, 'rules'))).toEqual([]);
  });

  it('are the examples of README, of which none is warned about', async () => {
    const marked = [...readme.matchAll(/<!-- rules -->\n\n```yaml\n([\s\S]*?)```/g)].map(([, text = '']) => text);
    expect(marked.length).toBeGreaterThan(1);
    expect(await quiet(...marked.map((text) => written((parse(text) as { rules: readonly Rule[] }).rules)))).toEqual(
      [],
    );
  });

  it.each([
    [rule('a', 'deny', 'false', { mode: 'shadow' }), 'never-matches a'],
    [rule('a', 'allow', 'request.method == "GET"'), undefined],
    [rule('a', 'allow', 'request.method == "PUT"', { routes: ['github'] }), 'method-never-routed a'],
    [rule('a', 'allow', 'request.method == "PUT"'), 'open-write a'],
    [rule('a', 'allow', 'request.method == "PUT" && "w" in token.scopes'), undefined],
    [rule('a', 'allow', 'true', { mode: 'shadow' }), undefined],
    [rule('a', 'deny', 'true', { mode: 'shadow' }), undefined],
    [
      rule('a', 'deny', 'route.name == "orders" && request.method == "PUT"', { routes: ['github'] }),
      'method-never-routed a',
    ],
    [rule('a', 'throttle', '!(rate.calls_per_minute > 5) || rate.calls_per_minute > 5'), 'always-refuses a'],
  ])('%# are told from others', async (one, expected) => {
    expect(await found(one)).toEqual(expected === undefined ? [] : [expected]);
  });

  it('narrow an allow for writes: a deny, challenge or throttle that can match with it', async () => {
    const open = rule('a', 'allow', 'request.url_path.startsWith("/orders/")');
    expect(await found(open, rule('b', 'throttle', 'rate.calls_per_minute > 5'))).toEqual([]);
    expect(
      await found(open, rule('b', 'deny', 'request.method in ["PUT", "PATCH", "DELETE"] && token.age > 5')),
    ).toEqual(['open-write a']);
    expect(await found(open, rule('b', 'deny', 'token.age > 5', { mode: 'shadow' }))).toEqual(['open-write a']);
    expect(await found(open, rule('b', 'deny', 'request.url_path.startsWith("/users/")'))).toEqual(['open-write a']);
    expect(await found(open, rule('b', 'deny', 'token.age > 5', { routes: ['github'] }))).toEqual(['open-write a']);
  });

  it('have an effect where a stronger rule is not for all of their routes', async () => {
    const lock = rule('lock', 'deny', 'true', { routes: ['github'] });
    const reads = rule('reads', 'allow', '"r" in token.scopes');
    expect(await found(lock, reads)).toEqual(['always-refuses lock']);
    expect(await found(lock, { ...reads, routes: ['github'] })).toEqual(['always-refuses lock', 'no-effect reads']);
    expect(await found({ ...reads, routes: ['github'] }, lock)).toEqual(['no-effect reads', 'always-refuses lock']);
  });
});

const fields = { 'x-a': ['a'] };
const path = fc.constantFrom('request.method', 'request.url_path', 'request.headers["x-a"]');
const count = fc.constantFrom('rate.calls_per_minute', 'rate.spend_per_day', 'token.claims.level');
const word = fc.constantFrom('GET', 'POST', '/a', '/a/b', 'a', '');
const number = fc.constantFrom(-1, 0, 1, 2, 3);
const quoted = (text: string) => JSON.stringify(text);
const leaf = fc.oneof(
  fc.tuple(path, fc.constantFrom('==', '!='), word).map(([left, op, text]) => `${left} ${op} ${quoted(text)}`),
  fc
    .tuple(path, fc.array(word, { maxLength: 3 }))
    .map(([left, texts]) => (texts.length === 0 ? 'false' : `${left} in [${texts.map(quoted).join(', ')}]`)),
  fc
    .tuple(path, fc.constantFrom('startsWith', 'endsWith', 'contains'), word)
    .map(([left, name, text]) => `${left}.${name}(${quoted(text)})`),
  fc.tuple(count, fc.constantFrom('==', '!=', '<', '<=', '>', '>='), number).map((parts) => parts.join(' ')),
  fc.tuple(number, fc.constantFrom('<', '>='), count).map((parts) => parts.join(' ')),
  fc.constantFrom(
    'agent.registered',
    'agent.registered == true',
    'agent.registered != true',
    'has(token.claims.level)',
  ),
  fc.constantFrom('token.claims.level != true', 'token.claims.level == "x"', 'true', 'false'),
);
const { condition } = fc.letrec<{ condition: string }>((tie) => ({
  condition: fc.oneof(
    { maxDepth: 4, depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.array(tie('condition'), { minLength: 2, maxLength: 4 }).map((parts) => `(${parts.join(' && ')})`),
    fc.array(tie('condition'), { minLength: 2, maxLength: 3 }).map((parts) => `(${parts.join(' || ')})`),
    tie('condition').map((part) => `!(${part})`),
  ),
}));
const levels: readonly unknown[] = [undefined, -1, 0, 1, 1.5, 2, 3, 'x', true, false, Number.NaN];
const asked = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT'),
  path: fc.constantFrom('/a', '/a/b', '/c'),
  field: fc.constantFrom('a', '', 'GET', 'b'),
  level: fc.constantFrom(...levels),
  registered: fc.boolean(),
  calls: fc.integer({ min: 0, max: 3 }),
});

describe('a condition that is said to match never', () => {
  it('is met by no request', () => {
    let never = 0;
    fc.assert(
      fc.property(condition, fc.array(asked, { minLength: 12, maxLength: 12 }), (source, requests) => {
        const expression = compiled(source);
        if (isFeasible([expression.condition()])) return;
        never++;
        for (const { method, path: urlPath, field, level, registered, calls } of requests) {
          const claims = level === undefined ? {} : { level };
          const context = contextWith(
            { method, path: urlPath, fields: { ...fields, 'x-a': [field] }, token: { claims }, agent: { registered } },
            { calls_per_minute: calls, spend_per_day: 3 - calls },
          );
          let value: unknown;
          try {
            value = expression.evaluate(context);
          } catch {
            value = 'failed';
          }
          expect([source, value]).not.toEqual([source, true]);
        }
      }),
      { numRuns: 1500 },
    );
    expect(never).toBeGreaterThan(50);
  });

  it.each([
    'request.method == "GET" && request.method == "HEAD"',
    'request.method == "GET" && request.method != "GET"',
    'request.method in ["GET", "HEAD"] && request.method == "POST"',
    'request.method in ["GET"] && !(request.method == "GET")',
    'rate.calls_per_minute > 5 && rate.calls_per_minute < 3',
    'rate.calls_per_minute > 5 && 5 >= rate.calls_per_minute',
    'rate.calls_per_minute == 7 && rate.calls_per_minute < 7',
    'request.url_path.startsWith("/a/") && request.url_path.startsWith("/b/")',
    'request.url_path.startsWith("/a/") && request.url_path == "/b"',
    '"w" in token.scopes && !("w" in token.scopes)',
    '(request.method == "GET" || request.method == "HEAD") && request.method == "POST"',
    'agent.registered && agent.registered == false',
    'false || 1 == 2',
    'token.age > 5 && (token.age < 5 || token.age == -5)',
  ])('is %s', (source) => {
    expect(isFeasible([compiled(source).condition()])).toBe(false);
  });

  it.each([
    'request.method == "GET" || request.method == "HEAD"',
    'request.url_path.startsWith("/a") && request.url_path.startsWith("/a/b")',
    'token.claims.level != true && token.claims.level == "x"',
    'rate.calls_per_minute >= 5 && rate.calls_per_minute <= 5',
    'jwt.a.x == 1 && jwt.b.x == 2',
    'token.scopes.exists(s, s == "a") && token.scopes.exists(s, s == "b")',
    '!(token.claims.level > 1) && !(token.claims.level <= 1)',
  ])('is not %s', (source) => {
    expect(isFeasible([compiled(source).condition()])).toBe(true);
  });

  it('is not one that would take long to look through', () => {
    const parts = Array.from(
      { length: 24 },
      (_, i) => `(request.headers["a${i}"] == "x" || request.headers["a${i}"] == "y")`,
    );
    const startedMs = performance.now();
    expect(isFeasible([compiled(`${parts.join(' && ')} && request.headers["a23"] == "z"`).condition()])).toBe(false);
    const hard = parts.map((part, i) => `${part} && request.headers["a${i}"] != "x"`).join(' && ');
    expect(isFeasible([compiled(`${hard} && jwt.x == 1`).condition()])).toBe(true);
    expect(performance.now() - startedMs).toBeLessThan(5000);
  });
});
