import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readMatrix } from './matrix.ts';

/** What each row is called in the tests that break things, as their sources say it. */
function namesInTests(): readonly string[] {
  const files = readdirSync(import.meta.dirname).filter(
    (file) => file.endsWith('.test.ts') && file !== 'matrix.test.ts',
  );
  return files.flatMap((file) => {
    const source = readFileSync(join(import.meta.dirname, file), 'utf8');
    return [...source.matchAll(/^failure\(\s*(?:'([^']+)'|"([^"]+)")/gm)].map(([, a, b]) => a ?? b ?? '');
  });
}

it('has a test for every row of the README, and a row for every test', () => {
  const rows = readMatrix().map((row) => row['what fails']);
  expect(rows.length).toBeGreaterThan(15);
  expect(namesInTests().toSorted()).toEqual(rows.toSorted());
});

it('has something to say in every cell', () => {
  for (const row of readMatrix()) {
    for (const column of ['calls', 'revocation', 'readiness', 'metrics'] as const) {
      expect(row[column], `${row['what fails']}: ${column}`).toMatch(/\w/);
    }
  }
});
