/** Runs the cases of test files through the context and the decision of requests, and counts what they covered. */

import { type Decision, isDeny } from '../../decision.ts';
import { Fault, type Problem } from '../../errors.ts';
import type { Context } from '../context.ts';
import { createDecide } from '../decide.ts';
import { createDescribe } from '../described.ts';
import { type Expression, isProblem } from '../expression.ts';
import { pointAt, type Rule } from '../rule-files.ts';
import { createCoverage, type RuleCoverage } from './coverage.ts';
import { compare, type Mismatch } from './expectations.ts';
import type { SituationOptions } from './situation.ts';
import { findTests, type LoadedTest, type Subject } from './test-files.ts';
import type { Given, WrittenCase } from './test-schema.ts';

export type CaseResult = {
  readonly name: string;
  readonly file: string;
  readonly line: number;
  readonly milliseconds: number;
  /** None where it is as expected. */
  readonly mismatches: readonly Mismatch[];
  readonly decision: Decision;
  /** Rules whose evaluation failed, and why. */
  readonly failures: readonly { readonly rule: Rule; readonly reason: string }[];
  readonly subject: Subject;
  /** Null where the request would have been refused before any rule is asked. */
  readonly context: Context | null;
};

export type TestRun = {
  readonly results: readonly CaseResult[];
  readonly coverage: readonly RuleCoverage[];
  readonly files: readonly string[];
  /** What keeps files from being tests, or rules from being tested. */
  readonly problems: readonly Problem[];
};

export type RunOptions = Parameters<typeof findTests>[0] &
  Omit<SituationOptions, 'routeOf'> & {
    /** The route that a configuration has for a request; null where there is no configuration. */
    readonly matchRoute: SituationOptions['routeOf'] | null;
    /** Part of the names of the cases to run; every case without it. */
    readonly filter?: string | undefined;
  };

export async function runTests(options: RunOptions): Promise<TestRun> {
  const { tests, ruleFiles, files, problems } = await findTests(options);
  const coverage = createCoverage(ruleFiles);
  const found = [...problems];
  const results: CaseResult[] = [];
  for (const loaded of tests) {
    coverage.add(loaded.subject.ruleSet.rules);
    const values = compileValues(loaded, found);
    const runCase = createRunCase(loaded, values, options);
    for (const [index, testCase] of loaded.test.cases.entries()) {
      if (options.filter !== undefined && !testCase.name.includes(options.filter)) continue;
      const result = runCase(testCase, index);
      coverage.see(loaded.subject.ruleSet.rules, result);
      results.push(result);
    }
  }
  return { results, coverage: await coverage.list(found), files, problems: found };
}

type Values = ReadonlyMap<string, Expression>;

/** Every expression that a case of the file wants the value of. */
function compileValues({ test, source, subject }: LoadedTest, problems: Problem[]): Values {
  const values = new Map<string, Expression>();
  for (const [index, { expect }] of test.cases.entries()) {
    for (const text of Object.keys(expect.values ?? {})) {
      if (values.has(text)) continue;
      const expression = subject.compile(text, 'any');
      if (!isProblem(expression)) {
        values.set(text, expression);
        continue;
      }
      const { line, column } = source.placeOf(['cases', index, 'expect', 'values', text], 'key');
      const { message, hint } = expression;
      const told = `values: ${message}${hint === undefined ? '' : `; ${hint}`}\n${pointAt(source.text, line, column)}`;
      problems.push({ file: source.file, line, column, message: told });
    }
  }
  return values;
}

function createRunCase({ file, source, test, subject }: LoadedTest, values: Values, options: RunOptions) {
  const { ruleSet, routes, meters } = subject;
  const reads = new Set([...ruleSet.reads, ...[...values.values()].flatMap((value) => [...value.reads])]);
  const { matchRoute } = options;
  const describe = createDescribe({ ...options, matchRoute, ruleSet: { rules: ruleSet.rules, reads }, meters, routes });
  let failures: CaseResult['failures'][number][] = [];
  const byId = new Map(ruleSet.rules.map((rule) => [rule.id, rule]));
  const decide = createDecide({
    ruleSet,
    onRuleError: (id, fault) => {
      const rule = byId.get(id);
      if (rule !== undefined) failures.push({ rule, reason: reasonOf(fault) });
    },
  });

  return (testCase: WrittenCase, index: number): CaseResult => {
    const startedMs = performance.now();
    failures = [];
    const described = describe(merge(test.given, testCase));
    const context = isDeny(described) ? null : described;
    const decision = isDeny(described)
      ? described
      : decide(described, { route: described.route.name, fallsInMs: new Map() });
    const mismatches = compare(testCase.expect, decision, (text) => {
      const expression = values.get(text);
      if (context === null || expression === undefined) return { failed: 'no rule is asked about this request' };
      try {
        return { value: expression.evaluate(context) };
      } catch (fault) {
        return { failed: reasonOf(fault) };
      }
    });
    const { line } = source.placeOf(['cases', index]);
    const milliseconds = performance.now() - startedMs;
    return { name: testCase.name, file, line, milliseconds, mismatches, decision, failures, subject, context };
  };
}

function reasonOf(fault: unknown): string {
  if (!(fault instanceof Fault)) throw fault;
  return fault.message.replace(/^could not be evaluated: /, '');
}

/** A case over what the file gives: field by field, and name by name in maps of header fields, parameters and claims. */
export function merge(base: Given, over: Given): Given {
  const merged: Record<string, unknown> = { ...base };
  for (const [variable, value] of Object.entries(over)) {
    if (variable === 'name' || variable === 'expect' || value === undefined) continue;
    merged[variable] = mergeFields(base[variable], value);
  }
  return merged;
}

const mergedMaps: ReadonlySet<string> = new Set(['headers', 'query', 'claims']);

function mergeFields(base: unknown, over: unknown): unknown {
  // The route may be written as a name, and as one again in the other.
  if (typeof base === 'string' && isMap(over)) return { name: base, ...over };
  if (!isMap(base) || !isMap(over)) return over;
  const merged: Record<string, unknown> = { ...base };
  for (const [field, value] of Object.entries(over)) {
    const earlier = base[field];
    merged[field] = mergedMaps.has(field) && isMap(earlier) && isMap(value) ? { ...earlier, ...value } : value;
  }
  return merged;
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
