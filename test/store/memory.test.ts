import { describe, expect, test } from 'vitest';
import { StoreFault } from '../../src/errors.ts';
import { createMemoryStore } from '../../src/store/memory.ts';
import { meter, nowMs, proof, request, revocation } from './samples.ts';
import { storeContract } from './store.contract.ts';

function createClock(startMs: number) {
  let timeMs = startMs;
  return {
    now: () => timeMs,
    advance: (ms: number) => {
      timeMs += ms;
    },
  };
}

describe('the memory store', () => {
  storeContract(async ({ maxRevocations }) => {
    const clock = createClock(nowMs);
    const store = createMemoryStore({ clock: clock.now, maxRevocations });
    return {
      clients: [store, store],
      eventually: async (probe) => {
        for (let i = 0; i < 10_000; i++) {
          if (await probe()) return;
          clock.advance(1);
        }
        throw new Error('it never came to be');
      },
    };
  });
});

describe('the bounds of the memory store', () => {
  test('a proof too many is a fault that forgets no proof and counts nothing', async () => {
    const clock = createClock(nowMs);
    const store = createMemoryStore({ clock: clock.now, maxProofs: 3 });
    for (const key of ['a', 'b', 'c']) await store.check(request({ singleUse: proof(key) }));
    const asked = request({ singleUse: proof('d'), meters: [meter()] });
    await expect(store.check(asked)).rejects.toBeInstanceOf(StoreFault);
    for (const key of ['a', 'b', 'c']) {
      expect(await store.check(request({ singleUse: proof(key) }))).toMatchObject({ isReplay: true });
    }
    expect(await store.check(request({ meters: [meter({ cost: 0 })] }))).toMatchObject({ counts: [0] });
    expect(store.size()).toMatchObject({ proofs: 3 });
  });

  test('proofs past their lifetime make room', async () => {
    const clock = createClock(nowMs);
    const store = createMemoryStore({ clock: clock.now, maxProofs: 3 });
    for (const key of ['a', 'b', 'c']) await store.check(request({ singleUse: proof(key, 1000) }));
    clock.advance(1500);
    expect(await store.check(request({ singleUse: proof('d', 1000) }))).toMatchObject({ isReplay: false });
    expect(store.size()).toMatchObject({ proofs: 1 });
  });

  test('remembers a proof to the last millisecond of its lifetime and no longer', async () => {
    const clock = createClock(nowMs);
    const store = createMemoryStore({ clock: clock.now });
    await store.check(request({ singleUse: proof('p', 1000) }));
    clock.advance(999);
    expect(await store.check(request({ singleUse: proof('p', 1000) }))).toMatchObject({ isReplay: true });
    clock.advance(1);
    expect(await store.check(request({ singleUse: proof('p', 1000) }))).toMatchObject({ isReplay: false });
    clock.advance(999);
    expect(await store.check(request({ singleUse: proof('p', 1000) }))).toMatchObject({ isReplay: true });
  });

  test('still knows a proof after the clock went back', async () => {
    const clock = createClock(nowMs);
    const store = createMemoryStore({ clock: clock.now });
    await store.check(request({ singleUse: proof('p', 1000) }));
    clock.advance(-3_600_000);
    await store.check(request({ singleUse: proof('q', 1000) }));
    expect(await store.check(request({ singleUse: proof('p', 1000) }))).toMatchObject({ isReplay: true });
  });

  test('a meter key too many is a fault that uses up no proof', async () => {
    const store = createMemoryStore({ clock: () => nowMs, maxMeterKeys: 2 });
    await store.check(request({ meters: [meter({ key: 'a' }), meter({ key: 'b' })] }));
    const asked = request({ singleUse: proof('p'), meters: [meter({ key: 'c' })] });
    await expect(store.check(asked)).rejects.toBeInstanceOf(StoreFault);
    expect(await store.check({ ...asked, meters: [meter({ key: 'a' })] })).toMatchObject({
      isReplay: false,
      counts: [2],
    });
    expect(await store.check(request({ meters: [meter({ key: 'c', cost: 0 })] }))).toMatchObject({ counts: [0] });
    expect(store.size()).toMatchObject({ meterKeys: 2 });
  });

  test('meter keys that have left their window make room', async () => {
    const store = createMemoryStore({ clock: () => nowMs, maxMeterKeys: 2 });
    await store.check(request({ meters: [meter({ key: 'a' }), meter({ key: 'b' })] }));
    const laterMs = nowMs + 70_000;
    expect(await store.check(request({ nowMs: laterMs, meters: [meter({ key: 'c' })] }))).toMatchObject({
      counts: [1],
    });
    expect(store.size()).toMatchObject({ meterKeys: 1 });
  });

  test('a meter in steady use keeps its count while others come and go', async () => {
    const store = createMemoryStore({ clock: () => nowMs, maxMeterKeys: 8 });
    for (let second = 0; second < 600; second++) {
      const atMs = nowMs + second * 10_000;
      const answer = await store.check(
        request({ nowMs: atMs, meters: [meter({ key: 'steady' }), meter({ key: `k-${second}`, windowMs: 1000 })] }),
      );
      expect(answer.counts[0]).toBeGreaterThanOrEqual(Math.min(second + 1, 6));
      expect(answer.counts[0]).toBeLessThanOrEqual(7);
    }
    expect(store.size().meterKeys).toBeLessThanOrEqual(3);
  });

  test('an expired revocation gives way to a new one in a full set', async () => {
    const clock = createClock(nowMs);
    const store = createMemoryStore({ clock: clock.now, maxRevocations: 1 });
    await store.revoke(revocation({ handle: 'a', expiresAtMs: nowMs + 1000 }));
    await expect(store.revoke(revocation({ id: 'r-2', handle: 'b' }))).rejects.toBeInstanceOf(StoreFault);
    // What expires is looked for in slots of a quarter of a second.
    clock.advance(1250);
    await store.revoke(revocation({ id: 'r-2', handle: 'b' }));
    expect(store.size()).toMatchObject({ revocations: 1 });
  });
});
