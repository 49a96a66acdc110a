import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { settle } from '../../../src/behaviour/drift/drift.ts';
import { wake } from '../../../src/behaviour/drift/kept-agent.ts';
import { setAgentStanding } from '../../../src/behaviour/drift/learn.ts';
import { StoreFault } from '../../../src/errors.ts';
import type { DriftStore } from '../../../src/store/drift-port.ts';
import { createMemoryDrift } from '../../../src/store/memory-drift.ts';
import { createRandom } from './agents.ts';
import { createReplica } from './replica.ts';

/** Answers some turns late, and at times not at all. */
function unreliable(store: DriftStore, random: () => number) {
  const state = { isSound: false };
  const wait = async () => {
    for (let turns = Math.floor(random() * 4); turns > 0; turns--) await nextTurn();
  };
  const slow =
    <Parts extends unknown[], Result>(work: (...parts: Parts) => Promise<Result>) =>
    async (...parts: Parts) => {
      await wait();
      if (!state.isSound && random() < 0.05) throw new StoreFault('away');
      const result = await work(...parts);
      await wait();
      return result;
    };
  const slowStore: DriftStore = {
    read: slow(store.read),
    write: slow(store.write),
    has: slow(store.has),
    join: store.join,
  };
  return { state, store: slowStore };
}

describe('agents that come and go', () => {
  it.each(Array.from({ length: 12 }, (_, index) => index + 1))(
    'are learned exactly once, however replicas, faults and verdicts meet (seed %i)',
    async (seed) => {
      const random = createRandom(seed);
      const { state, store } = unreliable(createMemoryDrift(), random);
      const lost: string[] = [];
      // More agents than places, and never ready, so that every request is learned, or held, in full.
      const options = { agentsMax: 3, readySamples: 1_000_000, lost };
      const replicas = [1, 2, 3].map(() => createReplica(store, options));
      const agents = new Map(['a', 'b', 'c', 'd', 'e'].map((id) => [id, 0]));
      const underWay: Promise<unknown>[] = [];
      for (let step = 0; step < 300; step++) {
        const { keeper, live, operate, now } = replicas[Math.floor(3 * random())] ?? createReplica(store);
        const id = [...agents.keys()][Math.floor(agents.size * random())] ?? '';
        const kind = random();
        if (kind < 0.7) {
          const requests = 1 + Math.floor(6 * random());
          agents.set(id, (agents.get(id) ?? 0) + requests);
          underWay.push(live(id, requests));
        } else if (kind < 0.85) underWay.push(keeper.flush());
        else if (kind < 0.9) underWay.push(keeper.read(keeper.get(id)).catch(() => {}));
        else if (kind < 0.95) underWay.push(operate.act(id, { action: 'confirm-safe' }).catch(() => {}));
        else {
          const kept = keeper.get(id);
          setAgentStanding(wake(kept), 'latched', now());
          kept.isDirty = true;
        }
        if (random() < 0.3) await nextTurn();
      }
      await Promise.all(underWay);
      state.isSound = true;
      for (const { keeper, engine } of replicas) {
        for (const kept of keeper.agents()) {
          settle(wake(kept), engine.fleet);
          kept.isDirty = true;
        }
      }
      for (let round = 0; round < 6; round++) for (const { keeper } of replicas) await keeper.flush();
      const { keeper } = createReplica(store);
      for (const [id, requests] of agents) {
        const kept = keeper.get(id);
        await keeper.read(kept);
        const { view, quarantine } = kept.agent;
        const weight = (view.weight + (quarantine?.weight ?? 0)) / 32;
        expect([id, view.samples, weight]).toEqual([id, requests, requests]);
      }
      expect(lost).toEqual([]);
    },
  );
});
