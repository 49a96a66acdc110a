/**
 * Mutates inputs of the parsers, verifiers and loaders for so many seconds each, and says what came of it.
 *
 *     npm run fuzz -- [--seconds N] [--seed S] [--target proof|token|target|rules|config]
 *
 * Exits with 1 where something did not hold: the input is then in test/fuzz/finds, which the test suite goes through.
 */

import { parseArgs } from 'node:util';
import { seedFrom } from '../support/random.ts';
import { fuzz, keepFind, type Report } from './fuzzer.ts';
import { findsFolder, isTargetName, targetNames, targets } from './targets.ts';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    seed: { type: 'string' },
    target: { type: 'string', multiple: true, default: [...targetNames] },
  },
});
const seconds = Number(options.seconds);
const seed = seedFrom(options.seed);
const names = options.target.filter(isTargetName);
if (names.length !== options.target.length || !(seconds > 0)) {
  process.stderr.write(`--target takes ${targetNames.join(', ')}, and --seconds a number above 0\n`);
  process.exit(2);
}

process.stdout.write(`seed ${seed}, ${seconds} s for each target\n`);
for (const name of names) {
  const target = await targets[name]();
  const report = await fuzz(target, { seed, seconds });
  await target.close();
  print(report);
  for (const find of report.finds) {
    process.stdout.write(
      `  FOUND ${keepFind(findsFolder, name, find)}\n    ${find.problem.split('\n').slice(0, 6).join('\n    ')}\n`,
    );
    process.exitCode = 1;
  }
}

function print({ target, runs, outcomes, slowestMs, finds }: Report): void {
  const counts = [...outcomes]
    .toSorted(([, one], [, other]) => other - one)
    .map(([outcome, count]) => `${outcome} ${count}`);
  process.stdout.write(
    `${target}: ${runs} runs, ${finds.length} finds, slowest ${slowestMs.toFixed(1)} ms\n  ${counts.join(', ')}\n`,
  );
}
