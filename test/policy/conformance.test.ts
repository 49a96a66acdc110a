/**
 * The official conformance data of CEL, over the part of CEL that rules have: every test is either refused at load or
 * gives what the specification says. README has the counts, and names what is refused and what differs.
 */

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Value } from '@bufbuild/cel-spec/cel/expr/value_pb.js';
import { getConformanceSuite, type IncrementalTestSuite } from '@bufbuild/cel-spec/testdata/tests.js';
import { describe, expect, it } from 'vitest';
import { isProblem } from '../../src/policy/expression.ts';
import { compile, contextWith } from './exchanges.ts';

type Outcome = 'passes' | 'refused' | 'differs';
type Test = IncrementalTestSuite['tests'][number];

/** What differs, and why it is left so. */
const known: ReadonlySet<string> = new Set([
  // Times beyond the years 1 to 9999 and differences beyond that span: no clock of ours gives them.
  'timestamps/add_duration_under',
  'timestamps/add_duration_over',
  'timestamps/add_duration_nanos_under',
  'timestamps/sub_time_duration_over',
  'timestamps/sub_time_duration_under',
  'timestamps/add_under',
  'timestamps/add_over',
  'timestamps/sub_under',
  'timestamps/sub_over',
]);

function outcomeOf({ original: { expr, resultMatcher } }: Test): Outcome {
  const expression = compile(expr, 'any');
  if (isProblem(expression)) return 'refused';
  const wanted = resultMatcher.case;
  let given: unknown;
  try {
    given = expression.evaluate(contextWith({}));
  } catch {
    return wanted === 'evalError' || wanted === 'anyEvalErrors' ? 'passes' : 'differs';
  }
  // Without a matcher the result is to be true.
  if (wanted === undefined) return given === true ? 'passes' : 'differs';
  if (wanted !== 'value' && wanted !== 'typedResult') return 'differs';
  const value = wanted === 'value' ? resultMatcher.value : resultMatcher.value.result;
  // A test of types alone has no value: that it compiles is what is asked.
  return value === undefined || written(given) === written(plainOf(value)) ? 'passes' : 'differs';
}

function plainOf({ kind }: Value): unknown {
  if (kind.case === 'listValue') return kind.value.values.map(plainOf);
  if (kind.case === 'mapValue' || kind.case === 'objectValue') return { unlike: kind.case };
  return kind.value;
}

/** Ints and doubles apart, and NaN equal to itself. */
function written(value: unknown): string {
  return JSON.stringify(value, (_, part) =>
    typeof part === 'bigint' ? `${part}n` : typeof part === 'number' ? `double ${part}` : part,
  );
}

function testsOf(suite: IncrementalTestSuite): readonly Test[] {
  return [...suite.tests, ...suite.suites.flatMap(testsOf)];
}

const files = getConformanceSuite()
  .suites.map((suite) => ({
    name: suite.name,
    tests: testsOf(suite).map((test) => ({ name: `${suite.name}/${test.name}`, outcome: outcomeOf(test) })),
  }))
  .filter(({ tests }) => tests.length > 0);

describe('conformance with the CEL specification', () => {
  it('gives another answer in the named cases only', () => {
    const differing = files.flatMap(({ tests }) => tests.filter(({ outcome }) => outcome === 'differs'));
    expect(differing.map(({ name }) => name).toSorted()).toEqual([...known].toSorted());
  });

  it('is counted in README as it is', () => {
    const readme = readFileSync(resolve(import.meta.dirname, '../../README.md'), 'utf8');
    const rows = files
      .map(({ name, tests }) => {
        const count = (outcome: Outcome) => tests.filter((test) => test.outcome === outcome).length;
        return { name, passes: count('passes'), differs: count('differs'), refused: count('refused') };
      })
      .filter(({ passes, differs }) => passes + differs > 0)
      .map(({ name, passes, differs, refused }) => `| \`${name}\` | ${passes} | ${differs} | ${refused} |`);
    expect(rows.filter((row) => !readme.includes(row))).toEqual([]);
    const total = files.flatMap(({ tests }) => tests);
    const passing = total.filter(({ outcome }) => outcome === 'passes').length;
    expect(readme).toContain(`${passing} of the ${total.length} tests`);
  });
});
