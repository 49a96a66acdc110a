import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigurationFault, type Problem } from '../../src/errors.ts';
import { loadRules } from '../../src/policy/rule-files.ts';
import { compile } from './exchanges.ts';

let folder = '';
let count = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-rules-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** Writes files into a new folder and gives its path. */
async function written(files: Readonly<Record<string, string>>): Promise<string> {
  const root = join(folder, `case-${count++}`);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  return root;
}

const load = (...paths: string[]) => loadRules({ paths, routes: ['github', 'mail'], compile });

async function problemsOf(...paths: string[]): Promise<readonly Problem[]> {
  try {
    await load(...paths);
  } catch (fault) {
    if (fault instanceof ConfigurationFault) return fault.problems;
    throw fault;
  }
  throw new TypeError('the rules load');
}

/** The problems of one file; its path is left out of them. */
async function problemsIn(text: string): Promise<readonly Omit<Problem, 'file'>[]> {
  const file = join(await written({ 'a.yaml': text }), 'a.yaml');
  const problems = await problemsOf(file);
  expect(new Set(problems.map((problem) => problem.file))).toEqual(new Set([file]));
  return problems.map(({ line, column, message }) => ({ line, column, message }));
}

const rule = (id: string, more = '') => `  - id: ${id}\n    when: request.method == "GET"\n    effect: allow\n${more}`;
const file = (...rules: string[]) => `rules:\n${rules.join('')}`;

describe('loadRules', () => {
  it('tells of a file of the wrong shape what is wrong with its other rules, too', async () => {
    const misspelt = '  - id: b\n    when: "true"\n    efect: deny\n';
    const wrong = '  - id: a\n    when: request.metod == "GET"\n    routes: [gihub]\n    effect: allow\n';
    const problems = await problemsIn(file(rule('a'), wrong, misspelt));
    expect(problems.map(({ line, message }) => [line, message.split('\n')[0]])).toEqual([
      [11, 'unknown key rules[2].efect; did you mean "effect"?'],
      [5, expect.stringContaining('rule a is declared already')],
      [7, 'rule a: unknown route gihub; did you mean github?'],
      [6, 'rule a: unknown field request.metod; did you mean method?'],
    ]);
    expect(await problemsIn('rules: { a: 1 }\n')).toHaveLength(1);
  });

  it('reads a rule with everything', async () => {
    const root = await written({
      'a.yaml': `rules:
  - id: fresh-login
    description: Writes need a fresh login.
    routes: [mail, github]
    when: request.method == "POST" && (!has(token.acr) || rate.calls_per_minute > 3)
    effect: challenge
    message: Log in again.
    mode: shadow
    challenge: { acrValues: [phr, phrh], maxAge: 5m }
`,
    });
    const { rules, reads, hash } = await load(root);
    expect(rules).toMatchObject([
      {
        id: 'fresh-login',
        description: 'Writes need a fresh login.',
        routes: ['mail', 'github'],
        effect: 'challenge',
        message: 'Log in again.',
        mode: 'shadow',
        challenge: { acrValues: 'phr phrh', maxAgeSeconds: 300 },
      },
    ]);
    expect(reads).toEqual(new Set(['request.method', 'token.acr', 'rate.calls_per_minute']));
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
  });

  it('defaults to every route, enforced', async () => {
    const { rules } = await load(await written({ 'a.yaml': file(rule('a')) }));
    expect(rules).toMatchObject([{ routes: null, mode: 'enforce', challenge: null, message: undefined }]);
  });

  it('reads folders deeply in order of name, without tests, hidden entries and other files', async () => {
    const root = await written({
      'b.yaml': file(rule('from-b')),
      'a/z.yml': file(rule('from-a-z')),
      'a/deeper/y.yaml': file(rule('from-a-deeper')),
      'a/z.test.yaml': 'not: rules',
      'a/z.test.yml': 'not: rules',
      '.hidden/a.yaml': 'not: rules',
      '.a.yaml': 'not: rules',
      'README.md': 'not rules',
    });
    const { rules } = await load(join(root, 'b.yaml'), root);
    expect(rules.map(({ id }) => id)).toEqual(['from-b', 'from-a-deeper', 'from-a-z']);
  });

  it('reads a mounted ConfigMap, whose files are links into a hidden folder, once', async () => {
    const root = await written({ '..2026_11_30/a.yaml': file(rule('a')) });
    await symlink('..2026_11_30', join(root, '..data'));
    await symlink(join('..data', 'a.yaml'), join(root, 'a.yaml'));
    expect((await load(root)).rules.map(({ id }) => id)).toEqual(['a']);
  });

  it('hashes what decides, and nothing else', async () => {
    const hashOf = async (text: string) => (await load(await written({ 'a.yaml': text }))).hash;
    const base = await hashOf(file(rule('a'), rule('b')));
    expect(
      await hashOf(`# a comment\n${file(rule('a', '    description: Reads.\n'), rule('b', '    mode: enforce\n'))}`),
    ).toBe(base);
    for (const other of [
      file(rule('b'), rule('a')),
      file(rule('a'), rule('c')),
      file(rule('a'), rule('b', '    message: No.\n')),
      file(rule('a'), rule('b', '    mode: shadow\n')),
      file(rule('a'), rule('b', '    routes: [mail]\n')),
      file(rule('a'), rule('b')).replace('allow', 'deny'),
      file(rule('a'), rule('b')).replace('GET', 'PUT'),
    ]) {
      expect(await hashOf(other)).not.toBe(base);
    }
  });
});

