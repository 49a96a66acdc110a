/** Rule files: found, read, vetted and compiled. All problems of all files are reported at once. */

import { createHash } from 'node:crypto';
import { isScalar } from 'yaml';
import type { Effect, Mode } from '../decision.ts';
import { ConfigurationFault, type Problem } from '../errors.ts';
import { readYaml, vetYaml, type YamlSource } from '../yaml-source.ts';
import { ruleSetCostMax, rulesMax } from './bounds.ts';
import { type Compile, type Expression, isProblem } from './expression.ts';
import { findFiles, isRuleFile } from './find-files.ts';
import { nearest } from './guard.ts';
import { ruleFileSchema, ruleSchema, type WrittenRule } from './rule-schema.ts';
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
  /** Where it is written. */
  readonly place: { readonly file: string; readonly line: number };
};

export type RuleSet = {
  /** In file order. */
  readonly rules: readonly Rule[];
  /** SHA-256, hex, over all that decides: the same rules in the same order give the same hash. */
  readonly hash: string;
  /** What any rule reads. */
  readonly reads: ReadonlySet<string>;
};

/** Codes of what is wrong with rules that have the right shape. */
export const ruleFaults = ['expression', 'duplicate-id', 'unknown-route', 'rule-set'] as const;

type Options = {
  /** Files, and folders that are searched for *.yaml and *.yml. */
  readonly paths: readonly string[];
  /** Names of the routes that there are; null where every name is taken for one. */
  readonly routes: readonly string[] | null;
  readonly compile: Compile;
};

/** Throws a ConfigurationFault with every problem found; a rule set is good as a whole or not at all. */
export async function loadRules({ paths, routes, compile }: Options): Promise<RuleSet> {
  const problems: Problem[] = [];
  const rules: Rule[] = [];
  const places = new Map<string, string>();
  for (const file of await findFiles(paths, problems, isRuleFile)) {
    const source = await readYaml(file);
    if (!('value' in source)) {
      problems.push(...source);
      continue;
    }
    const vetted = vetYaml(source, ruleFileSchema);
    if (!('value' in vetted)) problems.push(...vetted);
    const { mode, rules: writtenRules } = 'value' in vetted ? vetted.value : wellFormedIn(source);
    for (const [index, written] of writtenRules.entries()) {
      if (written === null) continue;
      const path = ['rules', index];
      problems.push(...crossCheck(written, { source, path, routes, places }));
      const when = compileRule(written, source, [...path, 'when'], compile);
      if ('message' in when) problems.push(when);
      else {
        const { line } = source.placeOf([...path, 'id']);
        rules.push(ruleOf(written, when, mode, { file, line }));
      }
    }
  }
  problems.push(...checkWhole(rules, places.size, problems.length, paths[0] ?? 'rules'));
  if (problems.length > 0) throw new ConfigurationFault(problems);
  return { rules, hash: hashOf(rules), reads: new Set(rules.flatMap((rule) => [...rule.when.reads])) };
}

/** What else is wrong with a file of the wrong shape is told too: its rules that have the right one, others as null. */
function wellFormedIn({ value }: YamlSource): { readonly mode: Mode; readonly rules: readonly (WrittenRule | null)[] } {
  const rules = typeof value === 'object' && value !== null && 'rules' in value ? value.rules : null;
  if (!Array.isArray(rules)) return { mode: 'enforce', rules: [] };
  return { mode: 'enforce', rules: rules.map((rule) => ruleSchema.safeParse(rule).data ?? null) };
}

type Surroundings = {
  readonly source: YamlSource;
  readonly path: readonly PropertyKey[];
  readonly routes: readonly string[] | null;
  /** Where each id was first used. */
  readonly places: Map<string, string>;
};

function crossCheck(written: WrittenRule, { source, path, routes, places }: Surroundings): readonly Problem[] {
  const problems: Problem[] = [];
  const { file } = source;
  const idPlace = source.placeOf([...path, 'id']);
  const earlier = places.get(written.id);
  if (earlier !== undefined) {
    const message = `rule ${written.id} is declared already, at ${earlier}`;
    problems.push({ file, ...idPlace, message, code: 'duplicate-id', rule: written.id });
  } else {
    places.set(written.id, `${file}:${idPlace.line}`);
  }
  for (const [index, route] of (written.routes ?? []).entries()) {
    if (routes === null || routes.includes(route)) continue;
    const hint = nearest(route, routes) ?? `declared: ${routes.join(', ') || 'none'}`;
    const place = source.placeOf([...path, 'routes', index]);
    const message = `rule ${written.id}: unknown route ${route}; ${hint}`;
    problems.push({ file, ...place, message, code: 'unknown-route', rule: written.id, hint });
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
  const known = { code: 'expression', rule: written.id, hint: when.hint };
  if (!isScalar(node)) return { file, ...source.placeOf(path), message, ...known };
  const { line, col } = lineCounter.linePos(scalarOffset(text, node, when.offset));
  return { file, line, column: col, message: `${message}\n${pointAt(text, line, col)}`, ...known };
}

const shownCharsMax = 100;

/** The line of the file with a caret under the column, cut to what a terminal shows. */
export function pointAt(text: string, line: number, column: number): string {
  const whole = text.split('\n', line)[line - 1]?.replace(/\r$/, '').replaceAll('\t', ' ') ?? '';
  const from = Math.max(0, column - 1 - shownCharsMax / 2);
  return `    ${whole.slice(from, from + shownCharsMax)}\n    ${' '.repeat(column - 1 - from)}^`;
}

function ruleOf(written: WrittenRule, when: Expression, fileMode: Mode, place: Rule['place']): Rule {
  const { id, description, routes, effect, message, challenge } = written;
  return Object.freeze({
    id,
    description,
    routes: routes ?? null,
    when,
    effect,
    message,
    // What is rehearsed as a file is not enforced in parts: a rule is enforced where nothing says shadow.
    mode: fileMode === 'shadow' ? fileMode : written.mode,
    challenge:
      challenge === undefined ? null : { acrValues: challenge.acrValues?.join(' '), maxAgeSeconds: challenge.maxAge },
    place,
  });
}

function checkWhole(rules: readonly Rule[], written: number, problems: number, file: string): readonly Problem[] {
  if (written === 0 && problems === 0) {
    const hint = 'write at least one';
    return [{ file, message: `holds no rules, so every request would be denied; ${hint}`, code: 'rule-set', hint }];
  }
  if (rules.length > rulesMax) return [{ file, message: `there are more than ${rulesMax} rules`, code: 'rule-set' }];
  const cost = rules.reduce((total, rule) => total + rule.when.cost, 0);
  if (cost <= ruleSetCostMax) return [];
  const dearest = rules.toSorted((one, other) => other.when.cost - one.when.cost).slice(0, 3);
  const named = dearest.map((rule) => `${rule.id} (${rule.when.cost})`).join(', ');
  return [
    {
      file,
      message: `all rules together could cost ${cost} units, the most is ${ruleSetCostMax}; dearest: ${named}`,
      code: 'rule-set',
      hint: `dearest: ${named}`,
    },
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
