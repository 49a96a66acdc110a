import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  appearancesMax,
  createAppearances,
  findAppearance,
  noteAppearance,
} from '../../../src/behaviour/drift/appearances.ts';

const lifetimeMs = 100;

/** The same, as a Map keeps order: what was met last stands last. */
function createModel() {
  const entries = new Map<number, { action: number; atMs: number }>();
  return {
    entries,
    note(hash: number, action: number, atMs: number) {
      const held = entries.get(hash);
      entries.delete(hash);
      entries.set(hash, held === undefined || atMs - held.atMs > lifetimeMs ? { action, atMs } : { ...held, atMs });
      const [oldest] = entries.keys();
      if (entries.size > appearancesMax && oldest !== undefined) entries.delete(oldest);
    },
  };
}

test('holds what a Map would, whatever is met in whatever order', () => {
  // Hashes of few different ends, so that many share one.
  const hash = fc.nat({ max: 1200 }).map((number) => (number * 64 + (number % 3)) >>> 0);
  const meeting = fc.record({ hash, action: fc.nat({ max: 5 }), afterMs: fc.nat({ max: 3 }) });
  fc.assert(
    fc.property(fc.array(meeting, { maxLength: 3000, size: 'max' }), (meetings) => {
      const table = createAppearances();
      const model = createModel();
      let atMs = 1e12;
      for (const { hash, action, afterMs } of meetings) {
        atMs += afterMs;
        noteAppearance(table, hash, action, atMs, lifetimeMs);
        model.note(hash, action, atMs);
      }
      expect(table.length).toBe(model.entries.size);
      for (const { hash } of meetings) {
        const place = findAppearance(table, hash);
        const held = model.entries.get(hash);
        expect(place === 0 ? undefined : { action: table.actions[place - 1], atMs: table.atMs[place - 1] }).toEqual(
          held,
        );
      }
    }),
    { numRuns: 30 },
  );
});

test('takes 12 KB at most, however many destinations are met', () => {
  const table = createAppearances();
  for (let hash = 1; hash < 20_000; hash++) noteAppearance(table, (hash * 2_654_435_761) >>> 0, 1, hash, lifetimeMs);
  expect(table.length).toBe(appearancesMax);
  expect(table.hashes.buffer.byteLength).toBe(24 * appearancesMax);
});
