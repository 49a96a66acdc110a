/** Random histories, told to both adapters and to a model that remembers every hit exactly. */

import fc from 'fast-check';
import { expect, inject, test } from 'vitest';
import { createMemoryStore } from '../../src/store/memory.ts';
import type { CheckAnswer, CheckRequest, RevocationEntry, Store } from '../../src/store/port.ts';
import { createRedisStore } from '../../src/store/redis.ts';
import { uniquePrefix } from '../support/redis-server.ts';
import { firstPage, revocation, nowMs as startMs } from './samples.ts';

const handles = ['a', 'b', 'c'];
const proofs = ['p', 'q', 'r'];
const meterKeys = ['m', 'n'];
// Long enough that the real clock of Redis expires nothing while the clock of the history runs.
const windows = [60_000, 60_001, 3_600_000];
const lifetimeMs = 86_400_000;

const check = fc.record({
  kind: fc.constant('check' as const),
  // A little back as well: requests of several sidecars don't come in the order of their clocks.
  advanceMs: fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 0, max: 90_000 })),
  lagMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 1000 })),
  handles: fc.subarray(handles),
  issuedAgoMs: fc.integer({ min: 0, max: 120_000 }),
  proof: fc.option(fc.constantFrom(...proofs), { freq: 2 }),
  meters: fc.array(
    fc.record({
      key: fc.constantFrom(...meterKeys),
      windowMs: fc.constantFrom(...windows),
      cost: fc.integer({ min: 0, max: 5 }),
    }),
    { maxLength: 3 },
  ),
});
const revoke = fc.record({
  kind: fc.constant('revoke' as const),
  handle: fc.constantFrom(...handles),
  forMs: fc.option(fc.integer({ min: -1000, max: 60_000 })),
  issuedBeforeMs: fc.option(fc.integer({ min: -60_000, max: 60_000 }), { freq: 2 }),
  author: fc.constantFrom('kim', 'lee'),
});
const lift = fc.record({ kind: fc.constant('lift' as const), nth: fc.nat(20) });
const list = fc.record({ kind: fc.constant('list' as const) });
const history = fc.array(
  fc.oneof({ weight: 8, arbitrary: check }, { weight: 2, arbitrary: revoke }, { weight: 1, arbitrary: lift }, list),
  { minLength: 1, maxLength: 40 },
);

type Hit = { readonly atMs: number; readonly key: string; readonly windowMs: number; readonly cost: number };

/** Knows everything and forgets nothing. Its counts are exact, so a store's may be one bucket's worth higher. */
function createModel() {
  const revoked: RevocationEntry[] = [];
  const used = new Set<string>();
  const hits: Hit[] = [];
  const inForce = (entry: RevocationEntry, nowMs: number) => entry.expiresAtMs === null || entry.expiresAtMs > nowMs;
  const end = Number.POSITIVE_INFINITY;

  /** An entry by the same author that revokes no more than the new one, and lasts no longer, gives way to it. */
  function revoke(entry: RevocationEntry): void {
    const isCovered = (other: RevocationEntry) =>
      other.handle === entry.handle &&
      other.author === entry.author &&
      (other.issuedBeforeMs === null) === (entry.issuedBeforeMs === null) &&
      (other.issuedBeforeMs ?? end) <= (entry.issuedBeforeMs ?? end) &&
      (other.expiresAtMs ?? end) <= (entry.expiresAtMs ?? end);
    const kept = revoked.filter((other) => !isCovered(other));
    revoked.splice(0, revoked.length, ...kept, entry);
  }

  function lift(id: string): RevocationEntry | null {
    const at = revoked.findIndex((entry) => entry.id === id);
    return at < 0 ? null : (revoked.splice(at, 1)[0] ?? null);
  }

  function assertAnswer(asked: CheckRequest, answer: CheckAnswer): void {
    const { nowMs, issuedAtMs } = asked;
    const covers = (entry: RevocationEntry, handle: string) =>
      entry.handle === handle && inForce(entry, nowMs) && issuedAtMs < (entry.issuedBeforeMs ?? end);
    expect(answer.revokedIndex).toBe(
      asked.handles.findIndex((handle) => revoked.some((entry) => covers(entry, handle))),
    );
    const isReplay = answer.revokedIndex < 0 && asked.singleUse !== null && used.has(asked.singleUse.key);
    expect(answer.isReplay).toBe(isReplay);
    const isCounted = answer.revokedIndex < 0 && !isReplay;
    expect(answer.counts).toHaveLength(isCounted ? asked.meters.length : 0);
    expect(answer.fallsInMs).toHaveLength(answer.counts.length);
    if (!isCounted) return;
    if (asked.singleUse !== null) used.add(asked.singleUse.key);
    for (const [i, { key, windowMs, cost }] of asked.meters.entries()) {
      hits.push({ atMs: nowMs, key, windowMs, cost });
      const since = (ms: number) =>
        hits
          .filter((hit) => hit.key === key && hit.windowMs === windowMs && hit.atMs > nowMs - ms)
          .reduce((sum, hit) => sum + hit.cost, 0);
      const count = answer.counts[i] ?? -1;
      expect(count).toBeGreaterThanOrEqual(since(windowMs));
      expect(count).toBeLessThanOrEqual(since(windowMs + Math.ceil(windowMs / 32)));
      const fallsInMs = answer.fallsInMs[i] ?? -1;
      if (count === 0) expect(fallsInMs).toBe(0);
      else expect(fallsInMs).toBeGreaterThan(0);
    }
  }

  return { revoked, revoke, lift, inForce, assertAnswer };
}

