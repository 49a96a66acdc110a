/** `postern check`: everything that a start would verify, without listening or connecting anywhere. */

import { ConfigurationFault, formatProblem } from '../errors.ts';
import { loadWhole, vetConfiguration } from '../vet-configuration.ts';
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

export type CheckOptions = {
  readonly config: string;
  readonly json: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
};

/** Exit code 1 with every problem listed, 0 with a summary of what was found good, 2 where there is no such file. */
export async function check(options: CheckOptions, io: Io): Promise<ExitCode> {
  const paint = createPaint(io);
  try {
    const configuration = await loadWhole(options.config, options.env);
    const { config } = configuration;
    const { secrets, ruleSet } = await vetConfiguration({ configuration, env: options.env, clock: Date.now });
    secrets.close();
    const summary = {
      routes: config.routes.length,
      rules: ruleSet.rules.length,
      issuers: config.issuers.length,
      policy: ruleSet.hash,
    };
    if (options.json) writeJson(io.stdout, { ok: true, ...summary, problems: [] });
    else {
      writeLine(io.stdout, `${paint.good('ok')} ${options.config}`);
      writeLine(
        io.stdout,
        `   ${summary.routes} routes, ${summary.rules} rules, ${summary.issuers} issuers, policy ${summary.policy.slice(0, 12)}`,
      );
    }
    return exitCodes.done;
  } catch (fault) {
    // No file at all is no answer to the question whether it is good.
    if (!(fault instanceof ConfigurationFault)) return reportFault(io, fault, options);
    if (options.json) writeJson(io.stdout, { ok: false, problems: fault.problems });
    else {
      for (const problem of fault.problems) writeLine(io.stdout, printable(formatProblem(problem)));
      writeLine(
        io.stdout,
        paint.bad(`${fault.problems.length} ${fault.problems.length === 1 ? 'problem' : 'problems'}`),
      );
    }
    return exitCodes.no;
  }
}
