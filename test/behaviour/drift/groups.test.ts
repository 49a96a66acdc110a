import { describe, expect, it } from 'vitest';
import { unit } from '../../../src/behaviour/drift/baseline.ts';
import { contribute } from '../../../src/behaviour/drift/fleet.ts';
import { createGroups, groupsMax } from '../../../src/behaviour/drift/groups.ts';
import { createKeyedHash } from '../../../src/behaviour/drift/keyed-hash.ts';
import { StoreFault } from '../../../src/errors.ts';
import type { DriftStore } from '../../../src/store/drift-port.ts';
import { createMemoryDrift } from '../../../src/store/memory-drift.ts';

const createSidecar = () => createGroups({ keyOf: createKeyedHash(Buffer.alloc(32, 1), 'group'), root: '2.01234567' });

/** A store that notes what is asked of it, and may refuse one name. */
function watched(store: DriftStore) {
  const asked: string[] = [];
  const state: { refused: string | null } = { refused: null };
  const note = (name: string) => {
    asked.push(name);
    if (name === state.refused) throw new StoreFault('away');
  };
  const watching: DriftStore = {
    read: async (name) => {
      note(name);
      return store.read(name);
    },
    write: async (name, expected, bytes, lifetimeMs) => {
      note(name);
      return store.write(name, expected, bytes, lifetimeMs);
    },
    has: store.has,
    join: store.join,
  };
  return { asked, state, store: watching };
}

describe('groups that sidecars share', () => {
  it('add up over sidecars, once each, and come back after a restart', async () => {
    const store = createMemoryDrift();
    const [one, other] = [createSidecar(), createSidecar()];
    for (const [sidecar, times] of [
      [one, 100],
      [other, 150],
    ] as const) {
      const { fleet } = sidecar.of('payers');
      for (let index = 0; index < times; index++) contribute(fleet, 4711, unit, true);
      fleet.peers++;
    }
    for (let round = 0; round < 3; round++) {
      for (const sidecar of [one, other]) {
        sidecar.of('payers');
        await sidecar.share(store);
      }
    }
    const restarted = createSidecar();
    restarted.of('payers');
    await restarted.share(store);
    for (const sidecar of [one, other, restarted]) {
      expect(sidecar.of('payers').fleet).toMatchObject({ weight: 250 * unit, peers: 2 });
      expect(Math.max(...sidecar.of('payers').fleet.counts)).toBe(250 * unit);
    }
    expect(restarted.of('builders').fleet.weight).toBe(0);
  });

  it('are asked for when they were used since the last round only, under a name that tells nothing', async () => {
    const { asked, store } = watched(createMemoryDrift());
    const sidecar = createSidecar();
    const name = 'payers ../../: \u{1f512}';
    contribute(sidecar.of(name).fleet, 1, unit, false);
    expect(sidecar.hasNew()).toBe(true);
    await sidecar.share(store);
    expect(sidecar.hasNew()).toBe(false);
    expect(asked).toHaveLength(2);
    expect(new Set(asked).size).toBe(1);
    expect(asked[0]).toMatch(/^2\.01234567:group:[A-Za-z0-9_-]{22}$/);
    await sidecar.share(store);
    expect(asked).toHaveLength(2);
    sidecar.of(name);
    await sidecar.share(store);
    // It is read; there is nothing new to write.
    expect(asked).toHaveLength(3);
  });

  it('have another round when one cannot be shared', async () => {
    const { asked, state, store } = watched(createMemoryDrift());
    const sidecar = createSidecar();
    for (const name of ['a', 'b', 'c']) contribute(sidecar.of(name).fleet, 1, unit, false);
    const probe = createSidecar();
    probe.of('b');
    await probe.share(store);
    state.refused = asked[0] ?? '';
    await expect(sidecar.share(store)).rejects.toThrow(StoreFault);
    state.refused = null;
    await sidecar.share(store);
    const later = createSidecar();
    for (const name of ['a', 'b', 'c']) later.of(name);
    await later.share(store);
    for (const name of ['a', 'b', 'c']) expect(later.of(name).fleet.weight).toBe(unit);
  });

  it('stay within their bound, and those used longest ago come back from the store', async () => {
    const store = createMemoryDrift();
    const sidecar = createSidecar();
    const first = sidecar.of('group-0');
    contribute(first.fleet, 1, unit, false);
    await sidecar.share(store);
    for (let index = 1; index <= groupsMax; index++) sidecar.of(`group-${index}`);
    const again = sidecar.of('group-0');
    expect(again).not.toBe(first);
    expect(again.key).toBe(first.key);
    await sidecar.share(store);
    expect(again.fleet.weight).toBe(unit);
  });

  it('are written over where nobody can read them', async () => {
    const { asked, store } = watched(createMemoryDrift());
    const sidecar = createSidecar();
    sidecar.of('a');
    await sidecar.share(store);
    await store.write(asked[0] ?? '', null, Buffer.from('not a group'), null);
    contribute(sidecar.of('a').fleet, 1, unit, false);
    await sidecar.share(store);
    const later = createSidecar();
    later.of('a');
    await later.share(store);
    expect(later.of('a').fleet.weight).toBe(unit);
  });
});
