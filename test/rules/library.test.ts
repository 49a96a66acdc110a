/** The shipped rules: each file with its tests and its page, by itself and together with all others. */

import { existsSync, globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { readingWithout } from '../../src/cli/policy.ts';
import { createCompile } from '../../src/policy/cel.ts';
import { isProblem } from '../../src/policy/expression.ts';
import { loadRules, type RuleSet } from '../../src/policy/rule-files.ts';
import { ruleFileSchema } from '../../src/policy/rule-schema.ts';
import { percentOf } from '../../src/policy/tests/coverage.ts';
import { runTests } from '../../src/policy/tests/run-tests.ts';

const root = resolve(import.meta.dirname, '../..');
const library = join(root, 'rules');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const files = globSync('*/*.yaml', { cwd: library })
  .filter((file) => !file.endsWith('.test.yaml'))
  .sort();
const pages = globSync('*/*.md', { cwd: library }).sort();
const pageOf = (file: string) => file.replace('.yaml', '.md');
const readPage = (file: string) => read(`rules/${pageOf(file)}`);

const meters = ['calls_per_minute', 'spend_per_day'];
const load = (paths: readonly string[], declared: readonly string[] = meters) =>
  loadRules({
    paths: paths.map((path) => join(library, path)),
    routes: [],
    compile: createCompile({ meters: declared }),
  });
const metersOf = (ruleSet: RuleSet) =>
  [...ruleSet.reads].filter((name) => name.startsWith('rate.')).map((name) => name.slice('rate.'.length));

let whole: RuleSet;
const sets = new Map<string, RuleSet>();
beforeAll(async () => {
  whole = await load(['']);
  for (const file of files) sets.set(file, await load([file]));
});
const setOf = (file: string) => sets.get(file) ?? whole;

/** Cells of the rows of the one table whose header begins so. */
function rowsOf(text: string, header: string): readonly (readonly string[])[] {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => line.startsWith(`| ${header} |`));
  if (start < 0) throw new Error(`there is no table of ${header}`);
  const rows = lines.slice(start + 2);
  const end = rows.findIndex((line) => !line.startsWith('|'));
  const cellsOf = (row: string) => row.split(/(?<!\\)\|/).slice(1, -1);
  return rows.slice(0, end).map((row) => cellsOf(row).map((cell) => cell.trim().replaceAll('\\|', '|')));
}

/** Examples of a page that are marked so. In a list they are indented. */
const marked = (text: string, mark: string) =>
  [...text.matchAll(/<!-- (\w+) -->\n\n( *)```yaml\n([\s\S]*?)\n *```/g)]
    .filter(([, name]) => name === mark)
    .map(([, , , example = '']) => example);
const flat = (text: string) => text.replace(/\s+/g, ' ');

describe('the rule library', () => {
  it('loads as a whole, with no id twice, and leaves most of the bounds to the rules of others', () => {
    expect(whole.rules.length).toBeGreaterThan(30);
    expect(whole.rules).toHaveLength(files.reduce((sum, file) => sum + setOf(file).rules.length, 0));
    expect(whole.rules.reduce((sum, { when }) => sum + when.cost, 0)).toBeLessThan(50_000);
  });

  it.each(files)('%s loads by itself with no meter but those that it reads', async (file) => {
    const { rules } = await load([file], metersOf(setOf(file)));
    expect(rules.map(({ id }) => id)).toEqual(setOf(file).rules.map(({ id }) => id));
  });

  it.each(files)(
    '%s holds rules that are described, enforced, for every route, and tell the agent what to do',
    (file) => {
      const folder = file.split('/')[0];
      for (const rule of setOf(file).rules) {
        // One call in a hundred is as unusual by definition, and a group may not fit: worth a record, and no refusal.
        const mode = ['drift-noted', 'drift-unlike-its-peers'].includes(rule.id) ? 'shadow' : 'enforce';
        expect(rule).toMatchObject({ description: expect.any(String), mode, routes: null });
        if (mode === 'shadow') continue;
        if (folder === 'allow') expect(rule.effect).toBe('allow');
        else expect(rule).toMatchObject({ effect: expect.not.stringMatching('allow'), message: expect.any(String) });
      }
    },
  );

  it.each(files.filter((file) => file.startsWith('allow/')))('%s allows by method, path and token', (file) => {
    const { rules } = setOf(file);
    for (const { when } of rules) {
      for (const part of ['request.method', 'request.url_path', 'token.scopes']) expect(when.reads).toContain(part);
    }
  });

  it.each(files)('%s has tests that pass and see each of its rules match and not match', async (file) => {
    const run = await runTests({ ...readingWithout(), createCompile, paths: [join(library, file)] });
    expect(run.problems).toEqual([]);
    expect(run.results.filter(({ mismatches }) => mismatches.length > 0)).toEqual([]);
    expect(run.results.length).toBeGreaterThan(setOf(file).rules.length);
    expect(percentOf(run.coverage)).toBe(100);
  });

  it('passes its tests as a whole', async () => {
    const run = await runTests({ ...readingWithout(), createCompile, paths: [library] });
    expect(run.problems).toEqual([]);
    expect(run.files).toContain(join(library, 'library.test.yaml'));
    expect(run.results.filter(({ mismatches }) => mismatches.length > 0)).toEqual([]);
    expect(percentOf(run.coverage)).toBe(100);
  });
});

