/** Agents with habits, for tests of drift: no recorded data is needed to know what is usual. */

import { type Agent, createAgent } from '../../../src/behaviour/drift/agent.ts';
import { createDrift, type Drift } from '../../../src/behaviour/drift/drift.ts';
import { createFleet, type Fleet } from '../../../src/behaviour/drift/fleet.ts';
import type { Destination, Judgement, Settings } from '../../../src/behaviour/drift/judgement.ts';
import type { Outcome } from '../../../src/behaviour/drift/learn.ts';
import type { Findings } from '../../../src/behaviour/drift/response-scan.ts';

export const beganMs = Date.UTC(2026, 2, 2);
export const minuteMs = 60_000;

export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

export type Play = {
  readonly drift: Drift;
  readonly agent: Agent;
  readonly fleet: Fleet;
  /** Judges and learns one request, the next minute. */
  readonly call: (action: string, options?: Partial<CallOptions>) => Judgement;
  /** Requests of an agent with twenty habits, the frequent ones frequent. */
  readonly live: (requests: number, seed?: number, outcome?: Outcome) => Judgement[];
  readonly now: () => number;
};

type CallOptions = {
  readonly outcome: Outcome;
  readonly session: string | null;
  readonly destinations: readonly Destination[];
  /** Since the call before. */
  readonly afterMs: number;
};

export function play(settings: Partial<Settings> = {}, agent = createAgent('agent-1')): Play {
  const fleet = createFleet();
  const drift = createDrift({ secret: Buffer.alloc(32, 1), fleet, settings });
  let atMs = beganMs;
  const call: Play['call'] = (action, given = {}) => {
    const { outcome = 'allowed', session = null, destinations = [], afterMs = minuteMs } = given;
    atMs += afterMs;
    const judgement = drift.judge(agent, { action, session, atMs, destinations });
    drift.learn(agent, judgement, outcome);
    return judgement;
  };
  return {
    drift,
    agent,
    fleet,
    call,
    now: () => atMs,
    live: (requests, seed = 1, outcome = 'allowed') => {
      const random = createRandom(seed);
      return Array.from({ length: requests }, () => call(habit(random), { outcome }));
    },
  };
}

/** One of twenty actions: the first takes a third of all, the last one in two hundred. */
export function habit(random: () => number): string {
  return `GET /things/${Math.floor(20 * random() ** 2.2)}`;
}

export function destination(hash: number, kind: Destination['kind'] = 'reach', fieldHash = 1): Destination {
  return { field: 'recipient', fieldHash, hash, kind };
}

/** A response that shows these destinations, and says nothing. */
export function shown(...hashes: readonly number[]): Findings {
  return { hashes, words: null };
}
