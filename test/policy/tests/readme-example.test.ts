import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { percentOf } from '../../../src/policy/tests/coverage.ts';
import { runFiles } from './files.ts';

it('the test in the README passes for the rules there, and covers all of them', async () => {
  const readme = readFileSync(join(import.meta.dirname, '../../../README.md'), 'utf8');
  const marked = (mark: string) => readme.split(`<!-- ${mark} -->\n\n\`\`\`yaml\n`)[1]?.split('```')[0] ?? '';
  const run = await runFiles({ 'github.yaml': marked('rules'), 'github.test.yaml': marked('rules.test') });
  expect(run.problems).toEqual([]);
  expect(run.results.filter(({ mismatches }) => mismatches.length > 0)).toEqual([]);
  expect(run.results).toHaveLength(7);
  expect(percentOf(run.coverage)).toBe(100);
});