type History = typeof history extends fc.Arbitrary<infer Steps> ? Steps : never;

async function tell(steps: History, redis: Store, clock: { timeMs: number }): Promise<void> {
  clock.timeMs = startMs;
  const memory = createMemoryStore({ clock: () => clock.timeMs });
  const model = createModel();
  const ids: string[] = [];
  for (const step of steps) {
    if (step.kind === 'check') {
      clock.timeMs += step.advanceMs;
      const asked: CheckRequest = {
        nowMs: clock.timeMs - step.lagMs,
        handles: step.handles,
        issuedAtMs: clock.timeMs - step.issuedAgoMs,
        singleUse: step.proof === null ? null : { key: step.proof, lifetimeMs, madeAtMs: clock.timeMs },
        meters: step.meters,
      };
      const answer = await memory.check(asked);
      expect(await redis.check(asked)).toEqual(answer);
      model.assertAnswer(asked, answer);
    } else if (step.kind === 'revoke') {
      const expiresAtMs = step.forMs === null ? null : clock.timeMs + step.forMs;
      const { handle, author } = step;
      const issuedBeforeMs = step.issuedBeforeMs === null ? null : clock.timeMs + step.issuedBeforeMs;
      const id = `r-${ids.length}`;
      const entry = revocation({ id, handle, author, createdAtMs: clock.timeMs, expiresAtMs, issuedBeforeMs });
      ids.push(entry.id);
      await Promise.all([memory.revoke(entry), redis.revoke(entry)]);
      model.revoke(entry);
    } else if (step.kind === 'lift') {
      const id = ids[step.nth] ?? 'r-none';
      const known = model.lift(id);
      const lifted = known !== null && model.inForce(known, clock.timeMs) ? known : null;
      expect(await memory.lift(id)).toEqual(lifted);
      expect(await redis.lift(id)).toEqual(lifted);
    } else {
      const page = { ...firstPage, nowMs: clock.timeMs };
      const listed = await memory.revocations(page);
      expect(await redis.revocations(page)).toEqual(listed);
      const inForce = model.revoked.filter((entry) => model.inForce(entry, clock.timeMs));
      expect(new Set(listed.entries)).toEqual(new Set(inForce));
    }
  }
}

test('memory and Redis answer every history alike, and as an exact model allows', async () => {
  const clock = { timeMs: startMs };
  await fc.assert(
    fc.asyncProperty(history, async (steps) => {
      const url = inject('redisUrl');
      const redis = createRedisStore({ url, prefix: uniquePrefix(), timeoutMs: 5000, clock: () => clock.timeMs });
      try {
        await redis.ping();
        await tell(steps, redis, clock);
      } finally {
        await redis.close();
      }
    }),
    { numRuns: 150 },
  );
});
