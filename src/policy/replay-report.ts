/** What another rule set would have made of recorded decisions: counted by rule, route and agent, with examples. */

import type { Would } from '../decision.ts';
import { createRecordSpan, type RecordSpan } from './record-span.ts';
import { createReplay, type ReplayableRecord } from './replay.ts';
import type { RuleSet } from './rule-files.ts';
import { others } from './shadow-report.ts';

/** The first three are flips: the agent gets another answer. */
export const changeKinds = ['refused', 'allowed', 'otherwise', 'otherRule'] as const;
export type ChangeKind = (typeof changeKinds)[number];

export type ChangeCounts = {
  /** Allowed calls that would be refused. */
  readonly refused: number;
  /** Refused calls that would pass. */
  readonly allowed: number;
  /** Refused calls that would be refused for another reason. */
  readonly otherwise: number;
  /** The same answer, decided by another rule. */
  readonly otherRule: number;
};

export type ReplayExample = {
  readonly kind: ChangeKind;
  readonly id: string;
  readonly time: string;
  readonly call: string;
  readonly route: string | null;
  readonly agent: string | null;
  readonly from: Would;
  readonly to: Would;
};

/** Of the decisions within the filters. */
export type ReplayReport = RecordSpan & {
  /** Hash of the rules that were replayed. */
  readonly policy: string;
  readonly replayed: number;
  /** Refusals and answers that no rule was asked about, by reason. */
  readonly notByRules: { readonly total: number; readonly reasons: Readonly<Record<string, number>> };
  /** Records that do not hold what the rules asked for, by what that is; one may lack several things. */
  readonly untold: { readonly total: number; readonly variables: Readonly<Record<string, number>> };
  readonly flips: number;
  readonly changes: ChangeCounts;
  /** By the rule that decided and the rule that would; null where none does. Most first, like the next two. */
  readonly rules: readonly (ChangeCounts & { readonly from: string | null; readonly to: string | null })[];
  readonly routes: readonly (ChangeCounts & { readonly route: string })[];
  readonly agents: readonly (ChangeCounts & { readonly agent: string })[];
  /** So many at most of each kind, the earliest that were read. */
  readonly examples: readonly ReplayExample[];
};

/** Whatever is read, no more names than these are kept of each sort; the others are counted together. */
const namesMax = 1000;

type Counts = { [kind in ChangeKind]: number };

export type ReplayCounter = {
  readonly add: (record: ReplayableRecord) => void;
  readonly report: () => ReplayReport;
};

export function createReplayCounter(ruleSet: RuleSet, examplesMax: number): ReplayCounter {
  const replay = createReplay(ruleSet);
  const total = noChanges();
  const rules = new Map<string, Counts>();
  const routes = new Map<string, Counts>();
  const agents = new Map<string, Counts>();
  const examples: ReplayExample[] = [];
  const reasons = new Map<string, number>();
  const variables = new Map<string, number>();
  const span = createRecordSpan();
  let [replayed, notByRules, untold] = [0, 0, 0];

  const count = (record: ReplayableRecord, kind: ChangeKind, was: Would, is: Would) => {
    const agent = record.agent?.id ?? null;
    if (total[kind] < examplesMax) examples.push(exampleOf(record, kind, was, is));
    total[kind]++;
    countsOf(rules, JSON.stringify([was.rule, is.rule]))[kind]++;
    countsOf(routes, record.route ?? 'none')[kind]++;
    countsOf(agents, agent ?? 'none')[kind]++;
  };
  return {
    add(record) {
      span.add(record);
      const outcome = replay(record);
      if (outcome.kind === 'elsewhere') {
        notByRules++;
        increment(reasons, record.reason ?? record.rule ?? 'none');
      } else if (outcome.kind === 'untold') {
        untold++;
        for (const variable of outcome.missing) increment(variables, variable);
      } else {
        replayed++;
        const kind = changeOf(outcome.was, outcome.is);
        if (kind !== null) count(record, kind, outcome.was, outcome.is);
      }
    },
    report: () => ({
      ...span.span(),
      policy: ruleSet.hash,
      replayed,
      notByRules: { total: notByRules, reasons: sortedCounts(reasons) },
      untold: { total: untold, variables: sortedCounts(variables) },
      flips: total.refused + total.allowed + total.otherwise,
      changes: { ...total },
      rules: sorted(rules).map(([pair, counts]) => ({ ...pairOf(pair), ...counts })),
      routes: sorted(routes).map(([route, counts]) => ({ route, ...counts })),
      agents: sorted(agents).map(([agent, counts]) => ({ agent, ...counts })),
      examples: changeKinds.flatMap((kind) => examples.filter((example) => example.kind === kind)),
    }),
  };
}

/** Null where nothing is different. */
function changeOf(was: Would, is: Would): ChangeKind | null {
  if (was.effect === 'allow' && is.effect !== 'allow') return 'refused';
  if (was.effect !== 'allow' && is.effect === 'allow') return 'allowed';
  if (was.effect !== is.effect || was.reason !== is.reason) return 'otherwise';
  return was.rule === is.rule ? null : 'otherRule';
}

function exampleOf(record: ReplayableRecord, kind: ChangeKind, from: Would, to: Would): ReplayExample {
  const { id, time, route, request, agent } = record;
  const call = `${request.method} ${request.path ?? ''}`.trim();
  return { kind, id, time, call, route, agent: agent?.id ?? null, from, to };
}

const noChanges = (): Counts => ({ refused: 0, allowed: 0, otherwise: 0, otherRule: 0 });

function countsOf(table: Map<string, Counts>, name: string): Counts {
  const key = table.has(name) || table.size < namesMax ? name : others;
  const counts = table.get(key) ?? noChanges();
  table.set(key, counts);
  return counts;
}

function increment(counts: Map<string, number>, name: string): void {
  const key = counts.has(name) || counts.size < namesMax ? name : others;
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function pairOf(pair: string): { readonly from: string | null; readonly to: string | null } {
  if (pair === others) return { from: others, to: others };
  const [from, to] = JSON.parse(pair) as [string | null, string | null];
  return { from, to };
}

export const sumOf = ({ refused, allowed, otherwise, otherRule }: ChangeCounts) =>
  refused + allowed + otherwise + otherRule;

/** Most first. */
function sorted(table: ReadonlyMap<string, Counts>): readonly (readonly [string, Counts])[] {
  return [...table].toSorted(([, one], [, other]) => sumOf(other) - sumOf(one));
}

function sortedCounts(counts: ReadonlyMap<string, number>): Readonly<Record<string, number>> {
  return Object.fromEntries([...counts].toSorted(([, one], [, other]) => other - one));
}
