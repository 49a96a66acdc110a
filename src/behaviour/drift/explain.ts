/** Why a request scored as it did: its evidence by feature, each with what the agent usually does. */

import { findAction, slotCount } from './action-table.ts';
import type { Agent } from './agent.ts';
import { unit } from './baseline.ts';
import { type Fleet, peersMin } from './fleet.ts';
import { conductEvidence, usedAmongPeers } from './judge.ts';
import { freshShareOf } from './judge-destinations.ts';
import { type Judgement, toMillionths } from './judgement.ts';
import { countOfPair, pairCellsOf } from './pair-sketch.ts';
import { groupToCompare } from './peer-group.ts';
import { start } from './sessions.ts';

/** How well the agent knows what it did. */
export const familiarities = ['UNSEEN', 'RARE', 'INFREQUENT', 'FREQUENT'] as const;
export type Familiarity = (typeof familiarities)[number];

/** What a reason may be about. An explanation holds one of each at most. */
export const features = ['destination', 'sequence', 'action', 'rate', 'peers'] as const;

export type Reason = {
  readonly feature: (typeof features)[number];
  readonly action: string;
  readonly seen: Familiarity;
  /** This feature's part of the evidence that makes the score, as weighed there; 0 of peers, which are no part of it. */
  readonly share: number;
  /** The keyed hash of a destination and the field it stood in. */
  readonly value?: string;
  readonly field?: string;
  /** How often this field of this action holds something new. */
  readonly newRate?: number;
  /** The action whose response first showed the destination. */
  readonly fromResponseOf?: string;
  readonly previous?: string;
  readonly usual?: readonly string[];
  /** For an analyst, in words. */
  readonly text: string;
};

export type Explanation = {
  readonly agent: string;
  readonly score: number;
  readonly p: number;
  readonly samples: number;
  readonly ready: boolean;
  readonly alarms: number;
  readonly standing: string;
  readonly top: readonly Reason[];
};

const usualMax = 3;
/** Of names in texts: what an agent asks for must not keep an explanation from being stored. */
const nameCharsMax = 256;
/** What one call in ten is as unusual as explains nothing. */
const reasonEvidenceMin = Math.log(10);
const unnamed = 'an action whose name is no longer held';

export function explain(
  agent: Agent,
  judgement: Judgement,
  fleet: Fleet,
  nameOf: (hash: number) => string | undefined,
): Explanation {
  const name = (hash: number) => clip(nameOf(hash) ?? unnamed);
  const { destinationEvidence, sequenceEvidence, actionEvidence, rateEvidence, combinedValue } = judgement;
  const conduct = conductEvidence(actionEvidence, sequenceEvidence);
  const both = sequenceEvidence + actionEvidence;
  const share = (part: number) => (combinedValue === 0 ? 0 : Math.round((part / combinedValue) * 100) / 100);
  const conductOf = (part: number) => share(both === 0 ? 0 : (conduct * part) / both);
  const found = [
    { evidence: destinationEvidence, of: destinationReason(agent, judgement, name, share(destinationEvidence)) },
    { evidence: sequenceEvidence, of: sequenceReason(agent, judgement, name, conductOf(sequenceEvidence)) },
    { evidence: actionEvidence, of: actionReason(agent, judgement, name, conductOf(actionEvidence)) },
    { evidence: rateEvidence, of: rateReason(judgement, name, share(rateEvidence)) },
  ];
  found.sort((left, right) => right.of.share - left.of.share);
  const reasons = found
    .filter(({ evidence, of }, index) => of.share > 0 && (index === 0 || evidence >= reasonEvidenceMin))
    .map(({ of }) => of);
  return {
    agent: agent.id,
    score: toMillionths(judgement.score),
    p: Math.round(1e6 * (1 - judgement.score)) / 1e6,
    samples: judgement.samples,
    ready: judgement.ready,
    alarms: judgement.alarms,
    standing: agent.view.standing,
    top: [...reasons, ...peersReasons(agent, judgement, fleet, name)],
  };
}

function destinationReason(agent: Agent, judgement: Judgement, name: (hash: number) => string, share: number): Reason {
  const fresh = judgement.destinations[judgement.freshIndex];
  const action = name(judgement.action);
  if (fresh === undefined) {
    return { feature: 'destination', action, seen: 'UNSEEN', share: 0, text: 'no new destination' };
  }
  const newRate = Math.round(freshShareOf(agent.view, judgement.action, fresh) * 1000) / 1000;
  const base = { feature: 'destination', action, seen: 'UNSEEN', share, newRate } as const;
  const value = `keyed:${fresh.hash.toString(16).padStart(8, '0')}`;
  const field = clip(fresh.field);
  const what = fresh.kind === 'plain' ? 'has a value' : 'names a destination';
  const met = fresh.kind === 'plain' || judgement.isStrange ? '' : ', though it has met it elsewhere';
  const often = `${percentText(newRate)} of its calls name something new there`;
  const text = `${action} ${what} in ${field} that this agent never used there${met} (${often})`;
  if (judgement.shownBy === 0) return { ...base, value, field, text };
  const fromResponseOf = name(judgement.shownBy);
  return {
    ...base,
    value,
    field,
    fromResponseOf,
    text: `${text}; it first appeared in the response to ${fromResponseOf}`,
  };
}

