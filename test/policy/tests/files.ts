/** Rules and tests of rules in a folder of their own. */

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCompile } from '../../../src/policy/cel.ts';
import { type RunOptions, runTests, type TestRun } from '../../../src/policy/tests/run-tests.ts';
import { vetTarget } from '../../../src/receive/target.ts';

export type Files = Readonly<Record<string, string>>;

export function writeFiles(files: Files): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-rule-tests-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

/** Without a configuration, as for a library of rules. */
export function planFor(paths: readonly string[], changes: Partial<RunOptions> = {}): RunOptions {
  return {
    paths,
    declared: null,
    createCompile,
    readTarget: (rawUrl) => vetTarget(rawUrl, { bytesMax: 8192 }),
    matchRoute: null,
    complete: () => null,
    ...changes,
  };
}

export const runFiles = (files: Files, changes: Partial<RunOptions> = {}): Promise<TestRun> =>
  runTests(planFor([writeFiles(files)], changes));

/** The one case of a test of these rules: what is not as it expects. */
export async function mismatchesOf(rules: string, testCase: string, head = ''): Promise<readonly string[]> {
  const run = await runFiles({ 'x.yaml': rules, 'x.test.yaml': `${head}cases:\n  - name: the case\n${testCase}` });
  if (run.problems.length > 0) throw new Error(run.problems.map(({ message }) => message).join('\n'));
  return run.results.flatMap(({ mismatches }) => mismatches.map(({ what }) => what));
}
