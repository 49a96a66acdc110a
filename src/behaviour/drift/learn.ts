/** What an agent's baseline takes over from judged requests, and what it does not. */

import { addBounded, findAction, slotForAction } from './action-table.ts';
import {
  type Agent,
  addWaiting,
  type Batch,
  batchSize,
  clearBatch,
  histogramsPerRequest,
  markFresh,
  markNamed,
  markStrange,
  markTainted,
  type Waiting,
  waitingAt,
} from './agent.ts';
import { ageBaseline, type Baseline, createDelta, type Standing, setStanding, unit } from './baseline.ts';
import { openTables } from './baseline-tables.ts';
import { addDestination, addOnDay, hasDestination } from './destination-memory.ts';
import { contribute, type Fleet, peerSamplesMin, peersMin, unitsToGive } from './fleet.ts';
import { createGrowth, type Growth, takeRoom, turnHour } from './growth.ts';
import { binBits, binCount, binOf, scales } from './histogram.ts';
import { countAlarms } from './judge.ts';
import { dayMs, destinationKey } from './judge-destinations.ts';
import type { Judgement, Settings } from './judgement.ts';
import { mix } from './keyed-hash.ts';
import { countOfPair, pairCellsOf } from './pair-sketch.ts';
import { giveToGroup, joinGroup, type PeerGroup } from './peer-group.ts';
import { start } from './sessions.ts';
import { addWaitingDestinations, countFields, waitingHashes } from './waiting-destinations.ts';

/** allowed: taken over at a discount where it was unusual; denied: not at all; confirmed: in full (a passed step-up). */
export type Outcome = 'allowed' | 'denied' | 'confirmed';

/** What was unusual and allowed is learned at this weight at least. */
const weightMin = 1;
/** A batch that looks more like the peers than like the agent, by this many nats a request, is not learned. */
const gateNats = 0.25;
/** Requests learned before the gate closes: until then there is too little to tell an intruder by. */
const gateSamplesMin = 2000;
/** Calibration still learns a fifth of what the model does not, lest what is unusual today stays so for ever. */
const discountedCalibration = Math.round(unit / 5);
const batchAgeMaxMs = 60 * 60 * 1000;
const probationSeed = 0x2545f491;

/** Notes what became of a judged request; learns the batch that it fills. */
export function learn(agent: Agent, fleet: Fleet | null, settings: Settings, judgement: Judgement, outcome: Outcome) {
  const { view, batch } = agent;
  const { atMs } = judgement;
  for (const baseline of agent.delta === null ? [view] : [view, agent.delta]) {
    baseline.samples++;
    if (baseline.firstAtMs === 0) baseline.firstAtMs = atMs;
    if (baseline.epochAtMs === 0) baseline.epochAtMs = atMs;
    baseline.lastAtMs = Math.max(baseline.lastAtMs, atMs);
  }
  if (view.standing === 'frozen') return;
  if (
    view.standing === 'learning' &&
    outcome !== 'confirmed' &&
    judgement.isAlarm &&
    countAlarms(view) >= settings.alarmsMax &&
    isGrave(judgement)
  ) {
    setAgentStanding(agent, 'latched', atMs);
  }
  openBatch(agent, fleet, atMs);
  batch.evidence += judgement.evidence;
  if (outcome === 'confirmed') batch.confirmed++;
  const { action, previous, hour, rateStep, marks, destinations, freshBits } = judgement;
  const weight = weightOf(judgement, outcome, settings);
  if (outcome !== 'denied') {
    addWaitingDestinations(batch.destinations, batch.length, action, destinations, freshBits);
  }
  addWaiting(batch, { action, previous, weight, hour, rate: rateStep, marks, bins: binsOf(judgement) });
  endBatch(agent, fleet);
}

/** One bin a histogram, in their order. */
function binsOf({ actionValue, sequenceValue, combinedValue, rateValue, sustainedValue }: Judgement): number {
  return (
    binOf(scales.action, actionValue) |
    (binOf(scales.sequence, sequenceValue) << binBits) |
    (binOf(scales.combined, combinedValue) << (2 * binBits)) |
    (binOf(scales.rate, rateValue) << (3 * binBits)) |
    (binOf(scales.sustained, sustainedValue) << (4 * binBits))
  );
}

