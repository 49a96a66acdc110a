/** What a replay found, as text. */

import type { Would } from '../decision.ts';
import { type ChangeCounts, type ReplayReport, sumOf } from '../policy/replay-report.ts';
import { createPaint, type Io, printableLine, writeLine } from './output.ts';
import type { Reading } from './replay.ts';

const namesShown = 10;

export function writeReplay(io: Io, report: ReplayReport, { unread, elapsedMs }: Reading, rules: number): void {
  const paint = createPaint(io);
  const say = (text = '', style = plain) => writeLine(io.stdout, style(printableLine(text)));
  const { decisions, from, to, policies, replayed, notByRules, untold, flips, changes } = report;
  const span = from === null ? '' : `, ${from} to ${to}${policies > 1 ? `, by ${policies} different rule sets` : ''}`;
  say(`${counted(decisions, 'decision')}${span}`);
  say(`${number(replayed)} replayed against ${counted(rules, 'rule')} in ${(elapsedMs / 1000).toFixed(1)} s`);
  if (notByRules.total > 0) say(`${number(notByRules.total)} were not decided by rules: ${list(notByRules.reasons)}`);
  if (untold.total > 0) {
    say(
      `${number(untold.total)} cannot be told, for the records do not hold ${list(untold.variables)}; see audit.inputs`,
    );
  }
  say();
  say(`${number(flips)} would flip: ${changesText(changes)}`, flips > 0 ? paint.bad : paint.good);
  if (changes.otherRule > 0) say(`${number(changes.otherRule)} would get the same answer by another rule`);
  if (flips + changes.otherRule > 0) writeGroups(say, report);
  if (unread > 0) writeLine(io.stderr, `${unread} lines are no whole JSON values and were passed over`);
}

type Say = (text?: string, style?: (text: string) => string) => void;

const plain = (text: string) => text;

function writeGroups(say: Say, { rules, routes, agents, examples }: ReplayReport): void {
  const writeGroup = <Row extends ChangeCounts>(by: string, rows: readonly Row[], nameOf: (row: Row) => string) => {
    say();
    say(`by ${by}`);
    for (const row of rows.slice(0, namesShown)) {
      say(`  ${number(sumOf(row)).padStart(9)}  ${nameOf(row)}  (${kindsText(row)})`);
    }
    if (rows.length > namesShown) say(`             and ${rows.length - namesShown} more`);
  };
  writeGroup('rule', rules, ({ from, to }) => `${from ?? 'none'} -> ${to ?? 'none'}`);
  writeGroup('route', routes, ({ route }) => route);
  writeGroup('agent', agents, ({ agent }) => agent);
  if (examples.length === 0) return;
  say();
  say('for example');
  for (const { id, time, call, agent, from, to } of examples) {
    say(`  ${id}  ${time}  ${call}${agent === null ? '' : `  by ${agent}`}`);
    say(`    ${verdictText(from)} -> ${verdictText(to)}`);
  }
}

function changesText({ refused, allowed, otherwise }: ChangeCounts): string {
  const parts = [
    `${counted(refused, 'allowed call')} would be refused`,
    `${counted(allowed, 'refused call')} would pass`,
    `${number(otherwise)} would be refused for another reason`,
  ];
  return parts.join(', ');
}

function kindsText({ refused, allowed, otherwise, otherRule }: ChangeCounts): string {
  const kinds = {
    'to be refused': refused,
    'to pass': allowed,
    'for another reason': otherwise,
    'same answer': otherRule,
  };
  return Object.entries(kinds)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${number(count)} ${kind}`)
    .join(', ');
}

function verdictText({ effect, reason, rule }: Would): string {
  return `${effect}${reason === null ? '' : ` (${reason})`}${rule === null ? '' : ` by ${rule}`}`;
}

function list(counts: Readonly<Record<string, number>>): string {
  const all = Object.entries(counts).map(([name, count]) => `${name} ${number(count)}`);
  const more = all.length > namesShown ? `, and ${all.length - namesShown} more` : '';
  return `${all.slice(0, namesShown).join(', ')}${more}`;
}

const number = (count: number) => count.toLocaleString('en');
const counted = (count: number, what: string) => `${number(count)} ${what}${count === 1 ? '' : 's'}`;
