/** Faults: what went wrong inside Postern or a dependency. A refusal is never one of these; see decision.ts. */

/** A fault with a stable `code`, to be matched instead of its message. The message names the thing and the remedy. */
export class Fault extends Error {
  readonly code: string;
  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'Fault';
    this.code = code;
  }
}

/** One problem in a configuration or rule file. Line and column count from 1. */
export type Problem = {
  readonly file: string;
  readonly line?: number | undefined;
  readonly column?: number | undefined;
  readonly message: string;
  /** What kind of problem it is, where that has a name. */
  readonly code?: string | undefined;
  /** The rule that it is in. */
  readonly rule?: string | undefined;
  /** The end of the message, which says what to do about it. */
  readonly hint?: string | undefined;
};

/** A problem at a place in the configuration, before its line is known. */
export type ConfigurationProblem = { readonly path: readonly (string | number)[]; readonly message: string };

/** A configuration or rule set that Postern will not run with. Carries every problem found, not the first one only. */
export class ConfigurationFault extends Fault {
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    super('configuration', problems.map(formatProblem).join('\n'));
    this.name = 'ConfigurationFault';
    this.problems = problems;
  }
}

/** `file:line:column: message`, the form that editors and terminals make clickable. */
export function formatProblem(problem: Problem): string {
  const place = [problem.file, problem.line, problem.column].filter((part) => part !== undefined).join(':');
  return `${place}: ${problem.message}`;
}

/** The same on one line, for logs and answers: without the line of the file that the message may show. */
export function lineOfProblem(problem: Problem): string {
  return formatProblem(problem).split('\n', 1)[0] ?? '';
}

/** The store did not answer in time or at all. Before a decision this denies with `store_unavailable`. */
export class StoreFault extends Fault {
  constructor(message: string, cause?: unknown) {
    super('store_unavailable', message, cause);
    this.name = 'StoreFault';
  }
}
