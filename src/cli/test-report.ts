/** What `postern test` says: to people as text, to programs as JSON. */

import { formatProblem } from '../errors.ts';
import { explainRule, type RuleExplanation } from '../policy/explain.ts';
import type { Rule } from '../policy/rule-files.ts';
import { effectOf } from '../policy/shadow.ts';
import type { RuleCoverage } from '../policy/tests/coverage.ts';
import type { Mismatch } from '../policy/tests/expectations.ts';
import type { CaseResult, TestRun } from '../policy/tests/run-tests.ts';
import { createPaint, type Io, type Paint, printable, printableLine, writeLine } from './output.ts';
import { shown, writeRule } from './rule-text.ts';
import type { Summary } from './test.ts';

/** The whole outcome as one JSON value. */
export function jsonOf(run: TestRun, summary: Summary): object {
  return {
    ok: summary.code === 0,
    passed: summary.passed,
    failed: summary.failed,
    problems: run.problems,
    cases: run.results.map((result) => ({
      name: result.name,
      file: result.file,
      line: result.line,
      ok: result.mismatches.length === 0,
      mismatches: result.mismatches,
      ...decided(result),
      ...(result.mismatches.length === 0 ? {} : { explained: explained(result) }),
    })),
    coverage: { percent: round(summary.coverage), min: summary.minCoverage, rules: run.coverage },
  };
}

function decided({ decision, failures }: CaseResult) {
  return {
    effect: effectOf(decision),
    reason: decision.effect === 'allow' ? null : decision.reason,
    rule: decision.rule ?? null,
    matches: (decision.matches ?? []).filter(({ failed }) => !failed).map(({ id }) => id),
    failed: failures.map(({ rule, reason }) => ({ rule: rule.id, reason })),
  };
}

export function writeReport(io: Io, run: TestRun, summary: Summary): void {
  const paint = createPaint(io);
  const say = (text = '', style = plain) => writeLine(io.stdout, style(printableLine(text)));
  for (const problem of run.problems) writeLine(io.stderr, printable(formatProblem(problem)));
  for (const file of new Set(run.results.map((result) => result.file))) {
    const results = run.results.filter((result) => result.file === file);
    const failed = results.filter(({ mismatches }) => mismatches.length > 0);
    const told = failed.length === 0 ? `${results.length} passed` : `${failed.length} of ${results.length} failed`;
    writeLine(
      io.stdout,
      `${(failed.length === 0 ? paint.good : paint.bad)(told.padEnd(14))} ${printable(shown(file))}`,
    );
    for (const result of failed) writeFailure(say, paint, result);
  }
  writeCoverage(say, run.coverage, summary);
  const counts = `${summary.passed} passed, ${summary.failed} failed`;
  const told = `${counts}, coverage ${round(summary.coverage)}%, ${(summary.milliseconds / 1000).toFixed(1)} s`;
  writeLine(io.stdout, summary.code === 0 ? paint.good(told) : paint.bad(told));
  if (run.results.length === 0 && run.problems.length === 0) say('there are no tests here: *.test.yaml, beside rules');
}

type Say = (text?: string, style?: (text: string) => string) => void;

const plain = (text: string) => text;

function writeFailure(say: Say, paint: Paint, result: CaseResult): void {
  say();
  say(`  ${shown(result.file)}:${result.line}: ${result.name}`, paint.strong);
  for (const { what, expected, actual } of result.mismatches) {
    say(`    ${what}`);
    say(`      expected  ${JSON.stringify(expected)}`, paint.good);
    say(`      actual    ${JSON.stringify(actual ?? null)}`, paint.bad);
  }
  writeWhy(say, result);
  say();
}

/** What was decided, and the rules in question with the values of their parts. */
export function writeWhy(say: (text?: string) => void, result: CaseResult): void {
  const { effect, reason, rule, matches } = decided(result);
  const by = rule === null ? '' : ` by ${rule}`;
  say(`    decided    ${effect}${reason === null ? '' : ` (${reason})`}${by}`);
  if (result.decision.effect === 'deny' && result.decision.cause !== undefined)
    say(`    because    ${result.decision.cause}`);
  if (result.context === null) return;
  const placed = result.subject.ruleSet.rules.filter(({ id }) => matches.includes(id));
  say(
    `    matched    ${placed.map(({ id, place }) => `${id} (${shown(place.file)}:${place.line})`).join(', ') || 'none'}`,
  );
  for (const told of explained(result)) writeRule(say, told);
}

/**
 * The rules that the expectation speaks of, those that decided, and those that failed. Where a call should have passed
 * and no rule decided, any rule that allows may be the one that was meant.
 */
function explained({ subject, context, mismatches, decision, failures }: CaseResult): readonly RuleExplanation[] {
  if (context === null) return [];
  const ids = new Set(failures.map(({ rule }) => rule.id));
  if (decision.rule !== undefined) ids.add(decision.rule);
  for (const { expected, actual } of mismatches) {
    for (const id of [expected, actual].flat()) if (typeof id === 'string') ids.add(id);
  }
  const isMissed = decision.rule === undefined && mismatches.some(isAllowWanted);
  const isMeant = ({ effect, routes }: Rule) =>
    isMissed && effect === 'allow' && (routes === null || routes.includes(context.route.name));
  const rules = subject.ruleSet.rules.filter((rule) => ids.has(rule.id) || isMeant(rule));
  return rules.map((rule) => explainRule(rule, subject.compile, context));
}

const isAllowWanted = ({ what, expected }: Mismatch) => what === 'effect' && expected === 'allow';

export function writeCoverage(
  say: Say,
  coverage: readonly RuleCoverage[],
  { coverage: percent, minCoverage }: Summary,
): void {
  const missing = coverage.filter(({ matched, unmatched }) => matched === 0 || unmatched === 0);
  if (missing.length > 0) say('');
  for (const { id, file, line, matched, unmatched } of missing) {
    const [yes, no] = [matched === 0 ? 'matching' : null, unmatched === 0 ? 'not matching' : null];
    say(`not seen ${[yes, no].filter((sight) => sight !== null).join(' or ')}: ${id} (${shown(file)}:${line})`);
  }
  if (percent < minCoverage) say(`coverage is ${round(percent)}%, and must be ${minCoverage}% at least`);
}

const round = (percent: number) => Math.floor(percent * 10) / 10;
