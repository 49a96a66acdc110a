/** One agent in this process: its baseline, what is not yet learned, and what is too young to be shared. */

import { type Baseline, createBaseline, createDelta } from './baseline.ts';
import type { Growth } from './growth.ts';
import type { PeerGroup } from './peer-group.ts';
import { createRecent, type Recent } from './recent.ts';
import {
  clearWaitingDestinations,
  createWaitingDestinations,
  type WaitingDestinations,
} from './waiting-destinations.ts';

/** Requests that are learned together: enough to tell an agent from an intruder, few enough to keep up. */
export const batchSize = 50;

/** Requests judged but not yet learned: they wait until their batch as a whole has proved to be the agent's own. */
export type Batch = {
  length: number;
  /** Requests of the same batch that other replicas judged, and learn. */
  heard: number;
  sinceMs: number;
  /** Sum of what each request weighs for an intruder, in nats; of those heard too. */
  evidence: number;
  /** Requests that someone vouched for. */
  confirmed: number;
  /** rowWords a request, as addWaiting lays them out; as long as they need to be. */
  rows: Uint32Array;
  readonly destinations: WaitingDestinations;
};

/** A request that waits, without its destinations. */
export type Waiting = {
  readonly action: number;
  readonly previous: number;
  /** 0 where the request was denied. */
  readonly weight: number;
  readonly hour: number;
  readonly rate: number;
  readonly marks: number;
  /** Six bits a histogram. */
  readonly bins: number;
};

/** The action, the one before, four bytes of details, bins. */
const rowWords = 4;
const noRows = new Uint32Array(0);
const rowsAtFirst = 4;

export const markNamed = 1;
export const markFresh = 2;
export const markTainted = 4;
export const markStrange = 8;
export const histogramsPerRequest = 5;

export type Agent = {
  readonly id: string;
  /** Everything known: what was read from the store, and what was learned here since. */
  view: Baseline;
  /** What was learned since the last merge; null where no replica waits for it. */
  delta: Baseline | null;
  /** What was done while latched, kept apart until a person has spoken. */
  quarantine: Baseline | null;
  /** The part of it that the store does not have yet; null where there is none, or no replica waits for it. */
  quarantineDelta: Baseline | null;
  /** What other replicas told of requests that the store may not know yet; null where there are none to tell. */
  readonly heard: Recent | null;
  readonly batch: Batch;
  /** Of its latest request; null where nobody says of which group it is. */
  group: PeerGroup | null;
  /** What was learned in this hour; null before anything was. */
  growth: Growth | null;
  /** Evidence of the last few requests, by exponentially weighted mean. */
  actionSurprise: number;
  sequenceSurprise: number;
  /** Evidence of the last ten requests or so that someone else is at work. */
  lean: number;
  /** Requests a minute, by exponentially weighted count; refused ones count more. */
  rate: number;
  rateAtMs: number;
};

export function createAgent(id: string, view: Baseline = createBaseline(), isShared = false): Agent {
  return {
    id,
    view,
    delta: isShared ? createDelta(view) : null,
    quarantine: null,
    quarantineDelta: null,
    heard: isShared ? createRecent() : null,
    batch: {
      length: 0,
      heard: 0,
      sinceMs: 0,
      evidence: 0,
      confirmed: 0,
      rows: noRows,
      destinations: createWaitingDestinations(),
    },
    group: null,
    growth: null,
    actionSurprise: 0,
    sequenceSurprise: 0,
    lean: 0,
    rate: 0,
    rateAtMs: 0,
  };
}

/** Adds a request to those that wait. */
export function addWaiting(batch: Batch, waiting: Waiting): void {
  const at = batch.length * rowWords;
  if (at === batch.rows.length) {
    const rows = new Uint32Array(rowWords * Math.min(batchSize, Math.max(rowsAtFirst, 2 * batch.length)));
    rows.set(batch.rows);
    batch.rows = rows;
  }
  const { rows } = batch;
  rows[at] = waiting.action;
  rows[at + 1] = waiting.previous;
  rows[at + 2] = waiting.weight | (waiting.hour << 8) | (waiting.rate << 16) | (waiting.marks << 24);
  rows[at + 3] = waiting.bins;
  batch.length++;
}

export function waitingAt({ rows }: Batch, index: number): Waiting {
  const at = index * rowWords;
  const details = rows[at + 2] ?? 0;
  return {
    action: rows[at] ?? 0,
    previous: rows[at + 1] ?? 0,
    weight: details & 0xff,
    hour: (details >>> 8) & 0xff,
    rate: (details >>> 16) & 0xff,
    marks: details >>> 24,
    bins: rows[at + 3] ?? 0,
  };
}

/** How often an action, and an action after another, wait in the batch. */
export function countWaiting({ rows, length }: Batch, action: number): number {
  let count = 0;
  for (let at = 0; at < length * rowWords; at += rowWords) {
    if (rows[at] === action && isAllowed(rows, at)) count++;
  }
  return count;
}

export function countWaitingPairs({ rows, length }: Batch, previous: number, action: number): number {
  let count = 0;
  for (let at = 0; at < length * rowWords; at += rowWords) {
    if (rows[at] === action && rows[at + 1] === previous && isAllowed(rows, at)) count++;
  }
  return count;
}

function isAllowed(rows: Uint32Array, at: number): boolean {
  return ((rows[at + 2] ?? 0) & 0xff) !== 0;
}

export function clearBatch(batch: Batch): void {
  // An agent that fills its batches will need the room again.
  if (batch.length < batchSize) batch.rows = noRows;
  clearWaitingDestinations(batch.destinations);
  batch.length = 0;
  batch.heard = 0;
  batch.evidence = 0;
  batch.confirmed = 0;
}
