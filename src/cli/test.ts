/** `postern test`: runs the tests of rules, once or at every change. */

import { existsSync, type FSWatcher, watch, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { ConfigurationFault, Fault, formatProblem } from '../errors.ts';
import { createCompile } from '../policy/cel.ts';
import { percentOf } from '../policy/tests/coverage.ts';
import { type RunOptions, runTests, type TestRun } from '../policy/tests/run-tests.ts';
import { junitOf } from './junit.ts';
import {
  createPaint,
  type ExitCode,
  exitCodes,
  type Io,
  printable,
  reportFault,
  writeJson,
  writeLine,
} from './output.ts';
import { readingOf, readingWithout } from './policy.ts';
import { jsonOf, writeReport } from './test-report.ts';

export type TestOptions = {
  /** Test files, rule files that have tests beside them, and folders; none for the rules of the configuration. */
  readonly paths: readonly string[];
  readonly config?: string | undefined;
  readonly filter?: string | undefined;
  readonly minCoverage?: number | undefined;
  readonly junit?: string | undefined;
  readonly watch: boolean;
  readonly json: boolean;
  /** Settles when watching is to end. */
  readonly stopped: Promise<void>;
};

const usualConfig = 'postern.yaml';
const debounceMs = 100;

/** Exit code 1 where a case fails or coverage is too small, 2 where there are no tests that can be run. */
export async function test(options: TestOptions, io: Io): Promise<ExitCode> {
  if (!options.watch) return runOnce(options, io).then(({ code }) => code);
  return watchAndRun(options, io);
}

type Ran = { readonly code: ExitCode; readonly files: readonly string[] };

async function runOnce(options: TestOptions, io: Io): Promise<Ran> {
  const startedMs = performance.now();
  try {
    const run = await runTests(await planOf(options));
    const summary = summaryOf(run, options, performance.now() - startedMs);
    if (options.junit !== undefined) writeJunit(options.junit, run, summary);
    if (options.json) writeJson(io.stdout, jsonOf(run, summary));
    else writeReport(io, run, summary);
    return { code: summary.code, files: run.files };
  } catch (fault) {
    if (!(fault instanceof ConfigurationFault)) return { code: reportFault(io, fault, options), files: [] };
    if (options.json) writeJson(io.stdout, { ok: false, problems: fault.problems });
    else for (const problem of fault.problems) writeLine(io.stderr, printable(formatProblem(problem)));
    return { code: exitCodes.usage, files: fault.problems.map(({ file }) => file) };
  }
}

function writeJunit(file: string, run: TestRun, summary: Summary): void {
  try {
    writeFileSync(file, junitOf(run, summary));
  } catch (cause) {
    throw new Fault('usage', `${file} cannot be written; check the folder and its permissions`, cause);
  }
}

export type Summary = {
  readonly code: ExitCode;
  readonly passed: number;
  readonly failed: number;
  readonly coverage: number;
  readonly minCoverage: number;
  readonly milliseconds: number;
};

function summaryOf(run: TestRun, { minCoverage = 0 }: TestOptions, milliseconds: number): Summary {
  const failed = run.results.filter(({ mismatches }) => mismatches.length > 0).length;
  const coverage = percentOf(run.coverage);
  const isGood = failed === 0 && coverage >= minCoverage;
  const canSay = run.problems.length === 0 && run.results.length > 0;
  const code = canSay ? (isGood ? exitCodes.done : exitCodes.no) : exitCodes.usage;
  return { code, passed: run.results.length - failed, failed, coverage, minCoverage, milliseconds };
}

/** With a configuration its routes and meters are those that there are, and requests take its routes by their path. */
async function planOf({ paths, config, filter }: TestOptions): Promise<RunOptions> {
  const file = config ?? (paths.length === 0 && existsSync(usualConfig) ? usualConfig : undefined);
  const common = { createCompile, filter };
  if (file !== undefined) {
    const { rules, ...reading } = await readingOf(file);
    return { ...common, ...reading, paths: paths.length === 0 ? rules : paths };
  }
  if (paths.length > 0) return { ...common, ...readingWithout(), paths };
  throw new Fault('usage', `name test files or folders, such as rules/: there is no ${usualConfig} here`);
}

/** Runs again when anything changes in a folder that holds one of the files. */
async function watchAndRun(options: TestOptions, io: Io): Promise<ExitCode> {
  const paint = createPaint(io);
  const watchers = new Map<string, FSWatcher>();
  const report = options.junit === undefined ? null : resolve(options.junit);
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | null = null;
  let isDue = false;
  const cycle = async () => {
    do {
      isDue = false;
      const { files } = await runOnce(options, io);
      const folders = [...files.map(dirname), ...options.paths];
      for (const folder of new Set(folders.length > 0 ? folders : ['.'])) if (existsSync(folder)) follow(folder);
      if (!options.json) writeLine(io.stderr, paint.faint('watching for changes; Ctrl-C ends it'));
    } while (isDue);
    running = null;
  };
  const start = () => {
    if (running === null) running = cycle();
    else isDue = true;
  };
  const follow = (folder: string) => {
    if (watchers.has(folder)) return;
    const watcher = watch(folder, (_event, name) => {
      // Each run writes it, and would be the cause of the next one.
      if (name !== null && resolve(folder, name) === report) return;
      clearTimeout(timer);
      timer = setTimeout(start, debounceMs);
    });
    // A folder that goes away is no longer worth watching, and no reason to end.
    watcher.on('error', () => {
      watcher.close();
      watchers.delete(folder);
    });
    watchers.set(folder, watcher);
  };
  start();
  await options.stopped;
  clearTimeout(timer);
  for (const watcher of watchers.values()) watcher.close();
  await running;
  return exitCodes.done;
}
