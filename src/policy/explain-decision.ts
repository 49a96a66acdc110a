/** A decision with every rule's part in it, for a request of now, of an audit record or of somebody's description. */

import { setImmediate } from 'node:timers/promises';
import type { Decision, Effect, Reason, Would } from '../decision.ts';
import type { Context } from './context.ts';
import { createDecide } from './decide.ts';
import { type Change, explainRule, type RuleExplanation } from './explain.ts';
import type { Compile } from './expression.ts';
import { type RecordedInputs, restoreContext, wantedBy } from './inputs.ts';
import type { RuleSet } from './rule-files.ts';
import { effectOf } from './shadow.ts';

/** Rules with what their expressions are compiled by. */
export type Policy = { readonly ruleSet: RuleSet; readonly compile: Compile };

/** A rule that would have to match, or not to match any more, and the least that brings it about. */
export type Flip = { readonly rule: string; readonly mustMatch: boolean; readonly changes: readonly Change[] };

export type Explanation = {
  readonly effect: Effect;
  readonly reason: Reason | null;
  readonly rule: string | null;
  readonly cause: string | null;
  readonly would: Would | null;
  /** All rules of the route, in file order. */
  readonly rules: readonly RuleExplanation[];
  /** What would have turned the decision round: all of these together, or any one of them. */
  readonly toFlip: { readonly needs: 'all' | 'any'; readonly rules: readonly Flip[] };
};

const nearestMax = 3;

/** Judges the context anew, by these rules. Calls that wait are served between one rule and the next. */
export async function explainDecision({ ruleSet, compile }: Policy, context: Context): Promise<Explanation> {
  const route = context.route.name;
  const decide = createDecide({ ruleSet, onRuleError: () => {} });
  const decision = decide(context, { route, fallsInMs: new Map() });
  const rules: RuleExplanation[] = [];
  for (const rule of ruleSet.rules) {
    if (rule.routes !== null && !rule.routes.includes(route)) continue;
    rules.push(explainRule(rule, compile, context));
    await setImmediate();
  }
  return {
    effect: effectOf(decision),
    reason: decision.effect === 'allow' ? null : decision.reason,
    rule: decision.rule ?? null,
    cause: decision.effect === 'allow' ? null : (decision.cause ?? null),
    would: decision.would ?? null,
    rules,
    toFlip: flipsOf(decision, rules),
  };
}

function flipsOf(decision: Decision, rules: readonly RuleExplanation[]): Explanation['toFlip'] {
  const enforced = rules.filter(({ mode, result }) => mode === 'enforce' && result !== 'failed');
  const isAllow = ({ effect }: RuleExplanation) => effect === 'allow';
  const matching = enforced.filter(({ result }) => result === 'matched');
  const idle = enforced.filter(({ result }) => result === 'not matched').toSorted(byChanges);
  if (decision.effect === 'allow') {
    const refusing = idle.filter((rule) => !isAllow(rule)).slice(0, nearestMax);
    const allowing = matching.filter(isAllow);
    // Where several rules allow, none alone can take the permission back.
    return { needs: 'any', rules: [...(allowing.length === 1 ? allowing : []), ...refusing].flatMap(flipOf) };
  }
  const refusing = matching.filter((rule) => !isAllow(rule));
  const nearest = matching.some(isAllow) ? [] : idle.filter(isAllow);
  if (refusing.length === 0) return { needs: 'any', rules: nearest.slice(0, nearestMax).flatMap(flipOf) };
  return { needs: 'all', rules: [...refusing, ...nearest.slice(0, 1)].flatMap(flipOf) };
}

function byChanges(one: RuleExplanation, other: RuleExplanation): number {
  return (one.toFlip[0]?.length ?? Number.POSITIVE_INFINITY) - (other.toFlip[0]?.length ?? Number.POSITIVE_INFINITY);
}

function flipOf({ id, result, toFlip }: RuleExplanation): readonly Flip[] {
  const [changes] = toFlip;
  return changes === undefined ? [] : [{ rule: id, mustMatch: result !== 'matched', changes }];
}

/** What is read of the record of a decision. */
export type ExplainableRecord = RecordedInputs & {
  readonly decision: 'allow' | 'deny';
  readonly reason: string | null;
  readonly rule: string | null;
  readonly cause: string | null;
  readonly policy: string | null;
  readonly end?: string | null;
};

export type RecordExplanation = {
  /** As it was. */
  readonly recorded: {
    readonly id: string;
    readonly time: string;
    readonly decision: 'allow' | 'deny';
    readonly reason: string | null;
    readonly rule: string | null;
    readonly cause: string | null;
    readonly end: string | null;
  };
  /** Whether the rules are those that decided. */
  readonly isSamePolicy: boolean;
  /** What these rules read and the record does not hold. */
  readonly missing: readonly string[];
  /** Null where no rule was asked, or the record does not hold what rules read. */
  readonly explanation: Explanation | null;
};

/** Judges anew what the record holds. */
export async function explainRecord(policy: Policy, record: ExplainableRecord): Promise<RecordExplanation> {
  const { id, time, decision, reason, rule, cause, end = null } = record;
  const recorded = { id, time, decision, reason, rule, cause, end };
  const isSamePolicy = record.policy === policy.ruleSet.hash;
  if (record.inputs == null) return { recorded, isSamePolicy, missing: [], explanation: null };
  const { context, missing } = restoreContext(record, wantedBy(policy.ruleSet.rules.map(({ when }) => when)));
  // Rules are chosen by their route, whether or not any of them reads its name.
  context.route.name = record.route ?? '';
  return { recorded, isSamePolicy, missing, explanation: await explainDecision(policy, context) };
}

/** Whether a value is the record of a decision, as far as it is read here. What rules read is looked at when it is. */
export function isExplainableRecord(value: unknown): value is ExplainableRecord {
  if (!isObject(value)) return false;
  const { type, id, time, decision, request, source, inputs } = value;
  if (type !== 'decision' || typeof id !== 'string' || typeof time !== 'string') return false;
  if (Number.isNaN(Date.parse(time)) || (decision !== 'allow' && decision !== 'deny')) return false;
  const texts = [value.reason, value.rule, value.cause, value.policy, value.route, value.end];
  if (!texts.every((text) => text == null || typeof text === 'string')) return false;
  return isObject(request) && isObject(source) && (inputs == null || isInputs(inputs));
}

function isInputs(inputs: unknown): boolean {
  if (!isObject(inputs)) return false;
  const { values, missing, unfit } = inputs;
  const areTexts = Array.isArray(missing) && missing.every((name) => typeof name === 'string');
  return isObject(values) && areTexts && (unfit === undefined || typeof unfit === 'string');
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
