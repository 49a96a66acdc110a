/**
 * Sidecars on one Redis under load for so many minutes, while all of them are killed, paused and emptied at random.
 *
 *     npm run soak -- [--minutes N] [--seed S] [--replicas 2|3]
 *
 * Prints its counts as it goes. Exits with 1 where a call passed that was not to, nothing passed any more, or the one
 * sidecar that is never killed has leaked memory or handles. Needs redis-server in the PATH.
 */

import { parseArgs } from 'node:util';
import { createInflict, type FaultKind, faultKinds, until } from '../replicas/faults.ts';
import { limit, limitWindowMs, startFleet } from '../replicas/fleet.ts';
import { createLedger } from '../replicas/ledger.ts';
import { createLoad } from '../replicas/load.ts';
import { createRandom, seedFrom } from '../support/random.ts';
import type { ProcessUsage } from '../support/sidecar-process.ts';

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string' },
    replicas: { type: 'string', default: '2' },
  },
});
const minutes = Number(options.minutes);
const replicas = Number(options.replicas);
const seed = seedFrom(options.seed);
if (!(minutes > 0) || ![2, 3].includes(replicas)) {
  process.stderr.write('--minutes takes a number above 0, and --replicas 2 or 3\n');
  process.exit(2);
}

const concurrency = 12;
/** Calls that come through between two faults, at most. */
const callsBetween = 1000;
const printEveryMs = 10_000;
const mebibyte = 1_048_576;
/** What a process may have more of at the end than before the load, when all connections are gone. */
const handlesSlack = 16;
/** A heap settles in its first minutes: only from the second quarter on it is to stay as it is. */
const growthMax = 2;

const random = createRandom(seed);
/** How often, and what at once. What makes Redis forget comes alone: a sidecar must be there that knows. */
const weights: readonly (readonly [number, ...FaultKind[]])[] = [
  [3, 'kill-sidecar'],
  [3, 'kill-redis'],
  [3, 'pause-redis'],
  [3, 'kill-sidecar', 'kill-redis'],
  [2, 'kill-sidecar', 'pause-redis'],
  [replicas > 2 ? 3 : 0, 'kill-sidecar', 'kill-sidecar', 'kill-redis'],
  [1, 'empty-redis'],
  [1, 'flush-redis'],
];
const steps = weights.flatMap(([weight, ...kinds]) => Array.from({ length: weight }, () => kinds));
const inflicted = new Map<FaultKind, number>(faultKinds.map((kind) => [kind, 0]));
const samples: ProcessUsage[] = [];
const problems: string[] = [];

const ledger = createLedger({ limit, limitWindowMs, keptMs: 180_000 });
const fleet = await startFleet(replicas, ledger.arrive);
const load = createLoad(fleet, ledger, random);
const inflict = createInflict(fleet, ledger, load, random, 1);
const endMs = performance.now() + minutes * 60_000;
let isOver = false;
say(`seed ${seed}, ${replicas} sidecars, ${minutes} minutes`);
const timer = setInterval(() => {
  sample();
  say(countsLine());
}, printEveryMs);
try {
  const before = fleet.replicas.at(-1)?.usage() ?? null;
  await Promise.all([load.run(concurrency, () => isOver), goThrough().finally(() => (isOver = true))]);
  await load.tryEverythingAgain();
  sample();
  await load.close();
  await judgeUsage(before);
} catch (fault) {
  problems.push(fault instanceof Error ? (fault.stack ?? fault.message) : String(fault));
} finally {
  clearInterval(timer);
  await load.close();
  await fleet.close();
}
report();

async function goThrough(): Promise<void> {
  while (performance.now() < endMs && ledger.violations.length === 0) {
    const from = ledger.arrivals();
    const calls = random.between(1, callsBetween);
    await until(`${calls} more calls have come through`, () => ledger.arrivals() >= from + calls);
    const kinds = random.pick(steps);
    await inflict(kinds);
    for (const kind of kinds) inflicted.set(kind, (inflicted.get(kind) ?? 0) + 1);
    await load.revokeOne();
  }
}

function sample(): void {
  const usage = fleet.replicas.at(-1)?.usage() ?? null;
  if (usage !== null) samples.push(usage);
}

async function judgeUsage(before: ProcessUsage | null): Promise<void> {
  if (before === null) return;
  const handles = () => fleet.replicas.at(-1)?.usage()?.handles ?? 0;
  await until(
    `handles fall from ${handles()} to about the ${before.handles} of the start`,
    () => handles() <= before.handles + handlesSlack,
  );
  const quarter = Math.floor(samples.length / 4);
  const [early, late] = [mean(samples.slice(quarter, 2 * quarter)), mean(samples.slice(-quarter))];
  if (quarter > 0 && late > early * growthMax) {
    problems.push(`memory grew from ${Math.round(early / mebibyte)} to ${Math.round(late / mebibyte)} MiB`);
  }
}

function mean(some: readonly ProcessUsage[]): number {
  return some.reduce((sum, { residentBytes }) => sum + residentBytes, 0) / some.length;
}

function countsLine(): string {
  const { calls, passed, broken, replaysTried, revokedTried, revocations, revocationsFailed, refused } = load.counts;
  const refusals = Object.entries(refused).map(([reason, count]) => `${reason} ${count}`);
  return [
    `calls ${calls}, passed ${passed}, broken off ${broken}, refused: ${refusals.join(', ') || 'none'}`,
    `revocations ${revocations} (${revocationsFailed} not taken), calls by revoked ${revokedTried}, replays ${replaysTried}`,
    [...inflicted].map(([kind, count]) => `${kind} ${count}`).join(', '),
    `violations ${ledger.violations.length}; ${usageText(samples.at(-1))}`,
  ].join('\n  ');
}

/** Of the sidecar that is never killed. */
function usageText(usage: ProcessUsage | undefined): string {
  return usage === undefined ? '' : `${Math.round(usage.residentBytes / mebibyte)} MiB, ${usage.handles} handles`;
}

function report(): void {
  say(`at the end: ${countsLine()}`);
  say(`the sidecar that was never killed: from ${usageText(samples[0])} to ${usageText(samples.at(-1))} under load`);
  problems.push(...ledger.violations.map(({ kind, text }) => `${kind}: ${text}`));
  for (const problem of problems.slice(0, 10)) say(`PROBLEM with seed ${seed}: ${problem}`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
