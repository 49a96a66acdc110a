/** One agent in this process: its baseline, what is not yet learned, and what is too young to be shared. */

import { type Baseline, createBaseline, createDelta } from './baseline.ts';
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
  readonly actions: Uint32Array;
  readonly previous: Uint32Array;
  /** 0 where the request was denied. */
  readonly weights: Uint8Array;
  /** One bin a histogram, request by request. */
  readonly bins: Uint8Array;
  readonly hours: Uint8Array;
  readonly rates: Uint8Array;
  /** What the request was the first to do, and what each named. */
  readonly marks: Uint8Array;
  readonly destinations: WaitingDestinations;
};

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
      actions: new Uint32Array(batchSize),
      previous: new Uint32Array(batchSize),
      weights: new Uint8Array(batchSize),
      bins: new Uint8Array(batchSize * histogramsPerRequest),
      hours: new Uint8Array(batchSize),
      rates: new Uint8Array(batchSize),
      marks: new Uint8Array(batchSize),
      destinations: createWaitingDestinations(),
    },
    group: null,
    actionSurprise: 0,
    sequenceSurprise: 0,
    lean: 0,
    rate: 0,
    rateAtMs: 0,
  };
}

/** How often an action, and an action after another, wait in the batch. */
export function countWaiting(batch: Batch, action: number): number {
  let count = 0;
  for (let index = 0; index < batch.length; index++) {
    if (batch.actions[index] === action && batch.weights[index] !== 0) count++;
  }
  return count;
}

export function countWaitingPairs(batch: Batch, previous: number, action: number): number {
  let count = 0;
  for (let index = 0; index < batch.length; index++) {
    if (batch.actions[index] === action && batch.previous[index] === previous && batch.weights[index] !== 0) count++;
  }
  return count;
}

export function clearBatch(batch: Batch): void {
  clearWaitingDestinations(batch.destinations);
  batch.length = 0;
  batch.heard = 0;
  batch.evidence = 0;
  batch.confirmed = 0;
}
