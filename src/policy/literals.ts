/** Arguments that must be literals, because they are parsed once, when rules are loaded. */

import type { ASTNode } from '@marcbachmann/cel-js';
import { RE2JS } from 're2js';
import { charCost } from './automaton.ts';
import { patternCharsMax } from './bounds.ts';
import { parseCidr } from './cidr.ts';
import type { Literals } from './functions.ts';

export type LiteralFunction = 'matches' | 'cidr' | 'timestamp' | 'duration';

/** What is wrong with the argument; null where it is good, and then parsed and kept. */
export function parseLiteral(literals: Literals, name: LiteralFunction, argument: ASTNode | undefined): string | null {
  if (argument?.op !== 'value' || typeof argument.args !== 'string') return `${name}() needs a string literal`;
  const text = argument.args;
  if (name === 'matches') return parsePattern(literals, text);
  if (name === 'timestamp') return timestampProblem(text);
  if (name === 'duration') return isDuration(text) ? null : 'duration() needs a duration such as "90s" or "1h30m"';
  const range = parseCidr(text);
  if (range === null) return 'cidr() needs an address range such as "10.0.0.0/8" or "2001:db8::/32"';
  literals.ranges.set(text, range);
  return null;
}

function parsePattern({ patterns }: Literals, text: string): string | null {
  if (text.length > patternCharsMax) return `matches() takes patterns of up to ${patternCharsMax} characters`;
  try {
    const pattern = RE2JS.compile(text);
    const cost = charCost(pattern);
    if (cost === null) return 'matches() takes a simpler expression: this one has too many states to tell apart';
    patterns.set(text, { pattern, charCost: cost });
    return null;
  } catch (error) {
    return `matches() needs an RE2 expression: ${error instanceof Error ? error.message : 'it does not compile'}`;
  }
}

/** RFC 3339 §5.6, with up to three digits of a second's fraction: the engine counts milliseconds. */
function timestampProblem(text: string): string | null {
  const match = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,3})?(?:Z|[+-]\d\d:\d\d)$/.exec(text);
  const problem = 'timestamp() needs an RFC 3339 time such as "2026-11-30T12:00:00Z"';
  if (match === null || Number.isNaN(Date.parse(text))) return problem;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number);
  // The 30th of February parses as a day in March; a time that names no moment is refused instead.
  const isReal = new Date(Date.UTC(year ?? 0, (month ?? 0) - 1, day ?? 0)).getUTCDate() === day;
  return isReal && (hour ?? 24) < 24 && (minute ?? 60) < 60 && (second ?? 60) < 60 ? null : problem;
}

const unitSeconds: Readonly<Record<string, number>> = { ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };
/** Ten thousand years, which is CEL's range. */
const durationSecondsMax = 315_576_000_000;

function isDuration(text: string): boolean {
  if (text.length > 32 || !/^-?(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+$/.test(text)) return false;
  let seconds = 0;
  for (const [, amount, unit = 's'] of text.matchAll(/([\d.]+)([a-z]+)/g)) {
    seconds += Number(amount) * (unitSeconds[unit] ?? Number.NaN);
  }
  return seconds <= durationSecondsMax;
}
