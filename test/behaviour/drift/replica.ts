/** Replicas without sockets: a keeper, its engine, and an agent that lives on it. */

import { settle } from '../../../src/behaviour/drift/drift.ts';
import { createEngine } from '../../../src/behaviour/drift/engine.ts';
import { createKeeper, type Keeper } from '../../../src/behaviour/drift/keeper.ts';
import { wake } from '../../../src/behaviour/drift/kept-agent.ts';
import { createOperate } from '../../../src/behaviour/drift/operate.ts';
import { StoreFault } from '../../../src/errors.ts';
import type { DriftStore } from '../../../src/store/drift-port.ts';

const settings = { readySamples: 500, readyAfterMs: 0, discountScore: 0.99, alarmScore: 0.999, alarmsMax: 5 };

type ReplicaOptions = {
  readonly agentsMax?: number;
  readonly faults?: unknown[];
  readonly lost?: string[];
  readonly readySamples?: number;
  readonly secret?: Buffer;
};

export function createReplica(store: DriftStore, options: ReplicaOptions = {}) {
  const { agentsMax = 100, faults = [], lost = [], readySamples = 500, secret = Buffer.alloc(32, 1) } = options;
  const engine = createEngine({
    secret,
    settings: { ...settings, readySamples },
    sessionsMax: 100,
    fields: [],
    documented: new Set(),
  });
  let atMs = Date.UTC(2026, 2, 2);
  const keeper = createKeeper({
    store,
    clock: () => atMs,
    agentsMax,
    // Long, so that nothing is read again but where a test asks for it.
    flushMs: 60_000,
    snapshotDays: 3,
    nameOf: engine.nameOf,
    settle: (agent) => settle(agent, engine.fleet),
    onLost: (agent) => void lost.push(agent),
    onStore: (fault) => void (fault !== null && faults.push(fault)),
  });
  const live = async (id: string, requests: number, on: Keeper = keeper) => {
    const kept = on.get(id);
    await on.recall(kept);
    for (let index = 0; index < requests; index++) {
      atMs += 1000;
      const agent = wake(kept);
      const action = `GET /things/${index % 7}`;
      engine.drift.learn(
        agent,
        engine.drift.judge(agent, { action, session: null, atMs, destinations: [] }),
        'allowed',
      );
      kept.isDirty = true;
    }
    return kept;
  };
  const operate = createOperate({
    running: {
      engine,
      keeper,
      telling: { judged: () => {}, shown: () => {}, changed: () => {}, close: () => {} },
      hashSession: () => 1,
    },
    store,
    clock: () => atMs,
    snapshotDays: 3,
    warmUp: { requests: 500, time: 0 },
  });
  return { engine, keeper, live, operate, now: () => atMs };
}

/** A store that can be taken away. */
export function withOutage(store: DriftStore) {
  const state = { isAway: false };
  const guarded =
    <Parts extends unknown[], Result>(work: (...parts: Parts) => Promise<Result>) =>
    (...parts: Parts) =>
      state.isAway ? Promise.reject(new StoreFault('away')) : work(...parts);
  const guardedStore: DriftStore = {
    read: guarded(store.read),
    write: guarded(store.write),
    has: guarded(store.has),
    join: store.join,
  };
  return { state, store: guardedStore };
}
