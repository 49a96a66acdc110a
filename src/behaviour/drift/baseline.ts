/**
 * What is remembered of one agent. Everything learned is a sum of whole units, or a union, so that the deltas of
 * replicas merge into the same baseline whatever their order.
 */

import { addActions, halveActions } from './action-table.ts';
import { emptyTables, hasTables, openTables, setTables, type Tables } from './baseline-tables.ts';
import {
  clearDestinations,
  createDestinationMemory,
  type DestinationMemory,
  turnGeneration,
  uniteDestinations,
} from './destination-memory.ts';
import { addFields, ageFields } from './field-sketch.ts';
import { clearRecent, createRecent, type Recent, uniteRecent } from './recent.ts';

/** The weight of one fully learned request; the least weight that counts is one unit. */
export const unit = 32;

/** Half-life of the model: at least this many requests and this long, whichever is longer. */
const modelUnitsMax = 28_000 * unit;
const modelAgeMinMs = 14 * 24 * 60 * 60 * 1000;
/** Calibration halves sooner: it follows the agent's present, not its past. */
const calibrationUnitsMax = 7_500 * unit;
/** Recent requests of an action that tell how often it names a new destination. */
const namedMax = 128;

/** What was decided about an agent; the latest decision holds on every replica. */
export type Standing = 'learning' | 'latched' | 'frozen';
export const standings: readonly Standing[] = ['learning', 'latched', 'frozen'];

export type Baseline = Tables & {
  /** Times the model's counts, and the calibration's, were halved. */
  epoch: number;
  epochAtMs: number;
  calibrationEpoch: number;
  /** 0 before the first request. */
  firstAtMs: number;
  lastAtMs: number;
  /** Requests judged, ever. */
  samples: number;
  /** Units learned, units of actions then new, units given to the fleet, units calibrated. */
  weight: number;
  newWeight: number;
  contributed: number;
  calibrated: number;
  /** The key of the group it is of, 0 for none; when that was last said; and the units given to that group. */
  group: number;
  groupAtMs: number;
  groupGiven: number;
  /** Recent requests with a destination; with a new one; with one never met in any way; with one from a response. */
  named: number;
  fresh: number;
  strange: number;
  tainted: number;
  standing: Standing;
  standingAtMs: number;
  /** Used in requests. */
  readonly destinations: DestinationMemory;
  /** Shown in responses, a generation a day. */
  readonly shown: DestinationMemory;
  readonly recent: Recent;
};

export function createBaseline(): Baseline {
  return {
    epoch: 0,
    epochAtMs: 0,
    calibrationEpoch: 0,
    firstAtMs: 0,
    lastAtMs: 0,
    samples: 0,
    weight: 0,
    newWeight: 0,
    contributed: 0,
    calibrated: 0,
    group: 0,
    groupAtMs: 0,
    groupGiven: 0,
    named: 0,
    fresh: 0,
    strange: 0,
    tainted: 0,
    standing: 'learning',
    standingAtMs: 0,
    actions: emptyTables.actions,
    pairs: emptyTables.pairs,
    histograms: emptyTables.histograms,
    hours: emptyTables.hours,
    fields: emptyTables.fields,
    destinations: createDestinationMemory(),
    shown: createDestinationMemory(),
    recent: createRecent(),
  };
}

/** Adds what `from` learned to `into`. `from` may be aged, and is otherwise left as it is. */
export function mergeBaseline(into: Baseline, from: Baseline): void {
  halveModelTo(into, from.epoch, from.epochAtMs);
  halveModelTo(from, into.epoch, into.epochAtMs);
  halveCalibrationTo(into, from.calibrationEpoch);
  halveCalibrationTo(from, into.calibrationEpoch);
  into.epochAtMs = earlier(into.epochAtMs, from.epochAtMs);
  into.firstAtMs = earlier(into.firstAtMs, from.firstAtMs);
  into.lastAtMs = Math.max(into.lastAtMs, from.lastAtMs);
  into.samples += from.samples;
  into.weight += from.weight;
  into.newWeight += from.newWeight;
  into.contributed += from.contributed;
  into.calibrated += from.calibrated;
  mergeGroup(into, from);
  into.named += from.named;
  into.fresh += from.fresh;
  into.strange += from.strange;
  into.tainted += from.tainted;
  const isLater =
    from.standingAtMs - into.standingAtMs || standings.indexOf(from.standing) - standings.indexOf(into.standing);
  if (isLater > 0) setStanding(into, from.standing, from.standingAtMs);
  if (hasTables(from)) {
    openTables(into);
    addActions(into.actions, from.actions);
    addCells(into.pairs, from.pairs);
    addCells(into.histograms, from.histograms);
    addCells(into.hours, from.hours);
    addFields(into.fields, from.fields);
  }
  uniteDestinations(into.destinations, from.destinations);
  uniteDestinations(into.shown, from.shown);
  uniteRecent(into.recent, from.recent);
}

