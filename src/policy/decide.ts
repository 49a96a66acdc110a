/** From rules and a context to a decision: deny beats challenge, challenge beats throttle, throttle beats allow. */

import { type Decision, type Deny, deny, type Effect, type Mode, type RuleMatch } from '../decision.ts';
import { Fault } from '../errors.ts';
import { type Context, withScopes } from './context.ts';
import type { Rule, RuleSet } from './rule-files.ts';
import { difference, effectOf, unenforced } from './shadow.ts';

type Options = {
  readonly ruleSet: Pick<RuleSet, 'rules'>;
  /** With shadow, no rule is enforced, whatever its own mode: what the rules say is recorded, and the call passes. */
  readonly enforcement?: Mode;
  /** A rule that could not be evaluated, enforced or shadow. The fault's message holds nothing of the request. */
  readonly onRuleError: (ruleId: string, fault: unknown) => void;
};

type Circumstances = {
  /** Name of the route. */
  readonly route: string;
  /** By meter name: milliseconds until its count falls. */
  readonly fallsInMs: ReadonlyMap<string, number>;
};

type Entry = { readonly rule: Rule; readonly order: number; readonly matched: RuleMatch; readonly failed: RuleMatch };
/** First matching rule of each effect in file order, and the first that failed. */
type First = { [effect in Effect | 'failed']: Entry | null };
/** A shadow rule that matched or failed, and where it stands among the matches. */
type Rehearsed = { readonly entry: Entry; readonly hasFailed: boolean; readonly index: number };

export type Decide = (context: Context, circumstances: Circumstances) => Decision;

/** Sorts the rules by route once. Every rule of the route is evaluated, so that every match is recorded. */
export function createDecide({ ruleSet, enforcement = 'enforce', onRuleError }: Options): Decide {
  const toEntry = (rule: Rule, order: number) => entryOf(rule, order, enforcement);
  const everywhere = ruleSet.rules.filter((rule) => rule.routes === null).map(toEntry);
  const named = new Set(ruleSet.rules.flatMap((rule) => rule.routes ?? []));
  const byRoute = new Map(
    [...named].map((route) => [
      route,
      ruleSet.rules.filter((rule) => rule.routes === null || rule.routes.includes(route)).map(toEntry),
    ]),
  );

  const decide: Decide = (context, { route, fallsInMs }) => {
    if (context.unfit !== null) return deny('policy_error', { cause: context.unfit });
    const entries = byRoute.get(route) ?? everywhere;
    const first: First = { deny: null, failed: null, challenge: null, throttle: null, allow: null };
    const matches: RuleMatch[] = [];
    let rehearsed: Rehearsed[] | null = null;
    for (const entry of entries) {
      const { rule } = entry;
      const verdict = evaluate(rule, context, onRuleError);
      if (verdict === false) continue;
      matches.push(verdict === true ? entry.matched : entry.failed);
      // A shadow rule is recorded and does nothing else, also when it fails.
      if (rule.mode === 'shadow') {
        rehearsed ??= [];
        rehearsed.push({ entry, hasFailed: verdict === null, index: matches.length - 1 });
      } else if (verdict === true) first[rule.effect] ??= entry;
      else first.failed ??= entry;
    }
    const decision = conclude(first, matches, fallsInMs) ?? denyUnallowed(entries, context, matches);
    if (rehearsed === null || enforcement === 'shadow') return decision;
    return rehearse(decision, first, rehearsed, matches, fallsInMs);
  };
  if (enforcement === 'enforce') return decide;
  return (context, circumstances) => {
    const decision = decide(context, circumstances);
    return unenforced(decision, decision.matches ?? []);
  };
}

/** With nothing enforced the other calls pass, so a rule alone would have brought about just its own effect. */
function entryOf(rule: Rule, order: number, enforcement: Mode): Entry {
  const { id, effect } = rule;
  if (enforcement === 'enforce') {
    const { mode } = rule;
    return {
      rule,
      order,
      matched: { id, effect, mode, failed: false },
      failed: { id, effect, mode, failed: true },
    };
  }
  return {
    rule,
    order,
    matched: { id, effect, mode: 'shadow', failed: false, would: effect },
    failed: { id, effect, mode: 'shadow', failed: true, would: 'deny' },
  };
}

/** The same decision with what each shadow rule would have made of it alone, and all of them together. */
function rehearse(
  decision: Decision,
  first: First,
  rehearsed: readonly Rehearsed[],
  matches: RuleMatch[],
  fallsInMs: ReadonlyMap<string, number>,
): Decision {
  let all = first;
  for (const { entry, hasFailed, index } of rehearsed) {
    const alone = conclude(withEntry(first, entry, hasFailed), matches, fallsInMs) ?? decision;
    // What is recorded of all other requests is shared between them, so this is a copy.
    matches[index] = { ...(hasFailed ? entry.failed : entry.matched), would: effectOf(alone) };
    all = withEntry(all, entry, hasFailed);
  }
  const would = difference(decision, conclude(all, matches, fallsInMs) ?? decision);
  return would === undefined ? decision : { ...decision, would };
}

function withEntry(first: First, entry: Entry, hasFailed: boolean): First {
  const place = hasFailed ? 'failed' : entry.rule.effect;
  const other = first[place];
  return other !== null && other.order < entry.order ? first : { ...first, [place]: entry };
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
  const denying = first.deny?.rule;
  const failed = first.failed?.rule;
  const challenge = first.challenge?.rule;
  const throttle = first.throttle?.rule;
  const allow = first.allow?.rule;
  if (denying !== undefined) return denyBy(denying, readsDrift(denying) ? 'drift_blocked' : 'rule_denied', matches);
  // A failed rule could have been the one that denies, so nothing weaker than a deny may stand in its way.
  if (failed !== undefined)
    return { ...denyBy(failed, 'policy_error', matches), detail: undefined, cause: `${failed.id} failed` };
  if (challenge !== undefined) {
    return { ...denyBy(challenge, 'step_up_required', matches), challenge: challenge.challenge ?? {} };
  }
  if (throttle !== undefined) {
    const retryAfterSeconds = retryAfter(throttle, fallsInMs);
    return { ...denyBy(throttle, 'rate_limited', matches), retryAfterSeconds };
  }
  return allow === undefined ? null : { effect: 'allow', rule: allow.id, matches };
}

/** Whether a rule judges behaviour: who is denied by it should know that the call as such may be fine. */
function readsDrift({ when }: Rule): boolean {
  for (const path of when.reads) if (path.startsWith('drift.')) return true;
  return false;
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
