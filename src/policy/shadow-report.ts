/** What audit records say about shadow rules: what would have changed, by rule, route and agent, with examples. */

import type { Effect, Would } from '../decision.ts';
import { createRecordSpan, type RecordSpan } from './record-span.ts';

/** What is read of an audit record. Whatever else is in it does not matter here. */
export type RecordedDecision = {
  readonly type: 'decision';
  readonly id: string;
  readonly time: string;
  readonly decision: 'allow' | 'deny';
  readonly reason: string | null;
  readonly route: string | null;
  readonly policy: string | null;
  readonly rules: readonly {
    readonly id: string;
    readonly effect: Effect;
    readonly mode: string;
    readonly failed: boolean;
    readonly would?: Effect;
  }[];
  readonly would?: Would | null;
  readonly agent: { readonly id: string } | null;
  readonly request: { readonly method: string; readonly path: string | null };
};

export type Example = {
  readonly id: string;
  readonly time: string;
  readonly call: string;
  readonly agent: string | null;
  readonly from: Effect;
  readonly to: Effect;
};

/** Calls whose outcome would have been another. */
export type Changes = {
  /** Allowed calls that would have been refused. */
  readonly refused: number;
  /** Refused calls that would have passed. */
  readonly allowed: number;
  /** Refused calls that would have been refused in another way. */
  readonly otherwise: number;
  readonly routes: Readonly<Record<string, number>>;
  readonly agents: Readonly<Record<string, number>>;
  readonly examples: readonly Example[];
};

export type RuleReport = {
  readonly rule: string;
  readonly effect: Effect;
  readonly matches: number;
  readonly failures: number;
  /** If this rule alone were enforced. */
  readonly alone: Changes;
};

export type ShadowReport = RecordSpan & {
  /** If every shadow rule were enforced, by the rule that would have decided; `none` where no rule would have. */
  readonly together: Changes & { readonly rules: Readonly<Record<string, number>> };
  readonly rules: readonly RuleReport[];
};

const rulesMax = 2000;
const namesMax = 200;
const examplesMax = 5;
/** Stands for all names beyond the first so many: what is counted is bounded, whatever is read. */
export const others = '(others)';

type Tally = {
  refused: number;
  allowed: number;
  otherwise: number;
  readonly routes: Map<string, number>;
  readonly agents: Map<string, number>;
  readonly examples: Example[];
};
type RuleTally = { readonly effect: Effect; matches: number; failures: number; readonly alone: Tally };

export type ShadowCounter = {
  readonly add: (record: RecordedDecision) => void;
  readonly report: () => ShadowReport;
};

export function createShadowCounter(): ShadowCounter {
  const rules = new Map<string, RuleTally>();
  const together = newTally();
  const byRule = new Map<string, number>();
  const span = createRecordSpan();
  return {
    add(record) {
      span.add(record);
      const actual = recordedEffect(record);
      for (const { id, effect, mode, failed, would } of record.rules) {
        if (mode !== 'shadow') continue;
        const tally = rules.get(id) ?? { effect, matches: 0, failures: 0, alone: newTally() };
        if (!rules.has(id)) {
          if (rules.size >= rulesMax) continue;
          rules.set(id, tally);
        }
        if (failed) tally.failures++;
        else tally.matches++;
        if (would !== undefined) count(tally.alone, record, actual, would);
      }
      if (record.would != null && record.would.effect !== actual) {
        count(together, record, actual, record.would.effect);
        increment(byRule, record.would.rule ?? 'none');
      }
    },
    report: () => ({
      ...span.span(),
      together: { ...changesOf(together), rules: sorted(byRule) },
      rules: [...rules]
        .map(([rule, { effect, matches, failures, alone }]) => ({
          rule,
          effect,
          matches,
          failures,
          alone: changesOf(alone),
        }))
        .toSorted((one, other) => weight(other.alone) - weight(one.alone) || other.matches - one.matches),
    }),
  };
}

/** Of a decision as it is recorded. */
export function recordedEffect({ decision, reason }: Pick<RecordedDecision, 'decision' | 'reason'>): Effect {
  if (decision === 'allow') return 'allow';
  if (reason === 'step_up_required') return 'challenge';
  return reason === 'rate_limited' ? 'throttle' : 'deny';
}

function newTally(): Tally {
  return { refused: 0, allowed: 0, otherwise: 0, routes: new Map(), agents: new Map(), examples: [] };
}

function count(tally: Tally, record: RecordedDecision, from: Effect, to: Effect): void {
  if (from === to) return;
  if (from === 'allow') tally.refused++;
  else if (to === 'allow') tally.allowed++;
  else tally.otherwise++;
  increment(tally.routes, record.route ?? 'none');
  increment(tally.agents, record.agent?.id ?? 'none');
  if (tally.examples.length >= examplesMax) return;
  const { id, time, request, agent } = record;
  const call = `${request.method} ${request.path ?? ''}`.trim();
  tally.examples.push({ id, time, call, agent: agent?.id ?? null, from, to });
}

function increment(counts: Map<string, number>, name: string): void {
  const key = counts.has(name) || counts.size < namesMax ? name : others;
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function changesOf({ routes, agents, ...rest }: Tally): Changes {
  return { ...rest, routes: sorted(routes), agents: sorted(agents) };
}

/** Most first. */
function sorted(counts: ReadonlyMap<string, number>): Readonly<Record<string, number>> {
  return Object.fromEntries([...counts].toSorted(([, one], [, other]) => other - one));
}

const weight = ({ refused, allowed, otherwise }: Changes) => refused + allowed + otherwise;

/** Whether a line of an audit log is a decision that can be counted. */
export function isRecordedDecision(value: unknown): value is RecordedDecision {
  if (!isObject(value)) return false;
  const { type, id, time, decision, rules, request, agent, would } = value;
  if (type !== 'decision' || typeof id !== 'string' || typeof time !== 'string') return false;
  if ((decision !== 'allow' && decision !== 'deny') || !Array.isArray(rules) || !isObject(request)) return false;
  if (![value.reason, value.route, value.policy, request.method, request.path].every(isTextOrNone)) return false;
  const areRules = rules.every((rule) => isObject(rule) && typeof rule.id === 'string' && isTextOrNone(rule.would));
  const isWould = would == null || (isObject(would) && [would.effect, would.reason, would.rule].every(isTextOrNone));
  return areRules && isWould && (agent == null || (isObject(agent) && isTextOrNone(agent.id)));
}

const isTextOrNone = (value: unknown) => value == null || typeof value === 'string';

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
