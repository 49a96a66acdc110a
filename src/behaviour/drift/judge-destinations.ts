/** How unusual it is for an agent to name those whom a request names. */

import { type Agent, markFresh, markNamed, markStrange, markTainted } from './agent.ts';
import type { Baseline } from './baseline.ts';
import { hasDestination, wasBefore } from './destination-memory.ts';
import { fieldCellOf } from './field-sketch.ts';
import type { Destination } from './judgement.ts';
import { mix } from './keyed-hash.ts';
import { noteRequest, responseThatShowed, type Session } from './sessions.ts';
import { destinationsMax, isDestinationWaiting } from './waiting-destinations.ts';

/** How strongly an agent's overall share of new destinations speaks for a field that it has filled seldom. */
const freshPrior = 3;
/** What a field of plain values is taken for before it is known: half of them hold something new. */
const plainFreshShare = 0.5;
const plainWeight = 0.5;
const plainMetWeight = 0.25;
/**
 * Lists are read to choose from: every other new plain value is taken to come from a response, and where a field holds
 * more that is new than this it means nothing.
 */
const plainTaintShare = 0.5;
const plainShareMax = 0.4;
/**
 * Of what is new one in ten is a stranger, for an agent of which little is known: whatever it does first is new, and a
 * short history would tell of its first days rather than of its habits.
 */
const strangePrior = { share: 0.1, weight: 10 };

export const dayMs = 24 * 60 * 60 * 1000;

/** What a request's destinations say: of the one that says most, unless it is said to be of all. */
export type Named = {
  /** A bit for each destination that is new to this action. */
  freshBits: number;
  /** The one that says most, -1 where none is new. */
  freshIndex: number;
  /** Whether the agent never met it in any way. */
  isStrange: boolean;
  /** The action whose response first showed it; 0 where none did. */
  shownBy: number;
  /** How seldom the field names somebody as new as that; and how seldom whoever is new came from a response. */
  share: number;
  taintShare: number;
  /** What is true of any of those that name someone or something for certain. */
  marks: number;
};

export const noDestination: Named = {
  freshBits: 0,
  freshIndex: -1,
  isStrange: false,
  shownBy: 0,
  share: 1,
  taintShare: 1,
  marks: 0,
};

/** The key under which an action's destination is remembered. */
export function destinationKey(action: number, destination: number): number {
  return mix(action, destination) || 1;
}

export function judgeDestinations(
  agent: Agent,
  session: Session,
  action: number,
  destinations: readonly Destination[],
  atMs: number,
): Named {
  const { view, batch } = agent;
  const result = { ...noDestination };
  const day = Math.floor(atMs / dayMs);
  for (let index = 0; index < destinations.length && index < destinationsMax; index++) {
    const destination = destinations[index];
    if (destination === undefined) break;
    const { hash, kind } = destination;
    if (kind === 'text') continue;
    const isPlain = kind === 'plain';
    if (!isPlain) result.marks |= markNamed;
    // Reading a list and then one of its records is what agents do: ids are expected to come from responses.
    const shownAt = kind === 'id' ? 0 : responseThatShowed(session, destination, atMs);
    const isKnown =
      hasDestination(view.destinations, destinationKey(action, hash)) ||
      isDestinationWaiting(batch.destinations, action, hash);
    if (!isPlain || !isKnown) noteRequest(session, hash, atMs);
    if (isKnown) continue;
    result.freshBits |= 1 << index;
    // Used in another operation, or shown on an earlier day: new here, but no stranger. What was shown today alone may
    // have been put there today.
    const isMet = hasDestination(view.destinations, destinationKey(0, hash)) || wasBefore(view.shown, hash, day);
    if (!isPlain) result.marks |= markFresh | (isMet ? 0 : markStrange) | (shownAt === 0 ? 0 : markTainted);
    const share = shareOf(view, action, destination, isMet);
    const shownBy = isPlain && share > plainShareMax ? 0 : shownAt;
    const taintShare = shownBy === 0 ? 1 : isPlain ? plainTaintShare : (view.tainted + 1) / (view.fresh + 2);
    if (result.freshIndex !== -1 && share * taintShare >= result.share * result.taintShare) continue;
    result.freshIndex = index;
    result.isStrange = !isMet && !isPlain;
    result.shownBy = shownBy;
    result.share = share;
    result.taintShare = taintShare;
  }
  return result;
}

/** How often this field of this action holds something new. */
export function freshShareOf({ fields, fresh, named }: Baseline, action: number, { fieldHash, kind }: Destination) {
  const cell = fieldCellOf(action, fieldHash);
  const expected = kind === 'plain' ? plainFreshShare : (fresh + 1) / (named + 2);
  return ((fields.fresh[cell] ?? 0) + freshPrior * expected) / ((fields.named[cell] ?? 0) + freshPrior);
}

function shareOf(view: Baseline, action: number, destination: Destination, isMet: boolean): number {
  const freshShare = freshShareOf(view, action, destination);
  // Whether a plain value names anybody is not known: it says half as much, and one used elsewhere a quarter.
  if (destination.kind === 'plain') return freshShare ** (isMet ? plainMetWeight : plainWeight);
  if (isMet) return freshShare;
  const { share, weight } = strangePrior;
  return (freshShare * (view.strange + share * weight)) / (view.fresh + weight);
}
