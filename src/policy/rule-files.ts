/** Rule files: found, read, vetted and compiled. All problems of all files are reported at once. */

import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isScalar } from 'yaml';
import type { Effect, Mode } from '../decision.ts';
import { ConfigurationFault, type Problem } from '../errors.ts';
import { readYaml, vetYaml, type YamlSource } from '../yaml-source.ts';
import { ruleSetCostMax, rulesMax } from './bounds.ts';
import { type Compile, type Expression, isProblem } from './expression.ts';
import { nearest } from './guard.ts';
import { ruleFileSchema, type WrittenRule } from './rule-schema.ts';
import { scalarOffset } from './scalar-offset.ts';

export type Rule = {
  readonly id: string;
  readonly description: string | undefined;
  /** Null for every route. */
  readonly routes: readonly string[] | null;
  readonly when: Expression;
  readonly effect: Effect;
  readonly message: string | undefined;
  readonly mode: Mode;
  /** With effect challenge only. RFC 9470 §3. */
  readonly challenge: { readonly acrValues?: string | undefined; readonly maxAgeSeconds?: number | undefined } | null;
};

export type RuleSet = {
  /** In file order. */
  readonly rules: readonly Rule[];
  /** SHA-256, hex, over all that decides: the same rules in the same order give the same hash. */
  readonly hash: string;
  /** What any rule reads. */
  readonly reads: ReadonlySet<string>;
};

type Options = {
  /** Files, and folders that are searched for *.yaml and *.yml. */
  readonly paths: readonly string[];
  /** Names of the routes that there are. */
  readonly routes: readonly string[];
  readonly compile: Compile;
};

const fileBytesMax = 1_048_576;
const filesMax = 1000;
const folderDepthMax = 16;
// A path that was not meant, such as the root folder, is not to be searched for minutes.
const entriesMax = 10_000;

/** Throws a ConfigurationFault with every problem found; a rule set is good as a whole or not at all. */
export async function loadRules({ paths, routes, compile }: Options): Promise<RuleSet> {
  const problems: Problem[] = [];
  const rules: Rule[] = [];
  const places = new Map<string, string>();
  for (const file of await findFiles(paths, problems)) {
    const source = await readYaml(file);
    if (!('value' in source)) {
      problems.push(...source);
      continue;
    }
    const vetted = vetYaml(source, ruleFileSchema);
    if (!('value' in vetted)) {
      problems.push(...vetted);
      continue;
    }
    for (const [index, written] of vetted.value.rules.entries()) {
      const path = ['rules', index];
      problems.push(...crossCheck(written, { source, path, routes, places }));
      const when = compileRule(written, source, [...path, 'when'], compile);
      if ('message' in when) problems.push(when);
      else rules.push(ruleOf(written, when));
    }
  }
  problems.push(...checkWhole(rules, places.size, problems.length, paths[0] ?? 'rules'));
  if (problems.length > 0) throw new ConfigurationFault(problems);
  return { rules, hash: hashOf(rules), reads: new Set(rules.flatMap((rule) => [...rule.when.reads])) };
}

type Search = { readonly files: Set<string>; readonly problems: Problem[]; entriesLeft: number };

/** Files as given, folders sorted; each file once, however often it is reached. */
async function findFiles(paths: readonly string[], problems: Problem[]): Promise<readonly string[]> {
  const search: Search = { files: new Set(), problems, entriesLeft: entriesMax };
  for (const path of paths) await collect(path, 0, search);
  if (search.entriesLeft < 0) {
    problems.push({
      file: paths[0] ?? 'rules',
      message: `there are more than ${entriesMax} files and folders to search`,
    });
    return [];
  }
  if (search.files.size <= filesMax) return [...search.files];
  problems.push({ file: paths[0] ?? 'rules', message: `there are more than ${filesMax} rule files` });
  return [];
}

