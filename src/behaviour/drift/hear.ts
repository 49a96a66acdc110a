/**
 * What replicas tell each other of a request at once, ahead of what they learn from it: what depends on the order of all
 * requests can't wait for baselines to merge.
 */

import type { Agent } from './agent.ts';
import { unit } from './baseline.ts';
import type { Fleet } from './fleet.ts';
import { createGrowth, takeRoom, turnHour } from './growth.ts';
import { countRate, leanWeight } from './judge.ts';
import type { Destination, Judgement } from './judgement.ts';
import { endBatch, openBatch } from './learn.ts';
import { addRecent, decodeEvidence, encodeEvidence } from './recent.ts';
import { noteRequest, noteResponse, type Session } from './sessions.ts';
import { destinationsMax } from './waiting-destinations.ts';

/** A request that one replica judged, as the others need to know of it. */
export type Notice = {
  readonly session: string | null;
  /** Hash of the action. */
  readonly action: number;
  readonly atMs: number;
  /** Evidence in steps of 1/512 nat, the lowest bit telling an alarm. */
  readonly evidence: number;
  /** How surprising the newest requests were up to this one, in nats. */
  readonly actionSurprise: number;
  readonly sequenceSurprise: number;
  /** Hashes of whom it reached, as far as they were looked at. */
  readonly destinations: readonly number[];
};

/** Destinations that a response showed to another replica. */
export type Shown = {
  readonly session: string | null;
  /** Hash of the action that was answered. */
  readonly action: number;
  readonly atMs: number;
  readonly hashes: readonly number[];
};

/** Made once the request has been judged, learned from or not. */
export function noticeOf(session: string | null, judgement: Judgement): Notice {
  const { action, atMs, evidence, isAlarm, destinations, freshBits } = judgement;
  // Texts name nobody, and plain values that the agent knows are nobody's doing.
  const isTold = ({ kind }: Destination, index: number) =>
    kind === 'reach' || kind === 'id' || (kind === 'plain' && ((freshBits >>> index) & 1) === 1);
  return {
    session,
    action,
    atMs,
    evidence: encodeEvidence(evidence, isAlarm),
    actionSurprise: judgement.actionValue,
    sequenceSurprise: judgement.sequenceValue,
    destinations:
      destinations.length === 0
        ? none
        : destinations
            .slice(0, destinationsMax)
            .filter(isTold)
            .map(({ hash }) => hash),
  };
}

const none: readonly number[] = [];

/** Takes a request in that another replica judged; that one learns it. Nothing to an agent that no other replica serves. */
export function hear(agent: Agent, session: Session, fleet: Fleet | null, notice: Notice): void {
  const { view, batch, heard } = agent;
  if (heard === null) return;
  const { action, atMs } = notice;
  const evidence = decodeEvidence(notice.evidence);
  // A notice may be overtaken by a later request that was judged here.
  if (atMs >= session.lastAtMs) session.previous = action;
  if (atMs >= agent.rateAtMs) {
    agent.actionSurprise = notice.actionSurprise;
    agent.sequenceSurprise = notice.sequenceSurprise;
  }
  session.lastAtMs = Math.max(session.lastAtMs, atMs);
  for (const hash of notice.destinations) noteRequest(session, hash, atMs);
  agent.lean += leanWeight * (evidence - agent.lean);
  countRate(agent, atMs);
  addRecent(view.recent, atMs, notice.evidence);
  addRecent(heard, atMs, notice.evidence);
  if (view.standing === 'frozen') return;
  agent.growth ??= createGrowth();
  turnHour(agent.growth, atMs);
  takeRoom(agent.growth, view.actions, action, unit);
  openBatch(agent, fleet, atMs);
  batch.heard++;
  batch.evidence += evidence;
  endBatch(agent, fleet);
}

/** Takes in what a response has shown to another replica; that one learns it. */
export function hearShown(session: Session, { hashes, action, atMs }: Shown): void {
  noteResponse(session, hashes, action, atMs);
}