function sequenceReason(agent: Agent, judgement: Judgement, name: (hash: number) => string, share: number): Reason {
  const { view } = agent;
  const cells = pairCellsOf(judgement.previous, judgement.action);
  const seen = familiarity(countOfPair(view.pairs, cells.first, cells.second), view.weight);
  const isFirst = judgement.previous === start;
  const previous = isFirst ? 'the start of a session' : name(judgement.previous);
  const action = name(judgement.action);
  const usual = usualAfter(agent, judgement.previous).map(name);
  const habit = usual.length === 0 ? '' : `; what mostly follows: ${usual.join(', ')}`;
  const text = `${action} after ${previous} is ${wordOf[seen]} for this agent${seen === 'FREQUENT' ? before : habit}`;
  return { feature: 'sequence', action, previous, usual, seen, share, text };
}

function actionReason(agent: Agent, judgement: Judgement, name: (hash: number) => string, share: number): Reason {
  const { view } = agent;
  const slot = findAction(view.actions, judgement.action);
  const seen = familiarity(slot === -1 ? 0 : (view.actions.counts[slot] ?? 0), view.weight);
  const action = name(judgement.action);
  const text = `${action} is ${wordOf[seen]} for this agent${seen === 'FREQUENT' ? before : ''}`;
  return { feature: 'action', action, seen, share, text };
}

/** That no peer does this says something of what the agent seldom does, or of an agent in warm-up. */
function peersReasons(
  agent: Agent,
  { action, peers, ready }: Judgement,
  fleet: Fleet,
  name: (hash: number) => string,
): readonly Reason[] {
  const { view } = agent;
  const slot = findAction(view.actions, action);
  const seen = familiarity(slot === -1 ? 0 : (view.actions.counts[slot] ?? 0), view.weight);
  if (peers < peersMin || (seen === 'FREQUENT' && ready)) return [];
  const group = groupToCompare(agent);
  if (usedAmongPeers(view, fleet, group, action) > 0) return [];
  const others = group === null ? `the ${peers} other agents` : `the ${peers} other agents in group ${group.name}`;
  return [{ feature: 'peers', action: name(action), seen, share: 0, text: `none of ${others} does ${name(action)}` }];
}

function rateReason(judgement: Judgement, name: (hash: number) => string, share: number): Reason {
  const action = name(judgement.action);
  const hour = String(judgement.hour).padStart(2, '0');
  const excess = `${judgement.rateValue.toFixed(1)} standard deviations above its mean`;
  const text = `calls come faster than is usual for this agent around ${hour}:00 UTC, or more are refused (${excess})`;
  return { feature: 'rate', action, seen: 'RARE', share, text };
}

/** The evidence is of the last few calls: a common one has some where it comes after another that was not. */
const before = '; what it did just before is not';

/** As an analyst would say it. */
const wordOf: Readonly<Record<Familiarity, string>> = {
  UNSEEN: 'new',
  RARE: 'rare',
  INFREQUENT: 'uncommon',
  FREQUENT: 'common',
};

const clip = (text: string) => (text.length > nameCharsMax ? `${text.slice(0, nameCharsMax)}…` : text);
const percentText = (share: number) => (share < 0.001 ? 'less than 0.1%' : `${(100 * share).toFixed(1)}%`);

function familiarity(count: number, weight: number): Familiarity {
  if (count < unit / 2) return 'UNSEEN';
  const share = count / Math.max(unit, weight);
  return share < 0.001 ? 'RARE' : share < 0.01 ? 'INFREQUENT' : 'FREQUENT';
}

/** The actions that most often follow another; found by asking for each known action, so only when explained. */
function usualAfter(agent: Agent, previous: number): number[] {
  const { actions, pairs } = agent.view;
  const rows: { action: number; count: number }[] = [];
  for (let slot = 0; slot < slotCount; slot++) {
    const action = actions.keys[slot] ?? 0;
    if (action === 0 || action === start) continue;
    const cells = pairCellsOf(previous, action);
    const count = Math.min(countOfPair(pairs, cells.first, cells.second), actions.counts[slot] ?? 0);
    if (count >= unit) rows.push({ action, count });
  }
  rows.sort((left, right) => right.count - left.count || left.action - right.action);
  return rows.slice(0, usualMax).map(({ action }) => action);
}
