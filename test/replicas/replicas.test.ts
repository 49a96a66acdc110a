import { describe, expect, onTestFinished, test } from 'vitest';
import { createRandom } from '../support/random.ts';
import { createInflict, type FaultKind, until } from './faults.ts';
import { limit, limitWindowMs, startFleet } from './fleet.ts';
import { createLedger } from './ledger.ts';
import { createLoad } from './load.ts';

const concurrency = 12;
/** Calls that come through between two steps. */
const callsBetween = 100;

type Plan = { readonly replicas: number; readonly seed: number; readonly steps: readonly (readonly FaultKind[])[] };

/** Goes through the steps under load. What came through, and what was said, when it is over. */
async function runPlan({ replicas, seed, steps }: Plan) {
  const random = createRandom(seed);
  const ledger = createLedger({ limit, limitWindowMs, keptMs: 120_000 });
  const fleet = await startFleet(replicas, ledger.arrive);
  onTestFinished(fleet.close);
  const load = createLoad(fleet, ledger, random);
  onTestFinished(load.close);
  const inflict = createInflict(fleet, ledger, load, random);
  let isOver = false;
  const more = (calls: number) => {
    const from = ledger.arrivals();
    return until(`${calls} more calls have come through`, () => ledger.arrivals() >= from + calls);
  };
  const goThrough = async () => {
    await more(callsBetween);
    for (const kinds of steps) {
      await inflict(kinds);
      await load.revokeOne();
      await more(callsBetween);
    }
  };
  const finish = () => {
    isOver = true;
  };
  await Promise.all([load.run(concurrency, () => isOver), goThrough().finally(finish)]);
  const arrived = ledger.arrivals();
  await load.tryEverythingAgain();
  return { ledger, counts: load.counts, passedAfterwards: ledger.arrivals() - arrived };
}

type Result = Awaited<ReturnType<typeof runPlan>>;

function expectNoneToHavePassed({ ledger, counts, passedAfterwards }: Result): void {
  // The first few say it all.
  expect(ledger.violations.slice(0, 3)).toEqual([]);
  expect(passedAfterwards).toBe(0);
  // It was no idle peace: each of these was tried, and refused for its own reason.
  expect(counts.revocations).toBeGreaterThan(2);
  expect(counts.replaysTried).toBeGreaterThan(100);
  expect(counts.revokedTried).toBeGreaterThan(50);
  expect(counts.refused.proof_replayed).toBeGreaterThan(100);
  expect(counts.refused.token_revoked).toBeGreaterThan(50);
  // Few, where the ten seconds after an emptied Redis take up most of a run.
  expect(counts.refused.rate_limited).toBeGreaterThan(0);
}

describe('no revoked, replayed or over-limit call passes', { timeout: 60_000 }, () => {
  test('through two sidecars while they and Redis are killed and paused', async () => {
    const everything = ['kill-sidecar', 'kill-sidecar', 'kill-redis'] as const;
    const steps = [['kill-sidecar'], ['kill-redis'], everything, ['pause-redis']] as const;
    expectNoneToHavePassed(await runPlan({ replicas: 2, seed: 1, steps }));
  });

  test('through three sidecars while two of them and Redis are killed', async () => {
    const steps = [
      ['kill-sidecar', 'kill-sidecar', 'kill-redis'],
      ['kill-sidecar', 'pause-redis'],
    ] as const;
    expectNoneToHavePassed(await runPlan({ replicas: 3, seed: 2, steps }));
  });

  test.each(['empty-redis', 'flush-redis'] as const)('through two sidecars after %s', async (kind) => {
    expectNoneToHavePassed(await runPlan({ replicas: 2, seed: 3, steps: [[kind]] }));
  });
});
