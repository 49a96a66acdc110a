/** Runs a target on mutated inputs and keeps those of which something does not hold. */

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createRandom, type Random } from '../support/random.ts';

export type FuzzTarget = {
  readonly name: string;
  /** Longer, three times over, is a find. */
  readonly boundMs: number;
  /** A new input. `known` are earlier ones that met with something new. */
  readonly write: (random: Random, known: readonly string[]) => string;
  /** Gives `accepted`, or the reason of the refusal with or without a detail after a colon. Throws where something does not hold. */
  readonly judge: (input: string) => string | Promise<string>;
  readonly close: () => void | Promise<void>;
};

export type Find = { readonly input: string; readonly problem: string };

export type Report = {
  readonly target: string;
  readonly runs: number;
  /** How many were accepted, or refused for each reason. */
  readonly outcomes: ReadonlyMap<string, number>;
  readonly slowestMs: number;
  readonly finds: readonly Find[];
};

export type FuzzOptions = {
  readonly seed: number;
  /** Whichever comes first. */
  readonly runsMax?: number;
  readonly seconds?: number;
};

const knownMax = 500;
const findsMax = 5;

/** Ends early where there are a few finds. */
export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<Report> {
  const { seed, runsMax = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY } = options;
  const random = createRandom(seed);
  const known = new Map<string, string>();
  const outcomes = new Map<string, number>();
  const finds: Find[] = [];
  const endMs = performance.now() + seconds * 1000;
  let slowestMs = 0;
  let runs = 0;
  while (runs < runsMax && performance.now() < endMs && finds.length < findsMax) {
    const input = target.write(random, [...known.values()].slice(-50));
    runs += 1;
    const { outcome, problem, tookMs } = await examine(target, input);
    if (problem !== null) finds.push({ input, problem });
    slowestMs = Math.max(slowestMs, tookMs);
    const [reason = ''] = outcome.split(':', 1);
    outcomes.set(reason, (outcomes.get(reason) ?? 0) + 1);
    if (!known.has(outcome) && known.size < knownMax) known.set(outcome, input);
  }
  return { target: target.name, runs, outcomes, slowestMs, finds };
}

/** What the target makes of one input, and what is wrong with that. */
export async function examine(
  target: FuzzTarget,
  input: string,
): Promise<{ readonly outcome: string; readonly problem: string | null; readonly tookMs: number }> {
  let tookMs = Number.POSITIVE_INFINITY;
  let outcome = 'found';
  // A machine that is busy with something else is slow now and then, not three times in a row.
  for (let attempt = 0; attempt < 3 && tookMs > target.boundMs; attempt++) {
    const startedMs = performance.now();
    try {
      outcome = await target.judge(input);
    } catch (fault) {
      return {
        outcome: 'found',
        problem: fault instanceof Error ? (fault.stack ?? fault.message) : String(fault),
        tookMs: 0,
      };
    }
    tookMs = Math.min(tookMs, performance.now() - startedMs);
  }
  const problem = tookMs > target.boundMs ? `takes ${Math.round(tookMs)} ms, more than ${target.boundMs}` : null;
  return { outcome, problem, tookMs };
}

/** Writes the input to a file that the test suite judges again from then on. Gives its path. */
export function keepFind(folder: string, target: string, { input }: Find): string {
  mkdirSync(folder, { recursive: true });
  const digest = createHash('sha256').update(input).digest('hex').slice(0, 16);
  const file = join(folder, `${target}-${digest}.txt`);
  writeFileSync(file, input);
  return file;
}

/** For what must hold of a result. */
export function mustHold(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`does not hold: ${what}`);
}
