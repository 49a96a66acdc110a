/** What a request looks like beside its agent's own past: scores before anything is learned from it. */

import { findAction } from './action-table.ts';
import { type Agent, countWaiting, countWaitingPairs } from './agent.ts';
import { type Baseline, unit } from './baseline.ts';
import { hourCount } from './baseline-tables.ts';
import { catalogueSize, type Fleet, peersMin, peersOf, shareAmongPeers, usersAmongPeers } from './fleet.ts';
import { scales, tailShare } from './histogram.ts';
import { judgeDestinations, noDestination } from './judge-destinations.ts';
import type { Destination, Judgement, Settings } from './judgement.ts';
import { countOfPair, pairCellsOf } from './pair-sketch.ts';
import { commonInGroup, groupToCompare, type PeerGroup, peersInGroup, shareInGroup } from './peer-group.ts';
import { addRecent, encodeEvidence, meanEvidence, recentEntries } from './recent.ts';
import type { Session } from './sessions.ts';

/** Below this many requests there is nothing to be compared with: scores are 0. */
export const calibratedSamplesMin = 200;
/** Requests of the catalogue's chance that every agent starts with. */
const prior = 20;
/** Share of the pair in the evidence that is compared with peers. */
const pairShare = 0.3;
/** The last request weighs three quarters, the one before three sixteenths. */
const surpriseDecay = 0.25;
/** A new destination that a response has shown is an alarm from here on. */
const ledDestination = 0.9;
/** Half-life of ten requests. */
export const leanWeight = 0.067;
const rateDecayMs = 60_000;
/** A refused call counts as four: who tries what it may not, or what is not there, seldom tries it once. */
const refusedMore = 3;
export const rateSteps = 8;
/** The sustained evidence, in nats a request, that is as likely an intruder's as the agent's own. */
const sustainedMiddle = 0;
const sustainedSlope = 3;
/** What action and sequence count beside a destination: hijacked agents use their ordinary tools. */
const conductShare = 0.35;

export function judge(
  agent: Agent,
  session: Session,
  fleet: Fleet,
  settings: Settings,
  action: number,
  destinations: readonly Destination[],
  atMs: number,
): Judgement {
  const { view } = agent;
  const { previous } = session;
  session.previous = action;
  session.lastAtMs = atMs;

  const group = groupToCompare(agent);
  const ready = view.samples >= settings.readySamples && atMs - view.firstAtMs >= settings.readyAfterMs;
  const { isKnown, evidence } = judgeConduct(agent, fleet, group, ready, previous, action);
  agent.lean += leanWeight * (evidence - agent.lean);

  const named =
    destinations.length === 0 ? noDestination : judgeDestinations(agent, session, action, destinations, atMs);
  const rate = judgeRate(agent, atMs);

  const actionShare = tailShare(view.histograms, scales.action, agent.actionSurprise, unit);
  const sequenceShare = tailShare(view.histograms, scales.sequence, agent.sequenceSurprise, unit);
  const rateShare = tailShare(view.histograms, scales.rate, rate.z, unit);
  const actionEvidence = -Math.log(actionShare);
  const sequenceEvidence = -Math.log(sequenceShare);
  const destinationEvidence = -Math.log(named.share) - Math.log(named.taintShare);
  const rateEvidence = Math.max(0, (-Math.log(rateShare) - 4.6) / 2);
  const combinedValue = conductEvidence(actionEvidence, sequenceEvidence) + destinationEvidence + rateEvidence;

  const { samples } = view;
  // No score claims more than the history it has could show.
  const cap = 1 - 1 / (samples + 1);
  const calibratedCap = samples < calibratedSamplesMin ? 0 : cap;
  const score = Math.min(calibratedCap, 1 - tailShare(view.histograms, scales.combined, combinedValue, unit));
  // Whom a response has just named, and the agent as good as never reaches, is what a hijacked one is told to reach.
  const isLed = named.shownBy !== 0 && 1 - named.share > ledDestination;
  const isAlarm = ready && (score >= settings.alarmScore || isLed);
  addRecent(view.recent, atMs, encodeEvidence(evidence, isAlarm));
  if (agent.delta !== null) addRecent(agent.delta.recent, atMs, encodeEvidence(evidence, isAlarm));
  const sustainedValue = meanEvidence(view.recent);
  const peers = group === null ? peersOf(fleet, view) : peersInGroup(group, view);
  return {
    score,
    novelty: isKnown ? 0 : Math.min(cap, noveltyOf(view, usedAmongPeers(view, fleet, group, action), peers)),
    sequence: Math.min(calibratedCap, 1 - sequenceShare),
    destination: Math.min(cap, 1 - named.share * (named.isStrange ? named.taintShare : 1)),
    tainted: named.shownBy !== 0,
    rate: Math.min(calibratedCap, 1 - rateShare),
    sustained:
      peers >= peersMin
        ? 1 / (1 + Math.exp(-sustainedSlope * (sustainedValue - sustainedMiddle)))
        : Math.min(calibratedCap, 1 - tailShare(view.histograms, scales.sustained, sustainedValue, unit)),
    peers,
    ready,
    samples,
    alarms: countAlarms(view),
    atMs,
    action,
    previous,
    destinations,
    freshBits: named.freshBits,
    freshIndex: named.freshIndex,
    isStrange: named.isStrange,
    shownBy: named.shownBy,
    marks: named.marks,
    actionEvidence,
    sequenceEvidence,
    destinationEvidence,
    rateEvidence,
    actionValue: agent.actionSurprise,
    sequenceValue: agent.sequenceSurprise,
    combinedValue,
    rateValue: rate.z,
    sustainedValue,
    hour: rate.hour,
    rateStep: rate.step,
    evidence,
    isAlarm,
    lean: agent.lean,
  };
}

