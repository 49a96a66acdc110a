/** `postern replay`: what another rule set would have decided about the calls in audit files. */

import { stat } from 'node:fs/promises';
import { isReplayableRecord, type ReplayableRecord } from '../policy/replay.ts';
import { createReplayCounter, type ReplayReport } from '../policy/replay-report.ts';
import { readAuditLines } from './audit-lines.ts';
import { momentOf } from './moment.ts';
import { type ExitCode, exitCodes, type Io, reportFault, writeJson, writeLine } from './output.ts';
import { loadPolicy, type PolicyOptions } from './policy.ts';
import { writeReplay } from './replay-text.ts';

export type ReplayOptions = PolicyOptions & {
  readonly audit: readonly string[];
  /** Durations before now, or RFC 3339 times; until is the first moment that is too late. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  /** Only these; all where there are none. */
  readonly route?: readonly string[] | undefined;
  readonly agent?: readonly string[] | undefined;
  /** How many of each kind are shown. */
  readonly examples: number;
  readonly failOnFlip: boolean;
  readonly json: boolean;
  readonly nowMs: number;
};

/** What was read, and in how long. */
export type Reading = { readonly unread: number; readonly elapsedMs: number };

/** Exit code 1 where a call would get another answer and that is not to be. */
export async function replay(options: ReplayOptions, io: Io): Promise<ExitCode> {
  try {
    const startedMs = performance.now();
    const isWanted = filterOf(options);
    const { ruleSet } = await loadPolicy(options, options.config === undefined ? await metersIn(options.audit) : []);
    // What replaces a whole set must be one; a file of new denials alone would refuse everything.
    if (!ruleSet.rules.some(({ effect, mode }) => effect === 'allow' && mode === 'enforce')) {
      writeLine(io.stderr, 'none of these rules allows anything: name the whole rule set, not only what is new in it');
    }
    const counter = createReplayCounter(ruleSet, options.examples);
    const progress = await createProgress(options.audit, io);
    let unread = 0;
    for await (const line of linesOf(options.audit)) {
      progress.add(line?.length ?? 0);
      const value = line === null ? undefined : parse(line);
      if (value === undefined) unread++;
      else if (isReplayableRecord(value) && isWanted(value)) counter.add(value);
    }
    progress.end();
    const report = counter.report();
    const reading = { unread, elapsedMs: Math.round(performance.now() - startedMs) };
    if (options.json) writeJson(io.stdout, { ...report, ...reading });
    else writeReplay(io, report, reading, ruleSet.rules.length);
    return exitOf(report, options);
  } catch (fault) {
    return reportFault(io, fault, options);
  }
}

/** What can't be told might be a flip. */
function exitOf({ flips, untold }: ReplayReport, { failOnFlip }: ReplayOptions): ExitCode {
  return failOnFlip && flips + untold.total > 0 ? exitCodes.no : exitCodes.done;
}

async function* linesOf(files: readonly string[]): AsyncGenerator<string | null> {
  for (const file of files) yield* readAuditLines(file);
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function filterOf({ since, until, route, agent, nowMs }: ReplayOptions): (record: ReplayableRecord) => boolean {
  const from = since === undefined ? '' : momentOf('--since', since, nowMs);
  const to = until === undefined ? null : momentOf('--until', until, nowMs);
  const [routes, agents] = [new Set(route), new Set(agent)];
  return (record) =>
    record.time >= from &&
    (to === null || record.time < to) &&
    (routes.size === 0 || routes.has(record.route ?? '')) &&
    (agents.size === 0 || agents.has(record.agent?.id ?? ''));
}

/** Which meters there were. Configuration decides that, so the first records have what all of them have. */
const sampledRecords = 1000;

async function metersIn(files: readonly string[]): Promise<readonly string[]> {
  const meters = new Set<string>();
  let left = sampledRecords;
  for await (const line of linesOf(files)) {
    const value = line === null ? undefined : parse(line);
    if (!isReplayableRecord(value) || value.rates == null) continue;
    for (const meter of Object.keys(value.rates)) meters.add(meter);
    if (--left <= 0) break;
  }
  return [...meters];
}

const progressEveryMs = 250;

/** One line that changes, on a terminal only. Lines are counted as characters, which are as good as bytes here. */
async function createProgress(files: readonly string[], { stderr }: Io) {
  if (!('isTTY' in stderr) || stderr.isTTY !== true) return { add: () => {}, end: () => {} };
  const sizes = await Promise.all(files.map((file) => stat(file).then(({ size }) => size)));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let [lines, chars, shownMs] = [0, 0, Number.NEGATIVE_INFINITY];
  return {
    add: (length: number) => {
      lines++;
      chars += length + 1;
      // Asking for the time costs about as much as everything else here.
      if (lines % 256 !== 0 || performance.now() - shownMs < progressEveryMs) return;
      shownMs = performance.now();
      const share = total === 0 ? '' : `, ${Math.min(100, Math.floor((chars / total) * 100))}%`;
      stderr.write(`\r${lines.toLocaleString('en')} lines${share}\x1b[K`);
    },
    end: () => void stderr.write('\r\x1b[K'),
  };
}
