/**
 * What other rules would have decided about a recorded request. Exact, or not told at all: where a rule asks for what
 * the record does not hold, nothing is guessed.
 */

import type { Reason, Would } from '../decision.ts';
import type { Context } from './context.ts';
import { createDecide } from './decide.ts';
import { isExplainableRecord } from './explain-decision.ts';
import { type RecordedInputs, restoreContext, wantedBy } from './inputs.ts';
import type { Rule, RuleSet } from './rule-files.ts';
import { shadowRule, wouldOf } from './shadow.ts';
import { isRecordedDecision, type RecordedDecision, recordedEffect } from './shadow-report.ts';
import { RateRecord } from './variables.ts';

export type ReplayableRecord = RecordedInputs & RecordedDecision & { readonly rule: string | null };

export type Replayed =
  /** Rules were not asked, or not what was decided by. */
  | { readonly kind: 'elsewhere' }
  /** What these rules asked for and the record does not hold. */
  | { readonly kind: 'untold'; readonly missing: readonly string[] }
  | { readonly kind: 'told'; readonly was: Would; readonly is: Would };

/** What rules decide. The same reasons come from elsewhere before anything is counted. */
const reasonsOfRules: ReadonlySet<string> = new Set<Reason>([
  ...(['rule_denied', 'drift_blocked', 'policy_error', 'step_up_required', 'rate_limited'] as const),
  ...(['scope_insufficient', 'no_matching_rule'] as const),
]);

/** What the rules said then, which is not what became of the call where they were only rehearsed; null without any. */
export function recordedVerdict(record: ReplayableRecord): Would | null {
  const { decision, rule, rules, reason, would = null } = record;
  // Counted first, and judged then.
  if (record.rates == null) return null;
  if (rule === shadowRule) return would;
  if (rule?.startsWith('postern:') === true) return null;
  if (decision === 'allow') return { effect: 'allow', reason: null, rule };
  if (reason === 'credential_unavailable') {
    const allowing = rules.filter(({ effect, failed }) => effect === 'allow' && !failed);
    const first = allowing.find(({ mode }) => mode === 'enforce');
    // Without an enforced rule nothing was enforced, and what rules said is where it differs from what was done.
    if (first === undefined && would !== null) return would;
    return { effect: 'allow', reason: null, rule: (first ?? allowing[0])?.id ?? null };
  }
  if (!reasonsOfRules.has(reason ?? '')) return null;
  return { effect: recordedEffect(record), reason: reason as Reason, rule };
}

type Wanted = ReturnType<typeof wantedBy>;
/** A rule with what it reads. */
type Reading = { readonly rule: Rule; readonly wanted: Wanted };
/** Of the record under way: what each rule lacks, and what has been asked for in vain, and by which rules. */
type Gaps = {
  lacking: ReadonlyMap<string, readonly string[]>;
  readonly asked: Set<string>;
  readonly unsure: Set<string>;
};

/** Whether a value is the record of a decision, as far as it is read here. */
export function isReplayableRecord(value: unknown): value is ReplayableRecord {
  return isRecordedDecision(value) && isExplainableRecord(value);
}

export function createReplay({ rules }: Pick<RuleSet, 'rules'>): (record: ReplayableRecord) => Replayed {
  const gaps: Gaps = { lacking: new Map(), asked: new Set(), unsure: new Set() };
  const order = new Map(rules.map(({ id }, index) => [id, index]));
  const decide = createDecide({ ruleSet: { rules: rules.map((rule) => watched(rule, gaps)) }, onRuleError: () => {} });
  // Of all rules, also those of other routes: a value beyond its bounds denies wherever any rule reads it.
  const wanted = wantedBy(rules.map(({ when }) => when));
  const readings = rules.map((rule) => ({ rule, wanted: wantedBy([rule.when]) }));

  return (record) => {
    const was = recordedVerdict(record);
    if (was === null) return { kind: 'elsewhere' };
    const route = record.route ?? '';
    const { context, missing } = restoreContext(record, wanted);
    if (context.unfit === null && isUnfit(record, was, missing)) {
      return { kind: 'untold', missing: [record.inputs?.unfit ?? 'inputs.unfit'] };
    }
    gaps.lacking = missing.length === 0 ? nothingLacking : lackingOf(readings, route, missing);
    gaps.asked.clear();
    gaps.unsure.clear();
    const is = wouldOf(decide(context, { route, fallsInMs: noFalls }));
    if (gaps.unsure.size === 0) return { kind: 'told', was, is };
    // The first deny rule decides, whatever the rules after it and those of other effects make of the request.
    const isDenied = is.reason === 'rule_denied' || is.reason === 'drift_blocked';
    const first = isDenied ? (order.get(is.rule ?? '') ?? -1) : -1;
    const mayDecide = (id: string) => {
      const index = order.get(id) ?? 0;
      return first < 0 || (rules[index]?.effect === 'deny' && index < first);
    };
    if ([...gaps.unsure].some(mayDecide)) return { kind: 'untold', missing: [...gaps.asked] };
    return { kind: 'told', was, is };
  };
}