/** Action and sequence tell the same story and are not added up. A destination is another story, and so is a flood. */
export function conductEvidence(actionEvidence: number, sequenceEvidence: number): number {
  return conductShare * Math.max(actionEvidence, sequenceEvidence);
}

type Conduct = {
  readonly isKnown: boolean;
  /** log of the chance among peers over the chance here. */
  readonly evidence: number;
};

/** How surprising the action is, alone and after the one before: to the agent itself, and beside its peers. */
function judgeConduct(
  agent: Agent,
  fleet: Fleet,
  group: PeerGroup | null,
  ready: boolean,
  previous: number,
  action: number,
): Conduct {
  const { view, batch } = agent;
  // What an action costs to expect, by what was learned and by what still waits to be.
  const slot = findAction(view.actions, action);
  const learned = slot === -1 ? 0 : (view.actions.counts[slot] ?? 0) / unit;
  const total = view.weight / unit;
  const waiting = countWaiting(batch, action);
  const chance = (learned + waiting + prior / catalogueSize) / (total + batch.length + prior);
  agent.actionSurprise += (1 - surpriseDecay) * (-Math.log(chance) - agent.actionSurprise);

  const cells = pairCellsOf(previous, action);
  const pairLearned = countOfPair(view.pairs, cells.first, cells.second) / unit;
  const previousSlot = findAction(view.actions, previous);
  const previousCount = previousSlot === -1 ? 0 : (view.actions.counts[previousSlot] ?? 0) / unit;
  const followers = previousSlot === -1 ? 0 : (view.actions.followers[previousSlot] ?? 0);
  const pairChance = backOff(
    pairLearned + (waiting === 0 ? 0 : countWaitingPairs(batch, previous, action)),
    previousCount,
    followers,
    chance,
  );
  agent.sequenceSurprise += (1 - surpriseDecay) * (-Math.log(pairChance) - agent.sequenceSurprise);

  // The same of what was learned alone, against the peers: an intruder's waiting requests must not excuse each other.
  const among = shareAmongPeers(fleet, action, learned * unit, view);
  // An agent of a group starts as one of it; an intruder comes from the group as likely as from among all agents.
  const expected = group === null ? among : shareInGroup(group, action, learned * unit, view, among);
  const ofStranger = group === null ? among : (expected + among) / 2;
  // In warm-up its own past says nothing for it: that may have been an intruder's from the first call on.
  const isByGroup = group !== null && !ready;
  const ownChance = isByGroup ? expected : (learned + prior * expected) / (total + prior);
  const ownPairChance = isByGroup ? expected : backOff(pairLearned, previousCount, followers, ownChance);
  const evidence = Math.log(ofStranger) - (1 - pairShare) * Math.log(ownChance) - pairShare * Math.log(ownPairChance);
  return { isKnown: learned + waiting > 0, evidence };
}

