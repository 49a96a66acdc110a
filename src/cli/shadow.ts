/** `postern shadow report`: what shadow rules would have changed, from audit records. */

import {
  type Changes,
  createShadowCounter,
  isRecordedDecision,
  type RuleReport,
  type ShadowReport,
} from '../policy/shadow-report.ts';
import { readAuditLines } from './audit-lines.ts';
import { momentOf } from './moment.ts';
import {
  createPaint,
  type ExitCode,
  exitCodes,
  type Io,
  type Paint,
  printableLine,
  reportFault,
  writeJson,
  writeLine,
} from './output.ts';

export type ShadowOptions = {
  readonly audit: readonly string[];
  /** A duration before now, or an RFC 3339 time. */
  readonly since?: string | undefined;
  readonly json: boolean;
  readonly nowMs: number;
};

const namesShown = 5;

export async function shadowReport(options: ShadowOptions, io: Io): Promise<ExitCode> {
  try {
    const { report, unread } = await read(options);
    if (options.json) writeJson(io.stdout, { ...report, unread });
    else {
      writeText(io, report);
      if (unread > 0) writeLine(io.stderr, `${unread} lines are no whole JSON values and were passed over`);
    }
    return exitCodes.done;
  } catch (fault) {
    return reportFault(io, fault, options);
  }
}

/** One line at a time, so that the size of the files does not matter. */
async function read({ audit, since, nowMs }: ShadowOptions): Promise<{ report: ShadowReport; unread: number }> {
  const from = since === undefined ? '' : momentOf('--since', since, nowMs);
  const counter = createShadowCounter();
  let unread = 0;
  for (const file of audit) {
    for await (const line of readAuditLines(file)) {
      const value = line === null ? undefined : parse(line);
      if (value === undefined) unread++;
      else if (isRecordedDecision(value) && value.time >= from) counter.add(value);
    }
  }
  return { report: counter.report(), unread };
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function writeText(io: Io, report: ShadowReport): void {
  const paint = createPaint(io);
  const say = (text = '', style = plain) => writeLine(io.stdout, style(printableLine(text)));
  const { decisions, from, to, policies, together, rules } = report;
  const span = from === null ? '' : `, ${from} to ${to}`;
  say(`${counted(decisions, 'decision')}${span}${policies > 1 ? `, by ${policies} different rule sets` : ''}`);
  if (rules.length === 0) {
    say('No shadow rule matched any of them.');
    return;
  }
  say();
  say(`If everything in shadow mode were enforced: ${changesText(together)}.`);
  if (sumOf(together) > 0) writeDetails(say, { ...together, examples: [] }, together.rules);
  for (const rule of rules) writeRule(say, paint, rule);
}

type Say = (text?: string, style?: (text: string) => string) => void;

const plain = (text: string) => text;

function writeRule(say: Say, paint: Paint, { rule, effect, matches, failures, alone }: RuleReport): void {
  say();
  const failed = failures === 0 ? '' : `, ${counted(failures, 'failed evaluation')}`;
  say(`${rule} (${effect}): ${matches === 1 ? '1 match' : `${matches} matches`}${failed}`, paint.strong);
  const same = matches + failures - sumOf(alone);
  const others =
    same === 1 ? 'other one would have come out as it did' : `other ${same} would have come out as they did`;
  say(`  Alone: ${changesText(alone)}.${same > 0 ? ` The ${others}.` : ''}`);
  writeDetails(say, alone, {});
}

function changesText({ refused, allowed, otherwise }: Changes): string {
  const parts = [
    `${counted(refused, 'allowed call')} would have been refused`,
    ...(allowed === 0 ? [] : [`${counted(allowed, 'refused call')} would have passed`]),
    ...(otherwise === 0 ? [] : [`${otherwise} would have been refused in another way`]),
  ];
  return parts.join(', ');
}

function writeDetails(say: Say, { routes, agents, examples }: Changes, rules: Readonly<Record<string, number>>): void {
  for (const [name, counts] of Object.entries({ rule: rules, route: routes, agent: agents })) {
    const all = Object.entries(counts);
    if (all.length === 0) continue;
    const shown = all.slice(0, namesShown).map(([key, count]) => `${key} ${count}`);
    const more = all.length > namesShown ? `, and ${all.length - namesShown} more` : '';
    say(`  by ${name.padEnd(6)} ${shown.join(', ')}${more}`);
  }
  for (const { id, time, call, agent, from, to } of examples) {
    say(`  ${id}  ${time}  ${from} -> ${to}  ${call}${agent === null ? '' : `  by ${agent}`}`);
  }
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;
const sumOf = ({ refused, allowed, otherwise }: Changes) => refused + allowed + otherwise;
