/** Test files: found, read, vetted, and put together with the rules that they are about. */

import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { ConfigurationFault, type Problem } from '../../errors.ts';
import { readYaml, vetYaml, type YamlSource } from '../../yaml-source.ts';
import type { Compile } from '../expression.ts';
import { findFiles, isRuleFile, isTestFile } from '../find-files.ts';
import { nearest } from '../guard.ts';
import { loadRules, type RuleSet } from '../rule-files.ts';
import { createTestFileSchema, type Given, type TestFile, testHeadSchema } from './test-schema.ts';

/** What a configuration declares; null where there is none. */
export type Declared = { readonly routes: readonly string[]; readonly meters: readonly string[] } | null;

/** Rules that are compiled, and what they are compiled for. */
export type Subject = {
  readonly ruleSet: RuleSet;
  readonly compile: Compile;
  readonly meters: readonly string[];
  /** Null where every name is a route. */
  readonly routes: readonly string[] | null;
};

export type LoadedTest = {
  readonly file: string;
  readonly source: YamlSource;
  readonly test: TestFile;
  readonly subject: Subject;
};

export type Found = {
  readonly tests: readonly LoadedTest[];
  /** Rule files beside the tests, whether or not any test is about them. */
  readonly ruleFiles: readonly string[];
  /** Every file that was looked at. */
  readonly files: readonly string[];
  readonly problems: readonly Problem[];
};

type Options = {
  /** Test files, rule files that have tests beside them, and folders that are searched for both. */
  readonly paths: readonly string[];
  readonly declared: Declared;
  readonly createCompile: (options: { readonly meters: readonly string[] }) => Compile;
};

/** Rules are compiled once for all files that test the same ones. */
export async function findTests({ paths, declared, createCompile }: Options): Promise<Found> {
  const problems: Problem[] = [];
  const found = await findFiles(paths, problems, (name) => isRuleFile(name) || isTestFile(name));
  const ruleFiles = found.filter(isRuleFile).map((file) => resolve(file));
  const testFiles = new Set(found.flatMap((file) => (isTestFile(file) ? [file] : testOf(file))));
  const subjects = new Map<string, Promise<Subject | null>>();
  const tests: LoadedTest[] = [];
  for (const file of testFiles) {
    const source = await readYaml(file);
    if (!('value' in source)) {
      problems.push(...source);
      continue;
    }
    const head = vetYaml(source, testHeadSchema);
    if (!('value' in head)) {
      problems.push(...head);
      continue;
    }
    const { rules, meters, routes } = head.value;
    const wanted = {
      paths: rules === undefined ? rulesBeside(file) : rules.map((path) => resolve(dirname(file), path)),
      meters: [...new Set([...(declared?.meters ?? []), ...(meters ?? [])])],
      routes: declared === null && routes === undefined ? null : [...(declared?.routes ?? []), ...(routes ?? [])],
    };
    const vetted = vetYaml(source, createTestFileSchema(wanted.meters));
    if (!('value' in vetted)) problems.push(...vetted);
    const key = JSON.stringify(wanted);
    const loading = subjects.get(key) ?? loadSubject(wanted, createCompile, problems);
    subjects.set(key, loading);
    const subject = await loading;
    if (subject === null || !('value' in vetted)) continue;
    const test = vetted.value as unknown as TestFile;
    problems.push(...unknownRoutes(test, source, subject), ...unknownRules(test, source, subject));
    tests.push({ file, source, test, subject });
  }
  const used = tests.flatMap(({ subject }) => subject.ruleSet.rules.map(({ place }) => place.file));
  return { tests, ruleFiles, files: [...new Set([...testFiles, ...ruleFiles, ...used])], problems };
}

/** The tests of a rule file that was named by itself. */
function testOf(file: string): readonly string[] {
  return ['.test.yaml', '.test.yml'].map((end) => file.replace(/\.ya?ml$/, end)).filter((test) => existsSync(test));
}

/** The rule file that the test is named after, else the folder that it is in. */
function rulesBeside(file: string): readonly string[] {
  const stem = resolve(file).replace(/\.test\.ya?ml$/, '');
  const beside = [`${stem}.yaml`, `${stem}.yml`].find((path) => existsSync(path));
  return [beside ?? dirname(stem)];
}

async function loadSubject(
  { paths, meters, routes }: { paths: readonly string[]; meters: readonly string[]; routes: readonly string[] | null },
  createCompile: Options['createCompile'],
  problems: Problem[],
): Promise<Subject | null> {
  const compile = createCompile({ meters });
  try {
    return { ruleSet: await loadRules({ paths, routes, compile }), compile, meters, routes };
  } catch (fault) {
    if (!(fault instanceof ConfigurationFault)) throw fault;
    // Several test files may be about the same faulty rules.
    const known = new Set(problems.map((problem) => JSON.stringify(problem)));
    problems.push(...fault.problems.filter((problem) => !known.has(JSON.stringify(problem))));
    return null;
  }
}

/** A case of a route that is not there could only ever be refused with no_route. */
function unknownRoutes({ given, cases }: TestFile, source: YamlSource, { routes }: Subject): readonly Problem[] {
  if (routes === null) return [];
  const places: (readonly [Given, readonly PropertyKey[]])[] = [[given, ['given']]];
  for (const [index, testCase] of cases.entries()) places.push([testCase, ['cases', index]]);
  return places.flatMap(([{ route }, path]) => {
    const isName = typeof route === 'string';
    const name = isName ? route : (route as { readonly name?: unknown } | null | undefined)?.name;
    if (typeof name !== 'string' || routes.includes(name)) return [];
    const place = source.placeOf([...path, 'route', ...(isName ? [] : ['name'])]);
    const hint = nearest(name, routes) ?? `there are: ${routes.slice(0, 12).join(', ') || 'none'}`;
    return [{ file: source.file, ...place, message: `unknown route ${name}; ${hint}` }];
  });
}

/** An expectation that names a rule which is not there could only ever fail, or never. */
function unknownRules({ cases }: TestFile, source: YamlSource, { ruleSet }: Subject): readonly Problem[] {
  const ids = ruleSet.rules.map(({ id }) => id);
  return cases.flatMap(({ expect }, index) => {
    const path = ['cases', index, 'expect'];
    const { matches, rule } = expect;
    const named: (readonly [string, readonly PropertyKey[]])[] = [];
    if (rule != null && !rule.startsWith('postern:')) named.push([rule, [...path, 'rule']]);
    const lists = Array.isArray(matches) ? { '': matches } : { ...(matches as object | undefined) };
    for (const [key, list] of Object.entries(lists as Record<string, readonly string[]>)) {
      const place = [...path, 'matches', ...(key === '' ? [] : [key])];
      for (const [item, id] of list.entries()) named.push([id, [...place, item]]);
    }
    return named
      .filter(([id]) => !ids.includes(id))
      .map(([id, place]) => ({
        file: source.file,
        ...source.placeOf(place),
        message: `unknown rule ${id}; ${nearest(id, ids) ?? `there are: ${ids.slice(0, 12).join(', ')}`}`,
      }));
  });
}