/** Alarms among the newest requests since a person last spoke. */
export function countAlarms(view: Baseline): number {
  if (view.recent.alarms === 0 || view.standingAtMs === 0 || view.standing !== 'learning') return view.recent.alarms;
  let count = 0;
  for (const { atMs, encoded } of recentEntries(view.recent)) if (atMs > view.standingAtMs) count += encoded & 1;
  return count;
}

/** Witten-Bell: the more kinds have followed, the less a pair's own count is trusted. */
function backOff(pairCount: number, previousCount: number, followers: number, fallback: number): number {
  const seen = Math.max(previousCount, pairCount);
  if (seen === 0) return fallback;
  const trust = seen / (seen + Math.max(1, followers));
  return trust * (pairCount / seen) + (1 - trust) * fallback;
}

/** How seldom this agent does something new; nearer to 1 where none of its peers does it. */
function noveltyOf(view: Baseline, used: number, peers: number): number {
  const share = (view.newWeight + unit) / (view.weight + 2 * unit);
  return 1 - share * ((used * peers + 1) / (peers + 2));
}

/** How usual an action is among the agents that this one is compared with: 0 where none of them takes it. */
export function usedAmongPeers(view: Baseline, fleet: Fleet, group: PeerGroup | null, action: number): number {
  if (group === null) return usersAmongPeers(fleet, action, view);
  const slot = findAction(view.actions, action);
  return commonInGroup(group, action, slot === -1 ? 0 : (view.actions.counts[slot] ?? 0), view);
}

export function countRate(agent: Agent, atMs: number): void {
  const elapsed = Math.max(0, atMs - agent.rateAtMs);
  agent.rate = agent.rate * Math.exp(-elapsed / rateDecayMs) + 1;
  agent.rateAtMs = atMs;
}

/** Notes that the agent's latest call came to nothing by its own doing. */
export function countRefusal(agent: Agent): void {
  agent.rate += refusedMore;
}

/** The rate's logarithm, beside its own at this hour of the day, or at any where this hour is little known. */
function judgeRate(agent: Agent, atMs: number): { readonly z: number; readonly hour: number; readonly step: number } {
  countRate(agent, atMs);
  const hour = Math.floor(atMs / 3_600_000) % hourCount;
  const value = Math.log(agent.rate);
  const { hours } = agent.view;
  let count = hours[3 * hour] ?? 0;
  let sum = hours[3 * hour + 1] ?? 0;
  let squares = hours[3 * hour + 2] ?? 0;
  if (count < 50) {
    for (let index = 0, at = 0; index < hourCount; index++, at += 3) {
      if (index === hour) continue;
      count += hours[at] ?? 0;
      sum += hours[at + 1] ?? 0;
      squares += hours[at + 2] ?? 0;
    }
  }
  const step = Math.min(255, Math.round(value * rateSteps));
  if (count === 0) return { z: 0, hour, step };
  const mean = sum / count / rateSteps;
  const variance = Math.max(0.05, squares / count / (rateSteps * rateSteps) - mean * mean);
  return { z: (value - mean) / Math.sqrt(variance), hour, step };
}