/** Ends a batch that has waited too long to be told as one, and dates a new one. */
export function openBatch(agent: Agent, fleet: Fleet | null, atMs: number): void {
  const { batch } = agent;
  if (batch.length + batch.heard > 0 && atMs - batch.sinceMs > batchAgeMaxMs) learnBatch(agent, fleet);
  if (batch.length + batch.heard === 0) batch.sinceMs = atMs;
}

/** Learns the batch if it is full, with what other replicas judged of it. */
export function endBatch(agent: Agent, fleet: Fleet | null): void {
  if (agent.batch.length + agent.batch.heard >= batchSize) learnBatch(agent, fleet);
}

/**
 * An honest agent has a burst of alarms now and then: one call in a hundred is an alarm by definition, so that three
 * among 200 are no rarity. They are mostly of things its peers would not do either. It is latched where they would, or
 * where an alarm names a destination that it has never met; and where it has no peers, by what it hardly ever did.
 */
function isGrave({ peers, lean, evidence, isStrange }: Judgement): boolean {
  return lean > gateNats || isStrange || (peers < peersMin && evidence > 0);
}

function weightOf(judgement: Judgement, outcome: Outcome, { discountScore }: Settings): number {
  if (outcome === 'denied') return 0;
  const isUsual = !judgement.ready || judgement.score < discountScore;
  if (outcome === 'confirmed' || isUsual) return unit;
  return Math.max(weightMin, Math.round(unit * (1 - judgement.score)));
}

/**
 * Decides on the requests that wait, all together, and learns them. Those of a latched agent, and those that as a whole
 * look more like others than like the agent, go into quarantine, where they wait for a person.
 */
export function learnBatch(agent: Agent, fleet: Fleet | null): void {
  const { view, delta, batch } = agent;
  const judged = batch.length + batch.heard;
  if (judged === 0) return;
  if (view.standing !== 'frozen') {
    const isVouched = batch.confirmed > batch.length / 2;
    const isOwn = isVouched || view.samples < gateSamplesMin || batch.evidence / judged < gateNats;
    const isLearned = isOwn && view.standing === 'learning';
    if (!isLearned) {
      agent.quarantine ??= createDelta(view);
      if (delta !== null) agent.quarantineDelta ??= createDelta(view);
    }
    const { quarantine, quarantineDelta } = agent;
    const held = [quarantine, quarantineDelta].filter((baseline) => baseline !== null);
    const before = view.weight;
    const shared = delta === null ? [view] : [view, delta];
    const group = isLearned && fleet !== null ? joinGroup(agent, batch.sinceMs) : null;
    agent.growth ??= createGrowth();
    turnHour(agent.growth, batch.sinceMs);
    for (let index = 0; index < batch.length; index++) {
      const waiting = waitingAt(batch, index);
      const hasRoom = isVouched || !isLearned || hasRoomFor(waiting, agent.growth, view);
      if (view.standing === 'learning') calibrate(waiting, isOwn && hasRoom, shared);
      if (!hasRoom) continue;
      if (isLearned) learnRequest(batch, index, view, shared, fleet, group);
      else if (quarantine !== null) learnRequest(batch, index, quarantine, held, null, null);
    }
    if (fleet !== null && before < peerSamplesMin * unit && view.weight >= peerSamplesMin * unit) fleet.peers++;
    ageBaseline(view, delta, batch.sinceMs);
  }
  clearBatch(batch);
}

function hasRoomFor({ action, weight }: Waiting, growth: Growth, { actions }: Baseline): boolean {
  return weight === 0 || takeRoom(growth, actions, action, weight);
}

