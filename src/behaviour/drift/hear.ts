/**
 * What replicas tell each other of a request at once, ahead of what they learn from it: what depends on the order of all
 * requests can't wait for baselines to merge.
 */

import type { Agent } from './agent.ts';
import type { Fleet } from './fleet.ts';
import { countRate, leanWeight } from './judge.ts';
import type { Judgement } from './judgement.ts';
import { endBatch, openBatch } from './learn.ts';
import { addRecent, decodeEvidence, encodeEvidence } from './recent.ts';
import type { Session } from './sessions.ts';

/** A request that one replica judged, as the others need to know of it. */
export type Notice = {
  readonly session: string | null;
  /** Hash of the action. */
  readonly action: number;
  readonly atMs: number;
  /** Evidence in steps of 1/512 nat, the lowest bit telling an alarm. */
  readonly evidence: number;
};

/** Made once the request has been judged, learned from or not. */
export function noticeOf(session: string | null, { action, atMs, evidence, isAlarm }: Judgement): Notice {
  return { session, action, atMs, evidence: encodeEvidence(evidence, isAlarm) };
}

/** Takes a request in that another replica judged; that one learns it. Nothing to an agent that no other replica serves. */
export function hear(agent: Agent, session: Session, fleet: Fleet | null, notice: Notice): void {
  const { view, batch, heard } = agent;
  if (heard === null) return;
  const { action, atMs } = notice;
  const evidence = decodeEvidence(notice.evidence);
  // A notice may be overtaken by a later request that was judged here.
  if (atMs >= session.lastAtMs) session.previous = action;
  session.lastAtMs = Math.max(session.lastAtMs, atMs);
  agent.lean += leanWeight * (evidence - agent.lean);
  countRate(agent, atMs);
  addRecent(view.recent, atMs, notice.evidence);
  addRecent(heard, atMs, notice.evidence);
  if (view.standing === 'frozen') return;
  openBatch(agent, fleet, atMs);
  batch.heard++;
  batch.evidence += evidence;
  endBatch(agent, fleet);
}
