/** One agent in memory beside its baseline in the store: how the two come together, whoever else writes to the store. */

import type { DriftStore, Stored } from '../../store/drift-port.ts';
import { type Agent, createAgent } from './agent.ts';
import { type Alarm, type Alarms, uniteAlarms } from './alarms.ts';
import { type Baseline, createDelta, mergeBaseline } from './baseline.ts';
import {
  adopt,
  confirmCompromise,
  confirmSafe,
  reset,
  returnDelta,
  returnQuarantine,
  takeDelta,
  takeQuarantine,
  unite,
} from './drift.ts';
import { decodeStored, encodeStored, type StoredBaseline, type Verdict } from './stored.ts';

export type KeptAgent = {
  readonly agent: Agent;
  /** Of the stored baseline that the one here goes on from; null where none is stored, as far as is known. */
  version: string | null;
  generation: number;
  verdict: Verdict;
  verdictAtMs: number;
  /** Monotonic; when the store last confirmed it, and when it was last asked. */
  syncedMs: number;
  askedMs: number;
  /** Monotonic; the agent's last request. */
  usedMs: number;
  /** Whether there is something to be written, and after how many requests. */
  isDirty: boolean;
  requests: number;
  /** The reading or writing under way, which others wait for. Never rejects. */
  running: Promise<void> | null;
  /** Clock; the agent was asked to authenticate anew. 0 for never. */
  challengedAtMs: number;
  /** The day of its newest snapshot, counted from the epoch. */
  snapshotDay: number;
  alarms: Alarms;
  /** Whether the store does not have them all yet. */
  hasNewAlarms: boolean;
};

export function keepAgent(id: string): KeptAgent {
  return {
    agent: createAgent(id, undefined, true),
    version: null,
    generation: 0,
    verdict: 'none',
    verdictAtMs: 0,
    syncedMs: Number.NEGATIVE_INFINITY,
    askedMs: Number.NEGATIVE_INFINITY,
    usedMs: Number.NEGATIVE_INFINITY,
    isDirty: false,
    requests: 0,
    running: null,
    challengedAtMs: 0,
    snapshotDay: 0,
    alarms: { sinceMs: 0, list: [] },
    hasNewAlarms: false,
  };
}

export function addAlarm(kept: KeptAgent, alarm: Alarm): void {
  kept.alarms = uniteAlarms(kept.alarms, { sinceMs: 0, list: [alarm] });
  kept.hasNewAlarms = true;
}

/** Those up to then are explained no more. */
export function voidAlarms(kept: KeptAgent, sinceMs: number): void {
  kept.alarms = uniteAlarms(kept.alarms, { sinceMs, list: [] });
}

/** Between writes of an agent that is idle nothing need be kept apart. Before it learns again, something must be. */
export function wake({ agent }: KeptAgent): Agent {
  agent.delta ??= createDelta(agent.view);
  return agent;
}

/** Writers that meet at one baseline; each but one reads it again. */
const attemptsMax = 8;

/** Reads what the store has, and takes it in where it is something new. */
export async function readAgent(kept: KeptAgent, store: DriftStore, name: string): Promise<void> {
  kept.askedMs = performance.now();
  const found = await store.read(name);
  kept.syncedMs = performance.now();
  if (found === null) {
    // The store has lost it, or never had it: all that is known here goes back there.
    if (kept.version !== null) kept.isDirty = true;
    kept.version = null;
    return;
  }
  if (found.version !== kept.version) takeIn(kept, found);
}

function takeIn(kept: KeptAgent, found: Stored): void {
  const stored = decodeStored(found.bytes);
  const isKnown = kept.version !== null;
  kept.version = found.version;
  // What nobody can read is written over.
  if (stored === null) kept.isDirty = true;
  else if (isKnown && stored.generation > kept.generation) replaceBaseline(kept, stored);
  else {
    kept.generation = stored.generation;
    const { baseline, quarantine } = followVerdict(kept, stored);
    adopt(kept.agent, baseline, quarantine);
  }
}

