/** The part of the store's contract that is about meters. */

import { describe, expect, test } from 'vitest';
import type { Store } from '../../src/store/port.ts';
import { meter, nowMs, request, windowMs } from './samples.ts';

type Opened = () => Promise<{ readonly store: Store; readonly other: Store }>;

export function meterContract(opened: Opened): void {
  describe('meters', () => {
    test('count this request, by cost, for every client', async () => {
      const { store, other } = await opened();
      expect(await store.check(request({ meters: [meter()] }))).toMatchObject({ counts: [1] });
      expect(await other.check(request({ meters: [meter({ cost: 5 })] }))).toMatchObject({ counts: [6] });
      expect(await store.check(request({ meters: [meter()] }))).toMatchObject({ counts: [7] });
    });

    test('answer in the order asked, each key and window apart', async () => {
      const { store } = await opened();
      await store.check(request({ meters: [meter({ key: 'a', cost: 3 }), meter({ key: 'b', cost: 4 })] }));
      const meters = [
        meter({ key: 'b' }),
        meter({ key: 'c' }),
        meter({ key: 'a' }),
        meter({ key: 'a', windowMs: 1000 }),
      ];
      expect(await store.check(request({ meters }))).toMatchObject({ counts: [5, 1, 4, 1] });
    });

    test('count a key twice that one request names twice', async () => {
      const { store } = await opened();
      expect(await store.check(request({ meters: [meter(), meter({ cost: 2 })] }))).toMatchObject({ counts: [1, 3] });
    });

    test('only read when the cost is 0', async () => {
      const { store } = await opened();
      const reading = request({ meters: [meter({ cost: 0 })] });
      expect(await store.check(reading)).toMatchObject({ counts: [0], fallsInMs: [0] });
      await store.check(request({ meters: [meter({ cost: 2 })] }));
      expect(await store.check(reading)).toMatchObject({ counts: [2] });
      expect(await store.check(reading)).toMatchObject({ counts: [2] });
    });

    test('tell the very millisecond at which the count falls', async () => {
      const { store } = await opened();
      const read = (atMs: number) => store.check(request({ nowMs: atMs, meters: [meter({ cost: 0 })] }));
      await store.check(request({ meters: [meter({ cost: 3 })] }));
      await store.check(request({ nowMs: nowMs + 30_000, meters: [meter({ cost: 4 })] }));
      const [fallsInMs = 0] = (await read(nowMs + 30_000)).fallsInMs;
      // At least what is left of the window, at most one bucket more.
      expect(fallsInMs).toBeGreaterThanOrEqual(30_000);
      expect(fallsInMs).toBeLessThanOrEqual(30_000 + windowMs / 32);
      expect(await read(nowMs + 30_000 + fallsInMs - 1)).toMatchObject({ counts: [7], fallsInMs: [1] });
      expect(await read(nowMs + 30_000 + fallsInMs)).toMatchObject({ counts: [4] });
    });

    test('forget a hit between one window and one window and a bucket later', async () => {
      const { store } = await opened();
      const read = (atMs: number) => store.check(request({ nowMs: atMs, meters: [meter({ cost: 0 })] }));
      await store.check(request({ meters: [meter()] }));
      expect(await read(nowMs + windowMs - 1)).toMatchObject({ counts: [1] });
      expect(await read(nowMs + windowMs + windowMs / 32)).toMatchObject({ counts: [0], fallsInMs: [0] });
    });

    test('count a hit of a client whose clock is ahead', async () => {
      const { store } = await opened();
      await store.check(request({ nowMs: nowMs + 4000, meters: [meter()] }));
      expect(await store.check(request({ meters: [meter()] }))).toMatchObject({ counts: [2] });
    });

    test('lose no hit to concurrency', async () => {
      const { store, other } = await opened();
      const hits = Array.from({ length: 200 }, (_, i) =>
        (i % 2 === 0 ? store : other).check(request({ meters: [meter()] })),
      );
      const counts = (await Promise.all(hits)).map((answer) => answer.counts[0]);
      expect(counts.sort((a = 0, b = 0) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    });

    test('stop at the largest number of 14 digits instead of losing precision', async () => {
      const { store } = await opened();
      const most = 99_999_999_999_999;
      for (const atMs of [nowMs, nowMs, nowMs + 10_000]) {
        const answer = await store.check(request({ nowMs: atMs, meters: [meter({ cost: Number.MAX_SAFE_INTEGER })] }));
        expect(answer.counts).toEqual([most]);
      }
    });
  });
}