describe('the pages of the rule library', () => {
  it('are one for each file', () => {
    expect(pages).toEqual(files.map(pageOf));
  });

  it.each(files)('of %s lists its rules with their effects', (file) => {
    const listed = rowsOf(readPage(file), 'rule').map(([rule, effect]) => [rule, effect]);
    expect(listed).toEqual(setOf(file).rules.map(({ id, effect }) => [`\`${id}\``, effect]));
  });

  it.each(files)('of %s names lines to change that are there', (file) => {
    const source = flat(read(`rules/${file}`));
    const lines = rowsOf(readPage(file), 'line').map(([line = '']) => line.replace(/^`|`$/g, ''));
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.filter((line) => !source.includes(flat(line)))).toEqual([]);
  });

  it.each(files)('of %s says what it cannot do, and declares the meters that it needs', (file) => {
    const page = readPage(file);
    expect(page).toContain('**Needs**');
    expect(page).toContain('**What it cannot do.**');
    const [declared] = marked(page, 'meters').map((text) => Object.keys(parse(text).meters));
    expect(declared ?? []).toEqual(metersOf(setOf(file)));
  });

  it.each([...pages, 'README.md'])('%s holds examples that load, and links to files that there are', (page) => {
    const text = read(`rules/${page}`);
    const compile = createCompile({ meters: [] });
    for (const example of marked(text, 'rules')) {
      for (const { when } of ruleFileSchema.parse(parse(example)).rules) {
        expect(compile(when, 'bool'), when).not.toSatisfy(isProblem);
      }
    }
    for (const example of marked(text, 'meters')) {
      const written = parse(example) as { meters: Record<string, { by: string; cost?: string }>; rules?: string[] };
      for (const { by, cost } of Object.values(written.meters)) {
        expect(compile(by, 'string'), by).not.toSatisfy(isProblem);
        expect(compile(cost ?? '1', 'int'), cost).not.toSatisfy(isProblem);
      }
      const listed = (written.rules ?? []).filter((path) => path.startsWith('library/'));
      expect(listed.map((path) => files.includes(path.replace('library/', '')))).toEqual(listed.map(() => true));
    }
    const prose = text.replace(/```[\s\S]*?```|`[^`]*`/g, '');
    const links = [...prose.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)].map(([, link = '']) => link);
    expect(links.filter((link) => !existsSync(resolve(library, page, '..', link)))).toEqual([]);
  });

  it.each([
    ['README.md', 'file of the library', (file: string) => [`\`${file}\``, `(rules/${pageOf(file)})`]],
    ['rules/README.md', 'file', (file: string) => [`[${file}](${pageOf(file)})`]],
  ])('are listed in %s, with what each file needs', (place, header, partsOf) => {
    const rows = rowsOf(read(place), header);
    expect(rows).toHaveLength(files.length);
    for (const file of files) {
      const [first = '', ...others] = partsOf(file);
      const row = rows.find(([name]) => name === first) ?? [];
      for (const part of others) expect(row.at(-1)).toContain(part);
      const needs = row[2] ?? '';
      const { reads } = setOf(file);
      const readsBody = ['request.body', 'mcp.method', 'mcp.tool'].some((name) => reads.has(name));
      const readsRegistry = ['agent.registered', 'agent.status', 'agent.team'].some((name) => reads.has(name));
      expect([file, needs.includes('`inspectBody`'), needs.includes('`agents.file`')]).toEqual([
        file,
        readsBody,
        readsRegistry,
      ]);
      const named = [...needs.matchAll(/meter `(\w+)`/g)].map(([, meter]) => meter);
      expect(named).toEqual(metersOf(setOf(file)));
    }
  });
});
