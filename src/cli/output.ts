/** What every subcommand shares for talking to people and programs: streams, colours, JSON, exit codes. */

import type { Writable } from 'node:stream';
import { styleText } from 'node:util';
import { ConfigurationFault, Fault } from '../errors.ts';

/** Where a subcommand writes. Results go to stdout; problems and progress go to stderr. */
export type Io = {
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Whether stdout is a terminal; without one nothing is coloured. */
  readonly isTerminal: boolean;
};

/** Exit codes of every subcommand. */
export const exitCodes = {
  done: 0,
  /** The answer is no: a check found faults, a call was denied, a tour step was not as told. */
  no: 1,
  /** Wrong usage or configuration. */
  usage: 2,
  /** A dependency failed: an issuer, a store, a running Postern. */
  dependency: 3,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export type Paint = {
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly warning: (text: string) => string;
  readonly strong: (text: string) => string;
  readonly faint: (text: string) => string;
};

/** Colours for stdout: only on a terminal, and styleText honours NO_COLOR, FORCE_COLOR and NODE_DISABLE_COLORS. */
export function createPaint(io: Io): Paint {
  const style = (format: 'green' | 'red' | 'yellow' | 'bold' | 'dim') => (text: string) =>
    io.isTerminal ? styleText(format, text, { stream: io.stdout }) : text;
  return {
    good: style('green'),
    bad: style('red'),
    warning: style('yellow'),
    strong: style('bold'),
    faint: style('dim'),
  };
}

export function writeLine(stream: Writable, text = ''): void {
  stream.write(`${text}\n`);
}

/** One JSON value a line, so that a stream of them can be read line by line. */
export function writeJson(stream: Writable, value: unknown): void {
  stream.write(`${JSON.stringify(value)}\n`);
}

/** Text from elsewhere, made safe for a terminal: control characters other than tab and newline become visible. */
export function printable(text: string): string {
  let safe = '';
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    // C0, DEL and C1 can move the cursor, retitle the window or fake our own output.
    const isControl = (code < 0x20 && code !== 0x09 && code !== 0x0a) || (code >= 0x7f && code <= 0x9f);
    if (isControl) safe += `\\x${code.toString(16).padStart(2, '0')}`;
    else safe += reordering.has(code) ? `\\u${code.toString(16)}` : character;
  }
  return safe;
}

/** The same on one line: to CI servers a line that begins with `::` or `##` is a command, whoever wrote it. */
export function printableLine(text: string): string {
  return printable(text).replaceAll('\n', '\\x0a');
}

/** Unicode's line ends, and what shows text in another order than it has (UAX #9). */
const reordering: ReadonlySet<number> = new Set([
  ...[0x2028, 0x2029, 0x200e, 0x200f, 0x061c],
  ...[0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069],
]);

/**
 * Says what went wrong and returns the exit code for it: 2 for usage and configuration, 3 for any other fault.
 * Anything that is not a Fault is a mistake of ours and is thrown on.
 */
export function reportFault(io: Io, fault: unknown, options: { readonly json: boolean }): ExitCode {
  if (!(fault instanceof Fault)) throw fault;
  if (options.json) {
    const problems = fault instanceof ConfigurationFault ? { problems: fault.problems } : {};
    writeJson(io.stdout, { error: fault.code, message: fault.message, ...problems });
  } else {
    writeLine(io.stderr, `postern: ${printable(fault.message)}`);
  }
  return fault.code === 'configuration' || fault.code === 'usage' ? exitCodes.usage : exitCodes.dependency;
}
