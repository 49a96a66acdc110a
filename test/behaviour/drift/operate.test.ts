import { describe, expect, it } from 'vitest';
import { createMemoryDrift } from '../../../src/store/memory-drift.ts';
import { createReplica } from './replica.ts';

type Shown = { readonly operations: readonly { readonly operation: string }[]; readonly samples: number };
type Exported = Readonly<Record<string, unknown>> & { readonly operations: readonly string[] };

describe('a baseline that is shown', () => {
  it('names what the agent was learned to do, and not what was denied or is not there', async () => {
    const { engine, live, operate, now } = createReplica(createMemoryDrift());
    const { agent } = await live('a', 60);
    const { drift } = engine;
    for (let index = 0; index < 60; index++) {
      const event = { session: 's', atMs: now() + index, destinations: [] };
      const denied = drift.judge(agent, { ...event, action: `GET /denied/${index}` });
      drift.learn(agent, denied, 'denied');
      const missing = drift.judge(agent, { ...event, action: `GET /missing/${index}` });
      drift.learn(agent, missing, 'allowed', 'GET {unmatched}');
    }
    const { operations } = (await operate.show('a')) as Shown;
    const names = operations.map(({ operation }) => operation);
    expect(names).toContain('GET {unmatched}');
    expect(names).toContain('GET /things/1');
    expect(names.filter((name) => /denied|missing/.test(name))).toEqual([]);
  });
});

describe('an exported baseline', () => {
  const exportOf = async (requests = 300) => {
    const from = createReplica(createMemoryDrift());
    await from.live('a', requests);
    return { from, exported: (await from.operate.export('a')) as Exported };
  };

  it('is the same agent in another store, its operations by name', async () => {
    const { from, exported } = await exportOf();
    const elsewhere = createReplica(createMemoryDrift());
    const brought = (await elsewhere.operate.act('b', { action: 'import', baseline: exported })) as Shown;
    const before = (await from.operate.show('a')) as Shown;
    expect(before.operations.length).toBe(7);
    expect(brought).toMatchObject({ agent: 'b', samples: 300, operations: before.operations });
  });

  it('is refused under another secret, and the problem says so', async () => {
    const { exported } = await exportOf(10);
    const elsewhere = createReplica(createMemoryDrift(), { secret: Buffer.alloc(32, 2) });
    const answer = await elsewhere.operate.act('a', { action: 'import', baseline: exported });
    expect(answer).toEqual({ problem: expect.stringContaining('another drift secret') });
    expect(await elsewhere.operate.show('a')).toBeNull();
  });

  it.each([
    { operations: undefined },
    { operations: 'GET /things' },
    { operations: [1] },
    { operations: Array.from({ length: 1000 }, () => 'GET /things') },
    { baseline: '' },
    { baseline: 'AAAA' },
    { version: 2 },
    { format: 'another' },
  ])('is refused where it is damaged: %j', async (damage) => {
    const { exported } = await exportOf(10);
    const elsewhere = createReplica(createMemoryDrift());
    const answer = await elsewhere.operate.act('a', { action: 'import', baseline: { ...exported, ...damage } });
    expect(answer).toHaveProperty('problem');
    expect(await elsewhere.operate.show('a')).toBeNull();
  });

  it('fits into one request, however many operations there are and however long their names', async () => {
    const { engine, keeper, operate, live } = createReplica(createMemoryDrift());
    const { agent } = await live('a', 1);
    for (let index = 0; index < 400; index++) {
      const action = `GET /${index}/${'path/'.repeat(200)}`;
      const event = { action, session: null, atMs: Date.UTC(2026, 2, 2) + index, destinations: [] };
      engine.drift.learn(agent, engine.drift.judge(agent, event), 'confirmed');
    }
    expect(keeper.get('a').agent).toBe(agent);
    const exported = (await operate.export('a')) as Exported;
    expect(exported.operations.length).toBeGreaterThan(10);
    expect(JSON.stringify({ action: 'import', baseline: exported }).length).toBeLessThan(65_536);
  });
});
