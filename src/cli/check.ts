/** `postern check`: everything that a start would verify, without listening or connecting anywhere. */

import { ConfigurationFault, type Problem } from '../errors.ts';
import { lintRules } from '../policy/lints/lint.ts';
import { placeFindings } from '../policy/lints/place.ts';
import type { Rule } from '../policy/rule-files.ts';
import { loadWhole, type Vetted, vetConfiguration } from '../vet-configuration.ts';
import { annotationOf, excerptsOf, type Told, textOf } from './findings.ts';
import {
  createPaint,
  type ExitCode,
  exitCodes,
  type Io,
  type Paint,
  printable,
  reportFault,
  writeJson,
  writeLine,
} from './output.ts';

export type CheckOptions = {
  readonly config: string;
  readonly json: boolean;
  /** How people or programs are told. */
  readonly format?: 'text' | 'github' | undefined;
  /** Whether a warning is a no, too. */
  readonly strict?: boolean | undefined;
  /** Whether each rule is told with its cost. */
  readonly verbose?: boolean | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
};

/** Exit code 1 with every problem listed, 0 with a summary of what was found good, 2 where there is no such file. */
export async function check(options: CheckOptions, io: Io): Promise<ExitCode> {
  try {
    const configuration = await loadWhole(options.config, options.env);
    const { config } = configuration;
    const vetted = await vetConfiguration({ configuration, env: options.env, clock: Date.now });
    vetted.secrets.close();
    const summary = {
      routes: config.routes.length,
      rules: vetted.ruleSet.rules.length,
      issuers: config.issuers.length,
      policy: vetted.ruleSet.hash,
    };
    const warnings = await warningsOf(vetted);
    await tell({ told: warnings, summary, rules: vetted.ruleSet.rules }, options, io);
    return isRefused(warnings, options) ? exitCodes.no : exitCodes.done;
  } catch (fault) {
    // No file at all is no answer to the question whether it is good.
    if (!(fault instanceof ConfigurationFault)) return reportFault(io, fault, options);
    await tell({ told: fault.problems.map(errorOf), summary: null, rules: [] }, options, io);
    return exitCodes.no;
  }
}

/** With --strict a warning is a no, and what is told must not say otherwise. */
function isRefused(told: readonly Told[], { strict }: CheckOptions): boolean {
  return strict === true && told.length > 0;
}

async function warningsOf({ ruleSet, routes }: Vetted): Promise<readonly Told[]> {
  const findings = lintRules({ ruleSet, routes });
  const places = await placeFindings(findings);
  return findings.map(({ lint, rule, message, hint }, index) => ({
    level: 'warning',
    code: lint,
    file: places[index]?.file ?? rule.place.file,
    line: places[index]?.line,
    column: places[index]?.column,
    rule: rule.id,
    message: `rule ${rule.id} ${message}`,
    hint,
  }));
}

/** What a message says after its first line is shown anew, with the line as it is in the file. */
function errorOf({ file, line, column, message, code, rule, hint }: Problem): Told {
  const [said = ''] = message.split('\n');
  const end = hint === undefined ? '' : `; ${hint}`;
  const plain = end !== '' && said.endsWith(end) ? said.slice(0, -end.length) : said;
  return { level: 'error', code: code ?? 'configuration', file, line, column, rule, message: plain, hint };
}

type Outcome = {
  readonly told: readonly Told[];
  readonly summary: Readonly<Record<'routes' | 'rules' | 'issuers', number> & { policy: string }> | null;
  readonly rules: readonly Rule[];
};

async function tell(outcome: Outcome, options: CheckOptions, io: Io): Promise<void> {
  const { told, summary, rules } = outcome;
  if (options.json) {
    const costs = rules.map(({ id, effect, mode, when, place }) => ({ id, effect, mode, cost: when.cost, ...place }));
    const ok = summary !== null && !isRefused(told, options);
    writeJson(io.stdout, { ok, ...summary, problems: told, ruleCosts: costs });
  } else if (options.format === 'github') {
    for (const one of told) writeLine(io.stdout, annotationOf(one));
  } else {
    await tellPeople(outcome, options, io);
  }
}

async function tellPeople({ told, summary, rules }: Outcome, options: CheckOptions, io: Io): Promise<void> {
  const paint = createPaint(io);
  if (summary !== null) {
    const { routes, issuers, policy } = summary;
    const isGood = !isRefused(told, options);
    writeLine(io.stdout, `${isGood ? paint.good('ok') : paint.bad('not ok, by --strict')} ${options.config}`);
    writeLine(
      io.stdout,
      `   ${counted(routes, 'route')}, ${counted(summary.rules, 'rule')}, ${counted(issuers, 'issuer')}, policy ${policy.slice(0, 12)}`,
    );
  }
  if (options.verbose === true) for (const rule of rules) writeLine(io.stdout, ruleLine(rule, paint));
  const excerpts = await excerptsOf(told);
  for (const [index, one] of told.entries()) writeLine(io.stdout, textOf(one, excerpts[index] ?? null, paint));
  const errors = told.filter(({ level }) => level === 'error').length;
  if (errors > 0) writeLine(io.stdout, paint.bad(counted(errors, 'problem')));
  if (told.length > errors) writeLine(io.stdout, paint.warning(counted(told.length - errors, 'warning')));
}

function ruleLine({ id, effect, mode, when, place }: Rule, paint: Paint): string {
  const cost = `${when.cost}`.padStart(8);
  return `${cost}  ${paint.strong(id)}  ${effect}${mode === 'shadow' ? ' (shadow)' : ''}  ${paint.faint(printable(`${place.file}:${place.line}`))}`;
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;