/**
 * A value was beyond its bounds that these rules do not read; a meter still might. And of several such values the record
 * names one, so that any other that it does not hold may be such a value too.
 */
function isUnfit({ inputs }: ReplayableRecord, was: Would, missing: readonly string[]): boolean {
  return (was.reason === 'policy_error' && was.rule === null) || (inputs?.unfit !== undefined && missing.length > 0);
}

const nothingLacking: Gaps['lacking'] = new Map();
/** When counts fall makes no difference to what is decided. */
const noFalls: ReadonlyMap<string, number> = new Map();

function lackingOf(readings: readonly Reading[], route: string, missing: readonly string[]): Gaps['lacking'] {
  const lacking = new Map<string, readonly string[]>();
  for (const { rule, wanted } of readings) {
    if (rule.mode === 'shadow' || rule.routes?.includes(route) === false) continue;
    const keys = missing.filter((key) => isWanted(key, wanted));
    if (keys.length > 0) lacking.set(rule.id, keys);
  }
  return lacking;
}

/** A key is a path, or a path with the name of a member: `request.headers[x-team]`. */
function isWanted(key: string, wanted: Wanted): boolean {
  const [path, name] = partsOf(key);
  const names = wanted.get(path);
  return names !== undefined && (names === null || name === null || names.has(name));
}

function partsOf(key: string): readonly [path: string, name: string | null] {
  const bracket = key.indexOf('[');
  return bracket < 0 ? [key, null] : [key.slice(0, bracket), key.slice(bracket + 1, -1)];
}

/** Asked for where an expression is evaluated on its way to a value; CEL's own logic says whether it matters. */
class NotRecorded extends Error {}

/** The same rule; with a failure, and a note of it, where it comes to ask for what the record does not hold. */
function watched(rule: Rule, gaps: Gaps): Rule {
  const { when } = rule;
  const evaluate = (context: Context): unknown => {
    const lacking = gaps.lacking.get(rule.id);
    if (lacking === undefined) return when.evaluate(context);
    const asked = new Set<string>();
    try {
      return when.evaluate(withGaps(context, lacking, asked));
    } catch (fault) {
      if (asked.size === 0) throw fault;
      for (const key of asked) gaps.asked.add(key);
      gaps.unsure.add(rule.id);
      throw new NotRecorded();
    }
  };
  return { ...rule, when: { ...when, evaluate } };
}

/** A copy in which reading what is lacking fails. A map that lacks a member that the rule asks for fails as a whole. */
function withGaps(context: Context, lacking: readonly string[], asked: Set<string>): Context {
  const copy: Record<string, unknown> = { ...context };
  const copied = new Set<string>();
  for (const [path, keys] of Map.groupBy(lacking, (key) => partsOf(key)[0])) {
    const fail = (): never => {
      for (const key of keys) asked.add(key);
      throw new NotRecorded();
    };
    const [variable = '', field = ''] = path.split('.');
    if (!copied.has(variable)) copy[variable] = copyOf(copy[variable] as object);
    copied.add(variable);
    if (variable === 'rate') failOn(copy.rate as RateRecord, field, fail);
    else Object.defineProperty(copy[variable], field, { get: fail, configurable: true });
    if (path === 'token.claims') Object.defineProperty(copy, 'jwt', { get: fail, configurable: true });
  }
  return copy as unknown as Context;
}

/** Of the same class, by which the engine knows what fields it has. */
function copyOf(record: object): object {
  if (record instanceof RateRecord) return new RateRecord(record);
  return Object.assign(Object.create(Object.getPrototypeOf(record)), record);
}

function failOn(rate: RateRecord, meter: string, fail: () => never): void {
  const get = rate.get;
  rate.get = (name) => (name === meter ? fail() : get.call(rate, name));
}
