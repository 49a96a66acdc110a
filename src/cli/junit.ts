/** JUnit XML, in the form that CI servers read: a suite for each test file, a case for each case, one for coverage. */

import type { CaseResult, TestRun } from '../policy/tests/run-tests.ts';
import type { Summary } from './test.ts';
import { writeCoverage, writeWhy } from './test-report.ts';

export function junitOf(run: TestRun, summary: Summary): string {
  const { results, problems } = run;
  const files = [...new Set(results.map(({ file }) => file))];
  const suites = files.map((file) =>
    suiteOf(
      file,
      results.filter((result) => result.file === file),
    ),
  );
  const broken = problems.map(
    ({ file, line, message }) =>
      `  <testsuite name="${xmlText(file)}" tests="1" failures="0" errors="1" time="0">\n` +
      `    <testcase classname="${xmlText(file)}" name="can be run" file="${xmlText(file)}" line="${line ?? 1}" time="0">` +
      `<error message="${xmlText(message)}"/></testcase>\n  </testsuite>\n`,
  );
  const coverage = coverageOf(run, summary);
  const tests = results.length + problems.length + coverage.tests;
  const counts = `tests="${tests}" failures="${summary.failed + coverage.failures}" errors="${problems.length}"`;
  const time = secondsOf(results);
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="postern test" ${counts} time="${time}">\n${[...suites, ...broken, coverage.suite].join('')}</testsuites>\n`;
}

/** A case of its own where coverage is asked for: a report of nothing but passes would hide why the command failed. */
function coverageOf(run: TestRun, summary: Summary): { tests: number; failures: number; suite: string } {
  const { coverage, minCoverage } = summary;
  if (minCoverage === 0) return { tests: 0, failures: 0, suite: '' };
  const failures = coverage < minCoverage ? 1 : 0;
  const lines: string[] = [];
  writeCoverage((text = '') => void lines.push(text), run.coverage, summary);
  const outcome =
    failures === 0 ? '' : `<failure message="${xmlText(lines.at(-1) ?? '')}">${xmlText(lines.join('\n'))}</failure>`;
  const suite =
    `  <testsuite name="coverage" tests="1" failures="${failures}" errors="0" time="0">\n` +
    `    <testcase classname="coverage" name="at least ${minCoverage}%" time="0">${outcome}</testcase>\n  </testsuite>\n`;
  return { tests: 1, failures, suite };
}

function suiteOf(file: string, results: readonly CaseResult[]): string {
  const failed = results.filter(({ mismatches }) => mismatches.length > 0).length;
  const counts = `tests="${results.length}" failures="${failed}" errors="0" time="${secondsOf(results)}"`;
  return `  <testsuite name="${xmlText(file)}" ${counts}>\n${results.map(caseOf).join('')}  </testsuite>\n`;
}

function caseOf(result: CaseResult): string {
  const { file, name, line, milliseconds, mismatches } = result;
  const seconds = (milliseconds / 1000).toFixed(6);
  const head = `    <testcase classname="${xmlText(file)}" name="${xmlText(name)}" file="${xmlText(file)}" line="${line}" time="${seconds}"`;
  if (mismatches.length === 0) return `${head}/>\n`;
  const told = mismatches.map(
    ({ what, expected, actual }) =>
      `${what}: expected ${JSON.stringify(expected)}, actual ${JSON.stringify(actual ?? null)}`,
  );
  const lines = [...told];
  writeWhy((text = '') => void lines.push(text), result);
  return `${head}><failure message="${xmlText(told[0] ?? '')}">${xmlText(lines.join('\n'))}</failure></testcase>\n`;
}

function secondsOf(results: readonly CaseResult[]): string {
  return (results.reduce((sum, { milliseconds }) => sum + milliseconds, 0) / 1000).toFixed(6);
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\n': '&#10;',
};

/** XML 1.0 §2.2 has no form at all for most control characters, nor for halves of surrogate pairs. */
function xmlText(text: string): string {
  let safe = '';
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    const isAllowed =
      code === 0x09 ||
      code === 0x0a ||
      (code >= 0x20 && code <= 0xd7ff) ||
      (code >= 0xe000 && code !== 0xfffe && code !== 0xffff);
    safe += isAllowed ? (entities[character] ?? character) : '\uFFFD';
  }
  return safe;
}
