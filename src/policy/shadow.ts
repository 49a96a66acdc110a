/** What rehearsed rules would have changed, computed at decision time and only where one of them matched. */

import type { Allow, Decision, Effect, RuleMatch, Would } from '../decision.ts';

/** Stands for the rule of a call that was allowed only because no rule is enforced. No id of a rule has a colon. */
export const shadowRule = 'postern:shadow';

/** Deny, challenge and throttle are all refusals; this tells which. */
export function effectOf(decision: Decision): Effect {
  if (decision.effect === 'allow') return 'allow';
  if (decision.reason === 'step_up_required') return 'challenge';
  return decision.reason === 'rate_limited' ? 'throttle' : 'deny';
}

/** The decision as it would be, where it differs from the one that is. */
export function difference(actual: Decision, other: Decision): Would | undefined {
  const [is, would] = [wouldOf(actual), wouldOf(other)];
  return is.effect === would.effect && is.reason === would.reason && is.rule === would.rule ? undefined : would;
}

export function wouldOf(decision: Decision): Would {
  const reason = decision.effect === 'allow' ? null : decision.reason;
  return { effect: effectOf(decision), reason, rule: decision.rule ?? null };
}

/** With nothing enforced every call that the rules were asked about passes, and its record says what they said. */
export function unenforced(decision: Decision, matches: readonly RuleMatch[]): Allow {
  if (decision.effect === 'allow') return decision;
  return { effect: 'allow', rule: shadowRule, matches, would: wouldOf(decision) };
}
