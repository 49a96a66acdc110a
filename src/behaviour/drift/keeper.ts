/**
 * The agents in memory. At most so many, those used longest ago go to the store; and every few seconds what was learned
 * is merged into what the store has. No request waits for a write.
 */

import type { DriftStore } from '../../store/drift-port.ts';
import type { Agent } from './agent.ts';
import { recallAlarms, shareAlarms, uniteAlarms } from './alarms.ts';
import { isPast } from './growth.ts';
import { calibratedSamplesMin } from './judge.ts';
import { type KeptAgent, keepAgent, readAgent, wake, writeAgent } from './kept-agent.ts';
import { withoutQuarantine } from './stored.ts';

export type KeeperOptions = {
  readonly store: DriftStore;
  readonly clock: () => number;
  readonly agentsMax: number;
  readonly flushMs: number;
  /** Days that daily snapshots are kept; 0 for none. */
  readonly snapshotDays: number;
  /** Name of an agent's baseline in the store. */
  readonly nameOf: (agent: string) => string;
  /** Learns what waits in the agent's batch. */
  readonly settle: (agent: Agent) => void;
  /** Told of an agent that had to go before the store took what was learned of it. */
  readonly onLost: (agent: string) => void;
  /** Told of each fault, and with null when the store was written to or read. */
  readonly onStore: (fault: unknown) => void;
};

export type Keeper = {
  /** The agent, from memory or new. */
  readonly get: (id: string) => KeptAgent;
  /** The agent where it is in memory; that it was asked for counts for nothing. */
  readonly peek: (id: string) => KeptAgent | undefined;
  /** What has to be awaited before the agent can be judged; null for nothing. Never rejects. */
  readonly recall: (kept: KeptAgent) => Promise<void> | null;
  /** Whether the store has not confirmed the baseline for so long that others may have learned much meanwhile. */
  readonly isStale: (kept: KeptAgent) => boolean;
  /** A request was judged. */
  readonly note: (kept: KeptAgent) => void;
  /** Reads the stored baseline now. Rejects with StoreFault. */
  readonly read: (kept: KeptAgent) => Promise<void>;
  /** Reads the explanations of the latest alarms that other replicas raised, or this one before a restart. */
  readonly readAlarms: (kept: KeptAgent) => Promise<void>;
  /** Does something to the agent while nothing of it is being read or written. */
  readonly inTurn: <T>(kept: KeptAgent, work: () => Promise<T>) => Promise<T>;
  /** Reads it in the background, since another replica has changed it. */
  readonly follow: (kept: KeptAgent) => void;
  /** Writes the baseline now. Rejects with StoreFault. */
  readonly write: (kept: KeptAgent) => Promise<void>;
  /** Writes what has changed. Never rejects. */
  readonly flush: () => Promise<void>;
  readonly agents: () => Iterable<KeptAgent>;
  readonly size: () => number;
};

export const dayMs = 86_400_000;
/** Baselines that nobody has written to for so long are forgotten. */
export const baselineKeptMs = 90 * dayMs;
const requestsPerFlush = 64;
/** One agent is written no more often than this, however much it calls. */
const writeGapMs = 250;
const writesAtOnce = 16;
/** Agents that make room at once. */
const leavingMax = 256;
const idleMs = 60_000;
const ignore = () => {};