/** Takes the request's values over into the past that later values are compared with. */
function calibrate({ weight, bins }: Waiting, isLearned: boolean, baselines: readonly Baseline[]): void {
  const units = isLearned && weight !== 0 ? unit : discountedCalibration;
  for (const baseline of baselines) {
    openTables(baseline);
    baseline.calibrated += units;
    for (let histogram = 0; histogram < histogramsPerRequest; histogram++) {
      const cell = histogram * binCount + ((bins >>> (histogram * binBits)) & (binCount - 1));
      baseline.histograms[cell] = (baseline.histograms[cell] ?? 0) + units;
    }
  }
}

/** Learns one request into all of `baselines`; `known` tells what is new. */
function learnRequest(
  batch: Batch,
  index: number,
  known: Baseline,
  baselines: readonly Baseline[],
  fleet: Fleet | null,
  group: PeerGroup | null,
): void {
  const { action, previous, weight, hour, rate, marks } = waitingAt(batch, index);
  if (weight === 0) return;
  const isNew = findAction(known.actions, action) === -1;
  const { first, second } = pairCellsOf(previous, action);
  const isFollower = weight > unit / 2 && countOfPair(known.pairs, first, second) < unit / 2;
  const units = unitsToGive(weight, known.weight, known.contributed);
  const given = fleet === null ? 0 : contribute(fleet, action, units, isNew);
  const groupGiven = group === null ? 0 : giveToGroup(group, action, weight, known);
  const keys = destinationsToKeep(batch, index, action, weight, known);
  const hourAt = 3 * hour;
  for (const baseline of baselines) {
    openTables(baseline);
    const { actions, pairs, hours } = baseline;
    baseline.weight += weight;
    baseline.contributed += given;
    baseline.groupGiven += groupGiven;
    if (isNew) baseline.newWeight += weight;
    if (previous === start) {
      const startSlot = slotForAction(actions, start);
      actions.counts[startSlot] = (actions.counts[startSlot] ?? 0) + weight;
    }
    const slot = slotForAction(actions, action);
    actions.counts[slot] = (actions.counts[slot] ?? 0) + weight;
    if ((marks & markNamed) !== 0) baseline.named++;
    if ((marks & markFresh) !== 0) baseline.fresh++;
    if ((marks & markTainted) !== 0) baseline.tainted++;
    if ((marks & markStrange) !== 0) baseline.strange++;
    countFields(batch.destinations, index, baseline.fields);
    for (const key of keys) addDestination(baseline.destinations, key);
    if (isFollower) addBounded(actions.followers, slotForAction(actions, previous), 1);
    pairs[first] = (pairs[first] ?? 0) + weight;
    pairs[second] = (pairs[second] ?? 0) + weight;
    hours[hourAt] = (hours[hourAt] ?? 0) + 1;
    hours[hourAt + 1] = (hours[hourAt + 1] ?? 0) + rate;
    hours[hourAt + 2] = (hours[hourAt + 2] ?? 0) + rate * rate;
  }
}

/** A destination named by an alarm is remembered the second time only: once may have been an intruder's. */
function destinationsToKeep(batch: Batch, index: number, action: number, weight: number, known: Baseline): number[] {
  const keys: number[] = [];
  for (const destination of waitingHashes(batch.destinations, index, known.fields)) {
    const key = destinationKey(action, destination);
    const probation = mix(key, probationSeed);
    const isTrusted = weight > unit / 2 || hasDestination(known.destinations, probation);
    keys.push(isTrusted ? key : probation);
    if (isTrusted) keys.push(destinationKey(0, destination));
  }
  return keys;
}

export function setAgentStanding(agent: Agent, standing: Standing, atMs: number): void {
  setStanding(agent.view, standing, atMs);
  if (agent.delta !== null) setStanding(agent.delta, standing, atMs);
}

/** Remembers what a response showed; not of an agent whose learning a person has yet to allow. */
export function learnShown(agent: Agent, hashes: Iterable<number>, nowMs: number): void {
  if (agent.view.standing !== 'learning') return;
  const day = Math.floor(nowMs / dayMs);
  for (const hash of hashes) {
    addOnDay(agent.view.shown, hash, day);
    if (agent.delta !== null) addOnDay(agent.delta.shown, hash, day);
  }
}
