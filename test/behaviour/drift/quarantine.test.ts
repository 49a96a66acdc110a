import { describe, expect, it } from 'vitest';
import { decodeAlarms, encodeAlarms } from '../../../src/behaviour/drift/alarms.ts';
import { encodeBaseline } from '../../../src/behaviour/drift/codec.ts';
import { type Explanation, features } from '../../../src/behaviour/drift/explain.ts';
import { addAlarm, type KeptAgent } from '../../../src/behaviour/drift/kept-agent.ts';
import { setAgentStanding } from '../../../src/behaviour/drift/learn.ts';
import {
  decodeStored,
  encodeStored,
  type StoredBaseline,
  withoutQuarantine,
} from '../../../src/behaviour/drift/stored.ts';
import { StoreFault } from '../../../src/errors.ts';
import { createMemoryDrift } from '../../../src/store/memory-drift.ts';
import { createRandom, destination, play } from './agents.ts';
import { createReplica as create, withOutage } from './replica.ts';

/** Never ready, so that every request is learned, or held, in full. */
const createReplica = (store: Parameters<typeof create>[0]) => create(store, { readySamples: 1_000_000 });
type Replica = ReturnType<typeof createReplica>;
const unit = 32;

/** An agent of so many requests that is latched, on all of these replicas. */
async function latch(replicas: readonly Replica[], requests = 300): Promise<void> {
  const [first] = replicas;
  if (first === undefined) throw new Error('no replica');
  const kept = await first.live('a', requests);
  setAgentStanding(kept.agent, 'latched', first.now());
  kept.isDirty = true;
  await first.keeper.flush();
  for (const { keeper } of replicas) await keeper.read(keeper.get('a'));
}

const at = ({ keeper }: Replica): KeptAgent => keeper.get('a');

/** What each replica has when all have written and read. */
async function settled(replicas: readonly Replica[]) {
  for (let round = 0; round < 2; round++) for (const { keeper } of replicas) await keeper.flush();
  for (const replica of replicas) await replica.keeper.read(at(replica));
  const views = replicas.map((replica) => Buffer.from(encodeBaseline(at(replica).agent.view)).toString('hex'));
  expect(new Set(views).size).toBe(1);
  const [first] = replicas;
  if (first === undefined) throw new Error('no replica');
  const { view, quarantine } = at(first).agent;
  return { learned: view.weight / unit, held: (quarantine?.weight ?? 0) / unit, samples: view.samples };
}

