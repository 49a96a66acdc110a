/**
 * What throttle rules grant, told on every answer (draft-ietf-httpapi-ratelimit-headers-10): so that agents slow down
 * before they are refused. A quota is read out of rules, and never a second place to state one.
 */

import type { ASTNode } from '@marcbachmann/cel-js';
import { childrenOf } from './ast.ts';
import { type Context, withRates } from './context.ts';
import type { Expression } from './expression.ts';
import { conjunctsOf } from './precondition.ts';
import type { RuleSet } from './rule-files.ts';

/** Up to `limit` by this meter, and no further. */
export type Quota = {
  readonly meter: string;
  readonly limit: number;
  /** Whether the condition says nothing else, so that it is about every request. */
  readonly isAlways: boolean;
};

type Comparison = '>' | '>=' | '<' | '<=';
const mirrored: Readonly<Record<Comparison, Comparison>> = { '>': '<', '>=': '<=', '<': '>', '<=': '>=' };

/**
 * The quota of a condition such as `request.method == "POST" && rate.calls > 60`: one comparison of one count with a
 * number, all else being conditions that have nothing to do with counts. Null for every other condition.
 */
export function quotaOf(condition: ASTNode): Quota | null {
  const parts = conjunctsOf(condition);
  const [counting, another] = parts.filter(readsRate);
  return counting === undefined || another !== undefined ? null : quotaIn(counting, parts.length === 1);
}

function readsRate(node: ASTNode): boolean {
  return (node.op === 'id' && node.args === 'rate') || childrenOf(node).some(readsRate);
}

function quotaIn(node: ASTNode, isAlways: boolean): Quota | null {
  if (node.op !== '>' && node.op !== '>=' && node.op !== '<' && node.op !== '<=') return null;
  const [left, right] = node.args;
  const isMirrored = left.op === 'value';
  const [count, bound] = isMirrored ? [right, left] : [left, right];
  const operator = isMirrored ? mirrored[node.op] : node.op;
  if (count.op !== '.' || bound.op !== 'value' || typeof bound.args !== 'bigint') return null;
  if (operator !== '>' && operator !== '>=') return null;
  const limit = Number(bound.args) - (operator === '>=' ? 1 : 0);
  // RFC 8941 §3.3.1: an integer of a structured field has 15 digits at most.
  return limit >= 0 && limit < 1e15 ? { meter: count.args[1], limit, isAlways } : null;
}

type Options = {
  readonly ruleSet: Pick<RuleSet, 'rules'>;
  readonly meters: readonly { readonly name: string; readonly windowMs: number }[];
};

type Counted = {
  /** Name of the route. */
  readonly route: string;
  /** By meter name. */
  readonly rates: ReadonlyMap<string, number>;
  readonly fallsInMs: ReadonlyMap<string, number>;
};

type Field = readonly [string, string];
const none: readonly Field[] = [];
const beyondAll = Number.MAX_SAFE_INTEGER;

/**
 * Gives RateLimit-Policy and RateLimit for the quotas of enforced rules that would throttle this very request if only
 * their counts were high enough. Of several quotas of one meter the strictest is told.
 */
export function createRateLimitFields({ ruleSet, meters }: Options) {
  const windowsMs = new Map(meters.map(({ name, windowMs }) => [name, windowMs]));
  const exhausted = new Map(meters.map(({ name }) => [name, beyondAll]));
  const granting = ruleSet.rules.flatMap(({ effect, mode, routes, when }) =>
    effect === 'throttle' && mode === 'enforce' && when.quota !== null ? [{ ...when.quota, routes, when }] : [],
  );
  return (context: Context, { route, rates, fallsInMs }: Counted): readonly Field[] => {
    if (granting.length === 0 || context.unfit !== null) return none;
    let atMost: Context | null = null;
    const isAsked = (when: Expression) => {
      atMost ??= withRates(context, exhausted);
      return isTrue(when, atMost);
    };
    const limits = new Map<string, number>();
    for (const { meter, limit, isAlways, routes, when } of granting) {
      if (routes !== null && !routes.includes(route)) continue;
      if (limit >= (limits.get(meter) ?? beyondAll)) continue;
      if (isAlways || isAsked(when)) limits.set(meter, limit);
    }
    if (limits.size === 0) return none;
    const policies: string[] = [];
    const states: string[] = [];
    for (const [meter, limit] of limits) {
      policies.push(`"${meter}";q=${limit};w=${seconds(windowsMs.get(meter) ?? 0)}`);
      const remaining = Math.max(0, limit - (rates.get(meter) ?? 0));
      states.push(`"${meter}";r=${remaining};t=${seconds(fallsInMs.get(meter) ?? 0)}`);
    }
    return [
      ['ratelimit-policy', policies.join(', ')],
      ['ratelimit', states.join(', ')],
    ];
  };
}

const seconds = (ms: number) => Math.ceil(ms / 1000);

function isTrue(when: Expression, context: Context): boolean {
  try {
    return when.evaluate(context) === true;
  } catch {
    return false;
  }
}
