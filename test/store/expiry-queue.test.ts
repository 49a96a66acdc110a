import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createExpiryQueue } from '../../src/store/expiry-queue.ts';

const slotMs = 250;

test('asks about a key within a slot after its time and never before, through any jumps of the clock', () => {
  const step = fc.oneof(
    fc.record({ add: fc.integer({ min: -5000, max: 100_000 }) }),
    fc.record({ advance: fc.oneof(fc.integer({ min: -3000, max: 3000 }), fc.integer({ min: 0, max: 10_000_000 })) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = createExpiryQueue();
      /** Until when a key may still lie in the queue. A key added after its time waits for the next slot to end. */
      const due = new Map<string, { readonly expiresAtMs: number; readonly askedByMs: number }>();
      let nowMs = 1_000_000;
      let latestMs = nowMs;
      for (const [i, one] of steps.entries()) {
        if ('add' in one) {
          const expiresAtMs = nowMs + one.add;
          due.set(`k${i}`, { expiresAtMs, askedByMs: Math.max(expiresAtMs, latestMs) + 2 * slotMs });
          queue.add(`k${i}`, expiresAtMs);
          continue;
        }
        nowMs += one.advance;
        latestMs = Math.max(latestMs, nowMs);
        queue.sweep(nowMs, (key) => {
          expect(due.get(key)?.expiresAtMs).toBeLessThanOrEqual(nowMs);
          due.delete(key);
          return null;
        });
        if (nowMs < latestMs) continue;
        for (const { askedByMs } of due.values()) expect(askedByMs).toBeGreaterThan(nowMs);
      }
      queue.sweep(latestMs + 200_000, (key) => {
        due.delete(key);
        return null;
      });
      expect([...due.keys()]).toEqual([]);
    }),
  );
});

test('asks again at the later time that it is given, and only then', () => {
  const queue = createExpiryQueue();
  queue.add('k', 1000);
  const asked: number[] = [];
  for (let nowMs = 0; nowMs <= 5000; nowMs += slotMs) {
    queue.sweep(nowMs, () => {
      asked.push(nowMs);
      return nowMs < 3000 ? 3000 : null;
    });
  }
  expect(asked).toEqual([1250, 3250]);
});