/** The baseline was replaced elsewhere: what was learned here belongs to the one before. */
function replaceBaseline(kept: KeptAgent, stored: StoredBaseline): void {
  const { agent } = kept;
  kept.generation = stored.generation;
  kept.verdict = stored.verdict;
  kept.verdictAtMs = stored.verdictAtMs;
  voidAlarms(kept, stored.baseline.standingAtMs);
  reset(agent, stored.baseline);
  agent.quarantine = stored.quarantine;
  agent.delta = null;
  wake(kept);
}

/**
 * The later verdict holds for all that waits, wherever it does. Where a person has spoken at another replica, what waits
 * here is learned or dropped here, and the rest was there. Where a person has spoken here, and the store does not know
 * yet, the same goes for what others have brought there meanwhile. So everything is learned once.
 */
function followVerdict(kept: KeptAgent, stored: StoredBaseline): StoredBaseline {
  const { baseline, quarantine, verdict, verdictAtMs } = stored;
  if (verdictAtMs < kept.verdictAtMs) {
    if (quarantine !== null && kept.verdict === 'safe') mergeBaseline(baseline, quarantine);
    return { ...stored, quarantine: null };
  }
  if (verdictAtMs === kept.verdictAtMs) return stored;
  const { agent } = kept;
  kept.verdict = verdict;
  kept.verdictAtMs = verdictAtMs;
  voidAlarms(kept, verdictAtMs);
  if (verdict === 'safe') {
    if (agent.quarantineDelta !== null) kept.isDirty = true;
    confirmSafe(wake(kept), verdictAtMs, agent.quarantineDelta);
  }
  if (verdict === 'compromised') confirmCompromise(agent, verdictAtMs);
  return stored;
}

export type WriteOptions = { readonly store: DriftStore; readonly name: string; readonly lifetimeMs: number };

/** Writes what was learned here, merged with what others have written. Gives the bytes; null where others were faster. */
export async function writeAgent(
  kept: KeptAgent,
  { store, name, lifetimeMs }: WriteOptions,
): Promise<Uint8Array | null> {
  const { agent } = kept;
  kept.isDirty = false;
  kept.requests = 0;
  kept.askedMs = performance.now();
  const delta = takeDelta(agent) ?? createDelta(agent.view);
  let waiting = takeQuarantine(agent);
  let merged: StoredBaseline | null = null;
  let bytes = encodeStored({ ...kept, baseline: agent.view, quarantine: agent.quarantine });
  let expected = kept.version;
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const version = await store.write(name, expected, bytes, lifetimeMs);
      if (version !== null) {
        kept.version = version;
        kept.syncedMs = performance.now();
        if (merged !== null) adopt(agent, merged.baseline, merged.quarantine);
        return bytes;
      }
      const found = await store.read(name);
      const stored = found === null ? null : decodeStored(found.bytes);
      expected = found?.version ?? null;
      merged = null;
      if (stored !== null && stored.generation > kept.generation && kept.version !== null) {
        kept.version = expected;
        kept.syncedMs = performance.now();
        replaceBaseline(kept, stored);
        return null;
      }
      if (stored === null || stored.generation < kept.generation) {
        // Lost or unreadable, or of the baseline that a person has just replaced here: this one goes in its place.
        const since = takeDelta(agent);
        if (since !== null) mergeBaseline(delta, since);
        waiting = unite(takeQuarantine(agent), waiting);
        bytes = encodeStored({ ...kept, baseline: agent.view, quarantine: agent.quarantine });
        continue;
      }
      kept.generation = stored.generation;
      if (waiting !== null && stored.verdictAtMs > kept.verdictAtMs) {
        if (stored.verdict === 'safe') mergeBaseline(delta, waiting);
        waiting = null;
      }
      const { baseline, quarantine } = followVerdict(kept, stored);
      mergeBaseline(baseline, delta);
      merged = { ...stored, baseline, quarantine: unite(quarantine, waiting) };
      bytes = encodeStored({ ...kept, baseline, quarantine: merged.quarantine });
    }
  } catch (fault) {
    giveBack(kept, delta, waiting);
    throw fault;
  }
  giveBack(kept, delta, waiting);
  return null;
}

function giveBack(kept: KeptAgent, delta: Baseline, waiting: Baseline | null): void {
  kept.isDirty = true;
  returnDelta(wake(kept), delta);
  if (waiting !== null) returnQuarantine(kept.agent, waiting);
}
