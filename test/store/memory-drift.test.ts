import { expect, test } from 'vitest';
import { createMemoryDrift } from '../../src/store/memory-drift.ts';
import { driftStoreContract } from './drift.contract.ts';

driftStoreContract(async () => {
  const store = createMemoryDrift();
  return [store, store];
});

test('keeps no more bytes than it may, and forgets first what was used longest ago', async () => {
  const store = createMemoryDrift(10_000);
  for (let index = 0; index < 100; index++) await store.write(`agent:${index}`, null, new Uint8Array(1000), null);
  const names = Array.from({ length: 100 }, (_, index) => `agent:${index}`);
  const held = await store.has(names);
  expect(held.filter((isHeld) => isHeld).length).toBeLessThan(10);
  expect(held.at(-1)).toBe(true);
});
