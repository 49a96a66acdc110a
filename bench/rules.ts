/**
 * What the dearest rules that load take on the requests that are worst for them, and what they were estimated to take.
 * A unit stands for 50 ns, and no rule for more than 1 ms. The first evaluation is not compiled yet; the best of many
 * is the one in which the machine did nothing else.
 *
 *     npm run bench:rules -- [--rounds N]
 */

import { parseArgs } from 'node:util';
import { expressionCostMax } from '../src/policy/bounds.ts';
import { dearest } from '../test/policy/dearest.ts';
import { compiled, contextWith } from '../test/policy/exchanges.ts';

const { values: options } = parseArgs({ options: { rounds: { type: 'string', default: '200' } } });
const rounds = Number(options.rounds);
const unitNs = 50;

print(`${'kind'.padEnd(30)} ${'estimated'.padStart(10)} ${'first'.padStart(10)} ${'best'.padStart(10)}`);
let worstUs = 0;
for (const { kind, source, asked } of dearest) {
  const expression = compiled(source);
  const context = contextWith(asked);
  if (context.unfit !== null) throw new TypeError(`${kind}: ${context.unfit}`);
  const taken = Array.from({ length: rounds }, () => takenUs(() => expression.evaluate(context)));
  const best = Math.min(...taken);
  worstUs = Math.max(worstUs, best);
  const estimatedUs = (expression.cost * unitNs) / 1000;
  print(`${kind.padEnd(30)} ${inUs(estimatedUs)} ${inUs(taken[0] ?? 0)} ${inUs(best)}`);
}
print(`\nworst ${Math.round(worstUs)} us; at most ${(expressionCostMax * unitNs) / 1000} us are estimated to load`);

function takenUs(work: () => unknown): number {
  const startedNs = process.hrtime.bigint();
  try {
    work();
  } catch {
    // How long it takes is what is asked, also where it ends in an error.
  }
  return Number(process.hrtime.bigint() - startedNs) / 1000;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function inUs(value: number): string {
  return `${Math.round(value)} us`.padStart(10);
}