describe('a rule set that is not good', () => {
  it('is refused with the problems of all files at once', async () => {
    const root = await written({
      'a.yaml': file(rule('a', '    efect: deny\n')),
      'b.yaml': 'rules: [',
      'c.yaml': file(rule('c').replace('request.method', 'request.metod')),
      'd.yaml': file(rule('d')),
    });
    const problems = await problemsOf(root, join(root, 'missing'));
    expect(problems.map((problem) => problem.file.slice(root.length + 1))).toEqual(
      expect.arrayContaining(['missing', 'a.yaml', 'b.yaml', 'c.yaml']),
    );
    expect(problems.map((problem) => problem.file)).not.toContain(join(root, 'd.yaml'));
  });

  it('names the nearest known key', async () => {
    expect(await problemsIn(file(rule('a', '    efect: deny\n')))).toEqual([
      { line: 5, column: 5, message: expect.stringMatching(/efect.*effect/) },
    ]);
  });

  it.each<[string, string, number, number]>([
    ['plain', '    when: request.metod == "GET"', 3, 19],
    ['single-quoted', `    when: 'token.sub == "it''s" && request.metod == "GET"'`, 3, 44],
    ['double-quoted', '    when: "token.sub == \\"\\u0061\\" && request.metod == \\"GET\\""', 3, 47],
    ['over several plain lines', '    when: token.sub == "a"\n      && request.metod == "GET"', 4, 18],
    ['a literal block', '    when: |\n      token.sub == "a"\n        && request.metod == "GET"', 5, 20],
    ['a folded block', '    when: >-\n      token.sub == "a"\n      && request.metod == "GET"', 5, 18],
  ])('points into an expression that is %s', async (_, when, line, column) => {
    const text = `rules:\n  - id: a\n${when}\n    effect: allow\n`;
    const [problem] = await problemsIn(text);
    expect(problem).toMatchObject({ line, column });
    const [, shown = '', caret = ''] = problem?.message.split('\n') ?? [];
    expect(shown.slice(caret.indexOf('^'))).toMatch(/^metod/);
  });

  it('shows no more of a long line than a terminal does', async () => {
    const long = Array.from({ length: 60 }, (_, index) => `token.sub == "${index}"`).join(' || ');
    const [problem] = await problemsIn(
      `rules:\n  - id: a\n    when: ${long} || request.metod == "a"\n    effect: allow\n`,
    );
    const [, shown = '', caret = ''] = problem?.message.split('\n') ?? [];
    expect(shown.length).toBeLessThan(120);
    expect(shown.slice(caret.indexOf('^'))).toMatch(/^metod/);
  });

  it.each<[string, string, number, RegExp]>([
    ['an expression that gives no bool', file(rule('a').replace(' == "GET"', '')), 3, /string.*bool/],
    [
      'an expression that costs too much',
      file(rule('a').replace(/when: .*/, 'when: token.aud.all(a, token.scopes.all(b, a != b))')),
      3,
      /units/,
    ],
    ['an expression that is too long', file(rule('a').replace('GET', 'G'.repeat(4096))), 3, /4096/],
    ['an unknown route', file(rule('a', '    routes: [githab]\n')), 5, /githab.*github/],
    ['no id', file(rule('a')).replace('id: a', 'mode: enforce'), 2, /id is required/],
    ['an id in capitals', file(rule('A')), 2, /lower-case/],
    ['an unknown effect', file(rule('a')).replace('allow', 'permit'), 4, /allow, deny, throttle, challenge/],
    [
      'a challenge block for another effect',
      file(rule('a', '    challenge: { maxAge: 5m }\n')),
      5,
      /effect: challenge/,
    ],
    ['a challenge without its block', file(rule('a')).replace('allow', 'challenge'), 2, /required/],
    [
      'a challenge that asks nothing',
      file(rule('a', '    challenge: {}\n')).replace('allow', 'challenge'),
      5,
      /acrValues/,
    ],
    [
      'an acr value with a quote',
      file(rule('a', `    challenge: { acrValues: ['a"b'] }\n`)).replace('allow', 'challenge'),
      5,
      /ASCII/,
    ],
    [
      'a max age of part of a second',
      file(rule('a', '    challenge: { maxAge: 500ms }\n')).replace('allow', 'challenge'),
      5,
      /seconds/,
    ],
    ['a message of several lines', file(rule('a', '    message: "a\\nb"\n')), 5, /one line/],
    ['a key that is there twice', file(rule('a', '    effect: deny\n')), 5, /unique/],
    ['an expression that is no text', file(rule('a').replace(/when: .*/, 'when: true')), 3, /string/],
    ['rules that are no list', 'rules: {}\n', 1, /array/],
    ['another key beside rules', 'rule: []\nrules: []\n', 1, /rule.*rules/],
    ['an unknown tag', file(rule('a').replace('id: a', 'id: !js a')), 2, /tag/],
  ])('is refused for %s', async (_, text, line, message) => {
    const problems = await problemsIn(text);
    expect(problems).toContainEqual(expect.objectContaining({ line, message: expect.stringMatching(message) }));
  });

  it('is refused for an id that another file uses too', async () => {
    const root = await written({ 'a.yaml': file(rule('a'), rule('b')), 'b.yaml': file(rule('c'), rule('b')) });
    expect(await problemsOf(root)).toMatchObject([
      {
        file: join(root, 'b.yaml'),
        line: 5,
        column: 9,
        message: expect.stringContaining(`${join(root, 'a.yaml')}:5`),
      },
    ]);
  });

  it('is refused where it is empty', async () => {
    const root = await written({ 'a.yaml': 'rules: []\n', 'notes.txt': 'x' });
    expect(await problemsOf(root)).toMatchObject([{ file: root, message: expect.stringContaining('no rules') }]);
    expect(await problemsOf(await written({ 'notes.txt': 'x' }))).toHaveLength(1);
  });

  it('is refused for a file over 1 MiB, unread', async () => {
    const root = await written({ 'a.yaml': `#${'x'.repeat(1_048_576)}\n${file(rule('a'))}` });
    expect(await problemsOf(root)).toEqual([{ file: join(root, 'a.yaml'), message: 'is larger than 1 MiB' }]);
  });

  it('is refused for aliases that multiply', async () => {
    const levels = Array.from(
      { length: 9 },
      (_, index) => `l${index + 1}: &l${index + 1} [${`*l${index}, `.repeat(9)}]`,
    );
    const problems = await problemsIn(`l0: &l0 [x]\n${levels.join('\n')}\n${file(rule('a'))}`);
    expect(problems).toHaveLength(1);
  });

  it('is refused where all rules together cost too much', async () => {
    const dear = '    when: token.scopes.exists(s, s.matches("^repo:[a-z]+$"))\n';
    const rules = Array.from({ length: 40 }, (_, index) => `  - id: r${index}\n${dear}    effect: allow\n`);
    const problems = await problemsIn(file(...rules));
    expect(problems).toMatchObject([{ message: expect.stringMatching(/together.*r0/) }]);
  });
});
