import { describe, expect, it } from 'vitest';
import { encodeBaseline } from '../../../src/behaviour/drift/codec.ts';
import { obtainSecret } from '../../../src/behaviour/drift/engine.ts';
import { StoreFault } from '../../../src/errors.ts';
import { createMemoryDrift } from '../../../src/store/memory-drift.ts';
import { createReplica, withOutage } from './replica.ts';

describe('agents in memory', () => {
  it('stay within their bound however many call, and come back with all that was learned', async () => {
    const { keeper, live } = createReplica(createMemoryDrift(), { agentsMax: 20 });
    for (let index = 0; index < 300; index++) {
      await live(`agent-${index}`, index === 0 ? 60 : 1);
      expect(keeper.size()).toBeLessThanOrEqual(40);
      if (index % 10 === 0) await keeper.flush();
    }
    await keeper.flush();
    expect(keeper.size()).toBeLessThanOrEqual(20);
    const kept = await live('agent-0', 1);
    expect(kept.agent.view.samples).toBe(61);
  });

  it('stay within twice their bound while the store takes nothing', async () => {
    const { state, store } = withOutage(createMemoryDrift());
    const faults: unknown[] = [];
    const lost: string[] = [];
    const { keeper, live } = createReplica(store, { agentsMax: 20, faults, lost });
    await live('reader', 0);
    state.isAway = true;
    for (let index = 0; index < 200; index++) await live(`agent-${index}`, 1);
    expect(keeper.size()).toBe(40);
    // Each that was dropped with something to be told is told of; of others nothing is lost.
    expect(lost).toEqual(Array.from({ length: 160 }, (_, index) => `agent-${index}`));
    expect(faults[0]).toBeInstanceOf(StoreFault);
  });

  it('are stale from the start while the store is away, and lose nothing of what they learn', async () => {
    const { state, store } = withOutage(createMemoryDrift());
    const first = createReplica(store);
    await first.live('a', 100);
    await first.keeper.flush();
    state.isAway = true;
    const other = createReplica(store);
    const kept = await other.live('a', 50);
    expect(other.keeper.isStale(kept)).toBe(true);
    await other.keeper.flush();
    state.isAway = false;
    await other.keeper.flush();
    expect(other.keeper.isStale(kept)).toBe(false);
    expect(kept.agent.view.samples).toBe(150);
    const third = createReplica(store);
    expect((await third.live('a', 0)).agent.view.samples).toBe(150);
  });

  it('are merged into one baseline by replicas that write in turn, and at once', async () => {
    const store = createMemoryDrift();
    const replicas = [createReplica(store), createReplica(store), createReplica(store)];
    for (let round = 0; round < 4; round++) {
      await Promise.all(replicas.map((replica) => replica.live('a', 50)));
      await Promise.all(replicas.map((replica) => replica.keeper.flush()));
    }
    const bytes: string[] = [];
    for (const { keeper } of replicas) {
      const kept = keeper.get('a');
      await keeper.read(kept);
      expect(kept.agent.view.samples).toBe(600);
      bytes.push(Buffer.from(encodeBaseline(kept.agent.view)).toString('hex'));
    }
    expect(new Set(bytes).size).toBe(1);
  });

  it('write over what nobody can read', async () => {
    const store = createMemoryDrift();
    const { engine, keeper, live } = createReplica(store);
    await store.write(engine.nameOf('a'), null, Buffer.from('not a baseline'), null);
    await live('a', 50);
    await keeper.flush();
    expect((await createReplica(store).live('a', 0)).agent.view.samples).toBe(50);
  });
});

describe('what all agents share', () => {
  it('adds up over replicas, once each', async () => {
    const store = createMemoryDrift();
    const [one, other] = [createReplica(store), createReplica(store)];
    await one.live('a', 100);
    await other.live('b', 150);
    for (let round = 0; round < 3; round++) for (const { engine } of [one, other]) await engine.share(store);
    expect(one.engine.fleet.weight).toBe(other.engine.fleet.weight);
    expect(one.engine.fleet.weight).toBe(250 * 32);
    expect(other.engine.drift.actionNames()).toEqual(expect.arrayContaining(['GET /things/0', 'GET /things/6']));
  });

  it('is one secret, whoever comes first', async () => {
    const store = createMemoryDrift();
    const secrets = await Promise.all([obtainSecret(store), obtainSecret(store), obtainSecret(store)]);
    expect(new Set(secrets.map((secret) => Buffer.from(secret).toString('hex'))).size).toBe(1);
    expect(secrets[0]).toHaveLength(32);
  });
});