describe('what a latched agent does', () => {
  it('waits in the store, and is learned by a replica that was not there', async () => {
    const store = createMemoryDrift();
    const before = createReplica(store);
    await latch([before]);
    await before.live('a', 100);
    await before.keeper.flush();

    const after = createReplica(store);
    expect(await after.operate.show('a')).toMatchObject({ standing: 'latched', learned: 300, quarantined: 100 });
    expect(await after.operate.act('a', { action: 'confirm-safe' })).toMatchObject({ learned: 400, quarantined: 0 });
    const other = createReplica(store);
    expect(await other.operate.show('a')).toMatchObject({ standing: 'learning', learned: 400, quarantined: 0 });
  });

  it('is shown as one whole, whichever replicas were called', async () => {
    const store = createMemoryDrift();
    const replicas = [createReplica(store), createReplica(store)];
    await latch(replicas);
    for (const replica of replicas) await replica.live('a', 100);
    expect(await settled(replicas)).toEqual({ learned: 300, held: 200, samples: 500 });
    // What it did again is nothing new in what waits.
    for (const replica of replicas) await replica.live('a', 100);
    await settled(replicas);
    const { quarantine } = at(replicas[0] as Replica).agent;
    expect((quarantine?.newWeight ?? 0) / unit).toBeLessThanOrEqual(14);
  });

  it.each(Array.from({ length: 12 }, (_, seed) => seed + 1))(
    'is learned exactly once, wherever it waits and whoever is asked (seed %i)',
    async (seed) => {
      const random = createRandom(seed);
      const store = createMemoryDrift();
      const replicas = [createReplica(store), createReplica(store), createReplica(store)];
      await latch(replicas);
      let total = 300;
      for (let step = 0; step < 12; step++) {
        const replica = replicas[Math.floor(random() * 3)] as Replica;
        await replica.live('a', 50);
        total += 50;
        if (random() < 0.5) await Promise.all(replicas.map(({ keeper }) => keeper.flush()));
      }
      // Two people at once, while others write what has come meanwhile.
      await Promise.all(
        replicas.map((replica, index) =>
          index < 2 ? replica.operate.act('a', { action: 'confirm-safe' }) : replica.keeper.flush(),
        ),
      );
      expect(await settled(replicas)).toEqual({ learned: total, held: 0, samples: total });
    },
  );

  it.each([
    ['learned', 'confirm-safe', 500],
    ['dropped', 'confirm-compromise', 300],
  ] as const)('is %s by who had not written it yet when another was told to %s', async (_what, action, learned) => {
    const store = createMemoryDrift();
    const replicas = [createReplica(store), createReplica(store)];
    await latch(replicas);
    for (const replica of replicas) await replica.live('a', 100);
    await replicas[0]?.keeper.flush();
    await replicas[0]?.operate.act('a', { action });
    expect(await settled(replicas)).toEqual({ learned, held: 0, samples: 500 });
  });

  it.each(['reset', 'import', 'rollback'] as const)('is gone after %s', async (action) => {
    const store = createMemoryDrift();
    const replicas = [createReplica(store), createReplica(store)];
    const [one, other] = replicas as [Replica, Replica];
    await latch(replicas);
    const baseline = await one.operate.export('a');
    for (const replica of replicas) await replica.live('a', 100);
    await settled(replicas);
    const beforeMs = one.now() + 86_400_000;
    const done = await one.operate.act('a', { action, ...(action === 'import' ? { baseline } : { beforeMs }) });
    expect(done).toMatchObject({ quarantined: 0, standing: 'learning', generation: 1 });
    await other.operate.act('a', { action: 'confirm-safe' });
    expect(await settled(replicas)).toMatchObject({ learned: action === 'reset' ? 0 : 300, held: 0 });
  });

  it('is kept here while the store is away, and is neither lost nor doubled', async () => {
    const { state, store } = withOutage(createMemoryDrift());
    const replicas = [createReplica(store), createReplica(store)];
    const [one, other] = replicas as [Replica, Replica];
    await latch(replicas);
    await one.live('a', 100);
    await one.keeper.flush();
    state.isAway = true;
    await one.live('a', 50);
    await one.keeper.flush();
    await expect(one.operate.act('a', { action: 'confirm-safe' })).rejects.toBeInstanceOf(StoreFault);
    state.isAway = false;
    await other.live('a', 50);
    await other.keeper.flush();
    await one.operate.act('a', { action: 'confirm-safe' });
    expect(await settled(replicas)).toEqual({ learned: 500, held: 0, samples: 500 });
  });
});

describe('a stored baseline with what waits', () => {
  async function stored() {
    const store = createMemoryDrift();
    const replica = createReplica(store);
    await latch([replica]);
    await replica.live('a', 100);
    const { agent } = at(replica);
    const { view: baseline, quarantine } = agent;
    return { generation: 3, verdict: 'safe', verdictAtMs: 7, baseline, quarantine } as const;
  }

  it('is read as it was written, and without what waits for a snapshot', async () => {
    const given = await stored();
    const bytes = encodeStored(given);
    const read = decodeStored(bytes);
    expect(read).toMatchObject({ generation: 3, verdict: 'safe', verdictAtMs: 7 });
    expect(read?.quarantine?.weight).toBe(100 * unit);
    expect(encodeStored(read as StoredBaseline)).toEqual(bytes);
    const bare = decodeStored(withoutQuarantine(bytes));
    expect(bare?.quarantine).toBeNull();
    expect(bare?.baseline.weight).toBe(given.baseline.weight);
  });

  it('is nothing where it is damaged, and never a fault', async () => {
    const bytes = encodeStored(await stored());
    for (let length = 0; length < bytes.length; length++) {
      const read = decodeStored(bytes.subarray(0, length));
      // Cut where the baseline ends it is one without anything that waits.
      if (read !== null) expect(length).toBe(withoutQuarantine(bytes).length);
    }
    expect(decodeStored(Buffer.concat([bytes, Buffer.of(0)]))).toBeNull();
    const random = createRandom(5);
    for (let round = 0; round < 2000; round++) {
      const damaged = bytes.slice();
      damaged[Math.floor(random() * (round % 2 === 0 ? 40 : bytes.length))] = Math.floor(random() * 256);
      const read = decodeStored(damaged);
      if (read !== null) expect(read.quarantine === null || read.quarantine.weight >= 0).toBe(true);
    }
  });
});