/** The group that was said last holds, and with it what was given to that one. */
function mergeGroup(into: Baseline, from: Baseline): void {
  if (into.group === from.group) {
    into.groupGiven += from.groupGiven;
    into.groupAtMs = Math.max(into.groupAtMs, from.groupAtMs);
  } else if ((from.groupAtMs - into.groupAtMs || from.group - into.group) > 0) {
    into.group = from.group;
    into.groupAtMs = from.groupAtMs;
    into.groupGiven = from.groupGiven;
  }
}

export function setStanding(baseline: Baseline, standing: Standing, atMs: number): void {
  baseline.standing = standing;
  baseline.standingAtMs = atMs;
}

/**
 * Halves what has grown past its bound: the model by requests and age, calibration by requests, an action's
 * destinations by requests. `delta`, what was learned since the last merge, ages along.
 */
export function ageBaseline(baseline: Baseline, delta: Baseline | null, nowMs: number): void {
  if (baseline.weight > modelUnitsMax && nowMs - baseline.epochAtMs > modelAgeMinMs) {
    halveModel(baseline, nowMs);
    if (delta !== null) halveModel(delta, nowMs);
  }
  if (baseline.calibrated > calibrationUnitsMax) {
    halveCalibration(baseline);
    if (delta !== null) halveCalibration(delta);
  }
  ageFields(baseline.fields);
  while (baseline.named > 4 * namedMax) {
    baseline.named >>>= 1;
    baseline.fresh >>>= 1;
    baseline.strange >>>= 1;
    baseline.tainted >>>= 1;
  }
  if (turnGeneration(baseline.destinations) && delta !== null) {
    uniteDestinations(delta.destinations, emptyMemory(baseline.destinations));
  }
}

/** Empties a baseline, but keeps epochs, generation, group and standing: it goes on as the delta of the same model. */
export function clearBaseline(baseline: Baseline): void {
  baseline.firstAtMs = 0;
  baseline.lastAtMs = 0;
  baseline.samples = 0;
  baseline.weight = 0;
  baseline.newWeight = 0;
  baseline.contributed = 0;
  baseline.calibrated = 0;
  baseline.groupGiven = 0;
  baseline.named = 0;
  baseline.fresh = 0;
  baseline.strange = 0;
  baseline.tainted = 0;
  setTables(baseline, emptyTables);
  clearDestinations(baseline.destinations);
  clearDestinations(baseline.shown);
  clearRecent(baseline.recent);
}

/** An empty baseline of the same epochs, generation and group, to learn into what will be merged. */
export function createDelta(of: Baseline): Baseline {
  const delta = createBaseline();
  delta.epoch = of.epoch;
  delta.epochAtMs = of.epochAtMs;
  delta.calibrationEpoch = of.calibrationEpoch;
  delta.group = of.group;
  delta.groupAtMs = of.groupAtMs;
  copyGenerations(delta.destinations, of.destinations);
  copyGenerations(delta.shown, of.shown);
  setStanding(delta, of.standing, of.standingAtMs);
  return delta;
}

function emptyMemory({ generation, olderGeneration }: DestinationMemory): DestinationMemory {
  return { ...createDestinationMemory(), generation, olderGeneration };
}

function copyGenerations(into: DestinationMemory, from: DestinationMemory): void {
  into.generation = from.generation;
  into.olderGeneration = from.olderGeneration;
}

function halveModel(baseline: Baseline, nowMs: number): void {
  baseline.epoch++;
  baseline.epochAtMs = nowMs;
  baseline.weight = Math.floor(baseline.weight / 2);
  baseline.newWeight = Math.floor(baseline.newWeight / 2);
  if (!hasTables(baseline)) return;
  halveActions(baseline.actions);
  halveCells(baseline.pairs);
  halveCells(baseline.hours);
}

function halveCalibration(baseline: Baseline): void {
  baseline.calibrationEpoch++;
  baseline.calibrated = Math.floor(baseline.calibrated / 2);
  if (hasTables(baseline)) halveCells(baseline.histograms);
}

/** Halves up to an epoch. After 32 halvings nothing is left of 32 bits, so that no epoch costs more than that. */
function halveModelTo(baseline: Baseline, epoch: number, epochAtMs: number): void {
  if (baseline.epoch >= epoch) return;
  baseline.epoch = Math.max(baseline.epoch, epoch - 32);
  while (baseline.epoch < epoch) halveModel(baseline, epochAtMs);
}

function halveCalibrationTo(baseline: Baseline, epoch: number): void {
  if (baseline.calibrationEpoch >= epoch) return;
  baseline.calibrationEpoch = Math.max(baseline.calibrationEpoch, epoch - 32);
  while (baseline.calibrationEpoch < epoch) halveCalibration(baseline);
}

function halveCells(cells: Uint32Array): void {
  for (let index = 0; index < cells.length; index++) cells[index] = (cells[index] ?? 0) >>> 1;
}

function addCells(into: Uint32Array, from: Uint32Array): void {
  for (let index = 0; index < into.length; index++) {
    const amount = from[index] ?? 0;
    if (amount !== 0) into[index] = Math.min(0xffffffff, (into[index] ?? 0) + amount);
  }
}

/** The earlier of two times, where 0 is none. */
function earlier(left: number, right: number): number {
  return left === 0 ? right : right === 0 ? left : Math.min(left, right);
}