export function createKeeper(options: KeeperOptions): Keeper {
  const { store, clock, agentsMax, flushMs, snapshotDays, nameOf, settle, onLost, onStore } = options;
  const freshMs = 2.5 * flushMs;
  const staleMs = Math.max(10_000, 5 * flushMs);
  /** Those used longest ago first. */
  const agents = new Map<string, KeptAgent>();
  const following = new Set<KeptAgent>();
  /** Those on their way to the store to make room. */
  const leaving = new Set<KeptAgent>();
  let flushing: Promise<void> | null = null;
  let isAway = false;

  function get(id: string): KeptAgent {
    let kept = agents.get(id);
    if (kept === undefined) {
      kept = keepAgent(id);
      // Where the store takes nothing, or less than agents bring, there is a bound all the same.
      if (agents.size >= 2 * agentsMax) dropOldest();
      if (!isAway) makeRoom();
    } else agents.delete(id);
    agents.set(id, kept);
    return kept;
  }

  async function inTurn<T>(kept: KeptAgent, work: () => Promise<T>): Promise<T> {
    while (kept.running !== null) await kept.running;
    const underWay = work();
    kept.running = underWay.then(ignore, ignore);
    try {
      return await underWay;
    } finally {
      kept.running = null;
    }
  }

  /**
   * An agent that comes sends one away, so that however fast they come there are as many writes as reads: the store sees
   * to both in turn.
   */
  function makeRoom(): void {
    for (const kept of agents.values()) {
      if (agents.size - leaving.size < agentsMax || leaving.size >= leavingMax) return;
      if (leaving.has(kept)) continue;
      leaving.add(kept);
      leave(kept)
        .catch(() => {})
        .finally(() => leaving.delete(kept));
    }
  }

  async function leave(kept: KeptAgent): Promise<void> {
    const { usedMs } = kept;
    settleWaiting(kept);
    if (kept.isDirty) await write(kept);
    remove(kept, usedMs);
  }

  /** Unless it was used since, or there is something left to be written. */
  function remove(kept: KeptAgent, usedMs: number): void {
    const { agent, isDirty, running } = kept;
    if (isDirty || running !== null || kept.usedMs > usedMs) return;
    // It may have left already and come back as another.
    if (agents.get(agent.id) === kept) agents.delete(agent.id);
  }

  function settleWaiting(kept: KeptAgent): void {
    if (kept.agent.batch.length === 0) return;
    settle(wake(kept));
    kept.isDirty = true;
  }

  function dropOldest(): void {
    for (const [oldest, { agent, isDirty }] of agents) {
      agents.delete(oldest);
      if (isDirty || agent.batch.length > 0) onLost(oldest);
      return;
    }
  }

  /** Reads and writes of one agent go one after another. */
  async function exclusively(kept: KeptAgent, work: () => Promise<void>): Promise<void> {
    try {
      await inTurn(kept, work);
      told(null);
    } catch (fault) {
      told(fault);
      throw fault;
    }
  }

  function told(fault: unknown): void {
    isAway = fault !== null;
    onStore(fault);
  }

  const read = (kept: KeptAgent) => exclusively(kept, () => readAgent(kept, store, nameOf(kept.agent.id)));

  const alarmsName = ({ agent }: KeptAgent) => `${nameOf(agent.id)}:alarms`;

  async function writeAlarms(kept: KeptAgent): Promise<void> {
    if (!kept.hasNewAlarms) return;
    kept.hasNewAlarms = false;
    try {
      const shared = await shareAlarms(kept.alarms, store, alarmsName(kept), baselineKeptMs);
      // Another may have been raised meanwhile.
      kept.alarms = uniteAlarms(kept.alarms, shared);
    } catch (fault) {
      kept.hasNewAlarms = true;
      kept.isDirty = true;
      throw fault;
    }
  }

  const write = (kept: KeptAgent) =>
    exclusively(kept, async () => {
      const name = nameOf(kept.agent.id);
      const bytes = await writeAgent(kept, { store, name, lifetimeMs: baselineKeptMs });
      await writeAlarms(kept);
      const day = Math.floor(clock() / dayMs);
      // Of an agent that is hardly known there is nothing to go back to.
      const isKnown = kept.agent.view.samples >= calibratedSamplesMin;
      if (bytes === null || snapshotDays === 0 || kept.snapshotDay === day || !isKnown) return;
      kept.snapshotDay = day;
      // The first sidecar of the day makes it.
      await store.write(snapshotName(name, day), null, withoutQuarantine(bytes), snapshotDays * dayMs);
    });

  const readAlarms = (kept: KeptAgent) =>
    exclusively(kept, async () => {
      kept.alarms = uniteAlarms(kept.alarms, await recallAlarms(kept.alarms, store, alarmsName(kept)));
    });

  function recall(kept: KeptAgent): Promise<void> | null {
    const nowMs = performance.now();
    kept.usedMs = nowMs;
    if (nowMs - kept.syncedMs < freshMs) return null;
    const isFirst = kept.syncedMs === Number.NEGATIVE_INFINITY;
    // A store that does not answer is not asked with every request.
    if (nowMs - kept.askedMs < flushMs) return isFirst ? kept.running : null;
    return read(kept).catch(() => {});
  }

  function follow(kept: KeptAgent): void {
    // Whoever tells so again and again gets no more than one reading at a time.
    if (following.has(kept)) return;
    following.add(kept);
    read(kept)
      .catch(() => {})
      .finally(() => following.delete(kept));
  }

  async function writeChanged(): Promise<void> {
    const startedMs = performance.now();
    const surplus: KeptAgent[] = [];
    for (const kept of agents.values()) {
      if (surplus.length >= agents.size - agentsMax) break;
      surplus.push(kept);
      settleWaiting(kept);
    }
    const changed = [...agents.values()].filter(({ isDirty }) => isDirty).values();
    const worker = async () => {
      // The first fault ends the round: what is left has another.
      for (const kept of changed) await write(kept);
    };
    await Promise.all(Array.from({ length: writesAtOnce }, worker));
    for (const kept of surplus) remove(kept, startedMs);
    for (const kept of agents.values()) {
      if (kept.isDirty || kept.running !== null || startedMs - kept.usedMs <= idleMs) continue;
      const { agent } = kept;
      agent.delta = null;
      if (agent.growth !== null && isPast(agent.growth, clock())) agent.growth = null;
    }
  }

  const flush = () => {
    flushing ??= writeChanged()
      .catch(() => {})
      .finally(() => {
        flushing = null;
      });
    return flushing;
  };

  return {
    get,
    peek: (id) => agents.get(id),
    recall,
    isStale: (kept) => performance.now() - kept.syncedMs > staleMs,
    note(kept) {
      kept.isDirty = true;
      kept.requests++;
      const isDue = kept.requests >= requestsPerFlush && performance.now() - kept.askedMs > writeGapMs;
      if (isDue && kept.running === null && !isAway) write(kept).catch(() => {});
    },
    read,
    readAlarms,
    inTurn,
    follow,
    write,
    flush,
    agents: () => agents.values(),
    size: () => agents.size,
  };
}

export const snapshotName = (name: string, day: number) => `${name}:${day}`;