describe('the latest alarms', () => {
  const explanation: Explanation = {
    ...{ agent: 'a', score: 0.999, p: 0.001, samples: 700, ready: true, alarms: 1, standing: 'learning' },
    top: [{ feature: 'sequence', action: 'x', previous: 'y', usual: ['z'], seen: 'RARE', share: 1, text: 'x after y' }],
  };
  const alarm = async (replica: Replica, decision: string) => {
    const kept = await replica.live('a', 1);
    addAlarm(kept, { decision, atMs: replica.now(), explanation });
  };
  const shown = async (replica: Replica) => {
    const { latest_alarms: list } = (await replica.operate.show('a')) as { latest_alarms: { decision: string }[] };
    return list.map(({ decision }) => decision);
  };

  it('are those of all replicas, the newest five, and survive them', async () => {
    const store = createMemoryDrift();
    const [one, other] = [createReplica(store), createReplica(store)];
    await other.live('a', 1);
    for (const [index, replica] of [one, other, one, other, one, other].entries()) await alarm(replica, `${index}`);
    await Promise.all([one.keeper.flush(), other.keeper.flush()]);
    const after = createReplica(store);
    expect((await shown(after)).toSorted()).toEqual(['1', '2', '3', '4', '5']);
    expect(await shown(one)).toEqual(await shown(after));
    const list = Array.from({ length: 5 }, () => ({ score: 0.999, top: [{ text: 'x after y', usual: ['z'] }] }));
    expect(await after.operate.show('a')).toMatchObject({ latest_alarms: list });
  });

  it('come back whatever they are about, all of it at once too', () => {
    const top = features.map((feature) => ({ feature, action: 'x', seen: 'UNSEEN', share: 0.2, text: 'x' }) as const);
    for (const reasons of [top, ...top.map((reason) => [reason])]) {
      const list = [{ decision: 'd', atMs: 1, explanation: { ...explanation, top: reasons } }];
      expect(decodeAlarms(encodeAlarms({ sinceMs: 0, list }))).toEqual({ sinceMs: 0, list });
    }
  });

  it('come back however long the names are that an agent makes up', () => {
    const { drift, agent, live, now } = play();
    live(600);
    const long = `GET ${'/a'.repeat(60_000)}`;
    const event = { session: null, atMs: now(), destinations: [{ ...destination(7), field: 'f'.repeat(9000) }] };
    for (const action of [long, `${long}/b`]) {
      const told = drift.explain(agent, drift.judge(agent, { ...event, action }));
      expect(told.top.length).toBeGreaterThan(1);
      const list = [{ decision: 'd', atMs: 1, explanation: told }];
      expect(decodeAlarms(encodeAlarms({ sinceMs: 0, list }))).toEqual({ sinceMs: 0, list });
    }
  });

  it('are void on every replica once a person has spoken, or the baseline was replaced', async () => {
    for (const action of ['confirm-safe', 'confirm-compromise', 'reset'] as const) {
      const store = createMemoryDrift();
      const [one, other] = [createReplica(store), createReplica(store)];
      await other.live('a', 50);
      await alarm(one, 'first');
      await alarm(other, 'second');
      await Promise.all([one.keeper.flush(), other.keeper.flush()]);
      expect(await shown(one)).toHaveLength(2);
      await other.operate.act('a', { action });
      expect([await shown(one), await shown(other), await shown(createReplica(store))]).toEqual([[], [], []]);
    }
  });

  it('are none where the store holds something else', async () => {
    const store = createMemoryDrift();
    const replica = createReplica(store);
    await alarm(replica, 'first');
    await replica.keeper.flush();
    const name = `${replica.engine.nameOf('a')}:alarms`;
    const good = await store.read(name);
    const text = Buffer.from(good?.bytes ?? []).toString('utf8');
    const damages = [
      '',
      '{',
      '[]',
      text.replace('"share":1', '"share":2'),
      text.replace('RARE', 'ODD'),
      `${text} `.repeat(2),
    ];
    for (const damaged of [...damages, text.replace('"list":[', `"list":[${'{},'.repeat(9)}`), 'x'.repeat(70_000)]) {
      const { version = null } = (await store.read(name)) ?? {};
      await store.write(name, version, Buffer.from(damaged), null);
      expect(await shown(createReplica(store))).toEqual([]);
    }
    expect(await shown(replica)).toEqual(['first']);
  });
});
