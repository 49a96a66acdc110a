/** What a case expected, held against what came of it. */

import { isDeepStrictEqual } from 'node:util';
import type { Decision, RuleMatch } from '../../decision.ts';
import { plainOf } from '../plain.ts';
import { effectOf } from '../shadow.ts';
import type { Expectation } from './test-schema.ts';

/** One thing that is not as expected. */
export type Mismatch = { readonly what: string; readonly expected: unknown; readonly actual: unknown };

/** The value of an expression, or why there is none. */
export type Evaluated = { readonly value: unknown } | { readonly failed: string };

export function compare(
  expect: Expectation,
  decision: Decision,
  evaluate: (source: string) => Evaluated,
): readonly Mismatch[] {
  const mismatches: Mismatch[] = [];
  const hold = (what: string, expected: unknown, actual: unknown) => {
    if (expected !== undefined && expected !== actual) mismatches.push({ what, expected, actual });
  };
  hold('effect', expect.effect, effectOf(decision));
  hold('reason', expect.reason, decision.effect === 'allow' ? null : decision.reason);
  hold('rule', expect.rule, decision.rule ?? null);
  hold('message', expect.message, decision.effect === 'allow' ? null : (decision.detail ?? null));
  hold('scope', expect.scope, decision.effect === 'allow' ? null : (decision.challenge?.scope ?? null));
  hold('would', expect.would, decision.would?.effect ?? effectOf(decision));
  mismatches.push(...compareMatches(expect.matches, decision.matches ?? []));
  for (const [source, expected] of Object.entries(expect.values ?? {})) {
    const found = evaluate(source);
    if ('failed' in found) {
      if (expected !== null) mismatches.push({ what: source, expected, actual: `no value: ${found.failed}` });
    } else if (!isSame(found.value, expected)) {
      mismatches.push({ what: source, expected, actual: plainOf(found.value) });
    }
  }
  return mismatches;
}

/** A rule whose evaluation failed does not match. */
function compareMatches(expected: Expectation['matches'], matches: readonly RuleMatch[]): readonly Mismatch[] {
  if (expected === undefined) return [];
  const matched = matches.filter(({ failed }) => !failed).map(({ id }) => id);
  if (Array.isArray(expected)) {
    const isSameSet = isDeepStrictEqual(new Set(expected), new Set(matched));
    return isSameSet ? [] : [{ what: 'matches', expected, actual: matched }];
  }
  const { include = [], exclude = [] } = expected as Exclude<typeof expected, readonly string[]>;
  const missing = include.filter((id) => !matched.includes(id));
  const unwanted = exclude.filter((id) => matched.includes(id));
  return [
    ...(missing.length === 0 ? [] : [{ what: 'matches, among others', expected: missing, actual: matched }]),
    ...(unwanted.length === 0 ? [] : [{ what: 'matches, without', expected: unwanted, actual: matched }]),
  ];
}

/** Numbers by value, whatever CEL's type; times and durations as text in any form that means the same. */
function isSame(actual: unknown, expected: unknown): boolean {
  if (actual instanceof Date && typeof expected === 'string') return actual.getTime() === Date.parse(expected);
  return isDeepStrictEqual(plainOf(actual), expected);
}
