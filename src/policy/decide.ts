/** From rules and a context to a decision: deny beats challenge, challenge beats throttle, throttle beats allow. */

import { type Decision, type Deny, deny, type Effect, type RuleMatch } from '../decision.ts';
import { Fault } from '../errors.ts';
import { type Context, withScopes } from './context.ts';
import type { Rule, RuleSet } from './rule-files.ts';

type Options = {
  readonly ruleSet: Pick<RuleSet, 'rules'>;
  /** A rule that could not be evaluated, enforced or shadow. The fault's message holds nothing of the request. */
  readonly onRuleError: (ruleId: string, fault: unknown) => void;
};

type Circumstances = {
  /** Name of the route. */
  readonly route: string;
  /** By meter name: milliseconds until its count falls. */
  readonly fallsInMs: ReadonlyMap<string, number>;
};

type Entry = { readonly rule: Rule; readonly matched: RuleMatch; readonly failed: RuleMatch };
/** First matching enforced rule of each effect in file order, and the first that failed. */
type First = { [effect in Effect | 'failed']: Rule | null };

export type Decide = (context: Context, circumstances: Circumstances) => Decision;

/** Sorts the rules by route once. Every rule of the route is evaluated, so that every match is recorded. */
export function createDecide({ ruleSet, onRuleError }: Options): Decide {
  const everywhere = ruleSet.rules.filter((rule) => rule.routes === null).map(entryOf);
  const named = new Set(ruleSet.rules.flatMap((rule) => rule.routes ?? []));
  const byRoute = new Map(
    [...named].map((route) => [
      route,
      ruleSet.rules.filter((rule) => rule.routes === null || rule.routes.includes(route)).map(entryOf),
    ]),
  );

  return (context, { route, fallsInMs }) => {
    if (context.unfit !== null) return deny('policy_error', { cause: context.unfit });
    const entries = byRoute.get(route) ?? everywhere;
    const first: First = { deny: null, failed: null, challenge: null, throttle: null, allow: null };
    const matches: RuleMatch[] = [];
    for (const { rule, matched, failed } of entries) {
      const verdict = evaluate(rule, context, onRuleError);
      if (verdict === false) continue;
      matches.push(verdict === true ? matched : failed);
      // A shadow rule is recorded and does nothing else, also when it fails.
      if (rule.mode === 'shadow') continue;
      if (verdict === true) first[rule.effect] ??= rule;
      else first.failed ??= rule;
    }
    return conclude(first, matches, fallsInMs) ?? denyUnallowed(entries, context, matches);
  };
}

function entryOf(rule: Rule): Entry {
  const { id, effect, mode } = rule;
  return { rule, matched: { id, effect, mode, failed: false }, failed: { id, effect, mode, failed: true } };
}

/** Whether the rule matches; null where its evaluation failed. */
function evaluate(rule: Rule, context: Context, onRuleError: Options['onRuleError'] | null): boolean | null {
  try {
    const value = rule.when.evaluate(context);
    if (typeof value === 'boolean') return value;
    throw new Fault('expression_failed', 'gave something other than bool');
  } catch (fault) {
    onRuleError?.(rule.id, fault);
    return null;
  }
}

/** The decision of the rules that matched or failed; null where nothing was said. */
function conclude(first: First, matches: RuleMatch[], fallsInMs: ReadonlyMap<string, number>): Decision | null {
  const { deny: denying, failed, challenge, throttle, allow } = first;
  if (denying !== null) return denyBy(denying, 'rule_denied', matches);
  // A failed rule could have been the one that denies, so nothing weaker than a deny may stand in its way.
  if (failed !== null)
    return { ...denyBy(failed, 'policy_error', matches), detail: undefined, cause: `${failed.id} failed` };
  if (challenge !== null) {
    return { ...denyBy(challenge, 'step_up_required', matches), challenge: challenge.challenge ?? {} };
  }
  if (throttle !== null) {
    const retryAfterSeconds = retryAfter(throttle, fallsInMs);
    return { ...denyBy(throttle, 'rate_limited', matches), retryAfterSeconds };
  }
  return allow === null ? null : { effect: 'allow', rule: allow.id, matches };
}

function denyBy(rule: Rule, reason: Deny['reason'], matches: readonly RuleMatch[]): Deny {
  return deny(reason, { rule: rule.id, detail: rule.message, matches });
}

/** When every meter that the rule reads has fallen, if nothing more is counted. */
function retryAfter(rule: Rule, fallsInMs: ReadonlyMap<string, number>): number {
  let longestMs = 0;
  for (const [meter, ms] of fallsInMs) {
    if (rule.when.reads.has(`rate.${meter}`)) longestMs = Math.max(longestMs, ms);
  }
  return Math.max(1, Math.ceil(longestMs / 1000));
}

/**
 * No rule allows. Where an allow rule would match if only the token had the scopes that the rule names, the agent is
 * told which (RFC 6750 §3.1); where no scope can help it is not, or clients would ask for scopes for ever.
 */
function denyUnallowed(entries: readonly Entry[], context: Context, matches: readonly RuleMatch[]): Deny {
  const enforced = entries.map(({ rule }) => rule).filter((rule) => rule.mode === 'enforce');
  for (const rule of enforced) {
    if (rule.effect !== 'allow') continue;
    const scopes = missingScopes(rule, context);
    if (scopes.length === 0) continue;
    const granted = grant(context, scopes);
    const isBlocked = enforced.some((other) => other.effect === 'deny' && evaluate(other, granted, null) !== false);
    if (isBlocked) continue;
    return deny('scope_insufficient', { rule: rule.id, matches, challenge: { scope: scopes.join(' ') } });
  }
  return deny('no_matching_rule', { matches });
}

function grant(context: Context, scopes: readonly string[]): Context {
  return withScopes(context, [...context.token.scopes, ...scopes]);
}

/** The scopes without which the rule does not match, and with which it does; none where scopes can't change that. */
function missingScopes(rule: Rule, context: Context): readonly string[] {
  const held = new Set(context.token.scopes);
  let missing = rule.when.scopeLiterals.filter((scope) => !held.has(scope));
  const isEnough = (scopes: readonly string[]) => evaluate(rule, grant(context, scopes), null) === true;
  if (missing.length === 0 || !isEnough(missing)) return [];
  for (const scope of missing) {
    const fewer = missing.filter((other) => other !== scope);
    if (isEnough(fewer)) missing = fewer;
  }
  return missing;
}