async function collect(path: string, depth: number, search: Search): Promise<void> {
  const { files, problems } = search;
  try {
    const found = await stat(path);
    if (found.isFile()) {
      if (found.size <= fileBytesMax) files.add(path);
      else problems.push({ file: path, message: 'is larger than 1 MiB' });
    } else if (!found.isDirectory()) {
      problems.push({ file: path, message: 'is neither a file nor a folder' });
    } else if (depth > folderDepthMax) {
      problems.push({ file: path, message: `lies more than ${folderDepthMax} folders deep` });
    } else {
      const entries = await readdir(path, { withFileTypes: true });
      search.entriesLeft -= entries.length;
      const names = entries.filter((entry) => isWanted(entry.name, entry.isDirectory())).map((entry) => entry.name);
      for (const name of names.toSorted()) {
        if (search.entriesLeft < 0) return;
        await collect(join(path, name), depth + 1, search);
      }
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    problems.push({ file: path, message: `cannot be read (${code}); check the path and its permissions` });
  }
}

/**
 * Hidden entries are left out: Kubernetes mounts a ConfigMap as links into a hidden folder, which would otherwise be
 * read twice. Files named *.test.yaml are tests of rules.
 */
function isWanted(name: string, isFolder: boolean): boolean {
  if (name.startsWith('.')) return false;
  return isFolder || (/\.ya?ml$/.test(name) && !/\.test\.ya?ml$/.test(name));
}

type Surroundings = {
  readonly source: YamlSource;
  readonly path: readonly PropertyKey[];
  readonly routes: readonly string[];
  /** Where each id was first used. */
  readonly places: Map<string, string>;
};

function crossCheck(written: WrittenRule, { source, path, routes, places }: Surroundings): readonly Problem[] {
  const problems: Problem[] = [];
  const { file } = source;
  const idPlace = source.placeOf([...path, 'id']);
  const earlier = places.get(written.id);
  if (earlier !== undefined) {
    problems.push({ file, ...idPlace, message: `rule ${written.id} is declared already, at ${earlier}` });
  } else {
    places.set(written.id, `${file}:${idPlace.line}`);
  }
  for (const [index, route] of (written.routes ?? []).entries()) {
    if (routes.includes(route)) continue;
    const hint = nearest(route, routes) ?? `declared: ${routes.join(', ') || 'none'}`;
    const place = source.placeOf([...path, 'routes', index]);
    problems.push({ file, ...place, message: `rule ${written.id}: unknown route ${route}; ${hint}` });
  }
  return problems;
}

function compileRule(
  written: WrittenRule,
  source: YamlSource,
  path: readonly PropertyKey[],
  compile: Compile,
): Expression | Problem {
  const when = compile(written.when, 'bool');
  if (!isProblem(when)) return when;
  const { file, text, lineCounter } = source;
  const node = source.nodeAt(path);
  const hint = when.hint === undefined ? '' : `; ${when.hint}`;
  const message = `rule ${written.id}: ${when.message}${hint}`;
  if (!isScalar(node)) return { file, ...source.placeOf(path), message };
  const { line, col } = lineCounter.linePos(scalarOffset(text, node, when.offset));
  return { file, line, column: col, message: `${message}\n${pointAt(text, line, col)}` };
}

const shownCharsMax = 100;

/** The line of the file with a caret under the column, cut to what a terminal shows. */
function pointAt(text: string, line: number, column: number): string {
  const whole = text.split('\n', line)[line - 1]?.replace(/\r$/, '').replaceAll('\t', ' ') ?? '';
  const from = Math.max(0, column - 1 - shownCharsMax / 2);
  return `    ${whole.slice(from, from + shownCharsMax)}\n    ${' '.repeat(column - 1 - from)}^`;
}

function ruleOf(written: WrittenRule, when: Expression): Rule {
  const { id, description, routes, effect, message, mode, challenge } = written;
  return Object.freeze({
    id,
    description,
    routes: routes ?? null,
    when,
    effect,
    message,
    mode,
    challenge:
      challenge === undefined ? null : { acrValues: challenge.acrValues?.join(' '), maxAgeSeconds: challenge.maxAge },
  });
}

function checkWhole(rules: readonly Rule[], written: number, problems: number, file: string): readonly Problem[] {
  if (written === 0 && problems === 0) {
    return [{ file, message: 'holds no rules, so every request would be denied; write at least one' }];
  }
  if (rules.length > rulesMax) return [{ file, message: `there are more than ${rulesMax} rules` }];
  const cost = rules.reduce((total, rule) => total + rule.when.cost, 0);
  if (cost <= ruleSetCostMax) return [];
  const dearest = rules.toSorted((one, other) => other.when.cost - one.when.cost).slice(0, 3);
  const named = dearest.map((rule) => `${rule.id} (${rule.when.cost})`).join(', ');
  return [
    { file, message: `all rules together could cost ${cost} units, the most is ${ruleSetCostMax}; dearest: ${named}` },
  ];
}

function hashOf(rules: readonly Rule[]): string {
  const deciding = rules.map(({ id, routes, when, effect, message, mode, challenge }) => [
    id,
    routes === null ? null : routes.toSorted(),
    when.source,
    effect,
    message ?? null,
    mode,
    challenge === null ? null : [challenge.acrValues ?? null, challenge.maxAgeSeconds ?? null],
  ]);
  return createHash('sha256').update(JSON.stringify(deciding)).digest('hex');
}
