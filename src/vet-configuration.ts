/** Everything a start verifies beyond the shape of the configuration: names, secrets, expressions and rules. */

import { type Configuration, failOn } from './config/load.ts';
import { createSecrets, type Secrets } from './credential/secrets.ts';
import { ConfigurationFault, type ConfigurationProblem, type Problem } from './errors.ts';
import type { Route } from './exchange.ts';
import { createReadReason } from './identify/stated-reason.ts';
import { createCompile } from './policy/cel.ts';
import { type Compile, type Expression, type ExpressionProblem, isProblem } from './policy/expression.ts';
import { loadRules, type RuleSet } from './policy/rule-files.ts';
import { trustedProxyProblems } from './receive/source.ts';
import { createRoutes, routeProblems } from './route/routes.ts';

const secretsPollMs = 30_000;

export type VetOptions = {
  readonly configuration: Configuration;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: () => number;
  readonly onSecretChange?: Parameters<typeof createSecrets>[0]['onChange'];
};

/** A declared meter with its expressions compiled. */
export type CompiledMeter = {
  readonly name: string;
  readonly windowMs: number;
  readonly by: Expression;
  readonly cost: Expression;
};

/** The parts that come out of verification ready for use. */
export type Vetted = {
  readonly routes: readonly Route[];
  readonly secrets: Secrets;
  readonly meters: readonly CompiledMeter[];
  readonly readReason: ReturnType<typeof createReadReason>;
  readonly ruleSet: RuleSet;
};

/** Throws ConfigurationFault with every problem of every part. The caller closes the secrets. */
export async function vetConfiguration(options: VetOptions): Promise<Vetted> {
  const { configuration, env, clock } = options;
  const { config } = configuration;
  const compile = createCompile({ meters: Object.keys(config.meters) });
  const problems: ConfigurationProblem[] = [
    ...routeProblems(config),
    ...trustedProxyProblems(config.listen.trustedProxies),
  ];
  // No meter may read a count: counts are there only after the meters have said what to count.
  const meters = compileMeters(config.meters, createCompile({ meters: [] }), problems);
  const readReason = compileReason(config.reason, problems);
  const { secrets, problems: secretProblems } = await createSecrets({
    credentials: config.credentials,
    env,
    clock,
    pollMs: secretsPollMs,
    ...(options.onSecretChange === undefined ? {} : { onChange: options.onSecretChange }),
  });
  problems.push(...secretProblems);
  const ruleSet = await loadRulesOrProblems(config, compile);
  try {
    failOn(configuration, problems, 'problems' in ruleSet ? ruleSet.problems : []);
    if ('problems' in ruleSet || readReason === null) throw new TypeError('problems were found and not reported');
    return { routes: createRoutes(config), secrets, meters, readReason, ruleSet };
  } catch (fault) {
    secrets.close();
    throw fault;
  }
}

function compileMeters(
  meters: Configuration['config']['meters'],
  compile: Compile,
  problems: ConfigurationProblem[],
): readonly CompiledMeter[] {
  return Object.entries(meters).flatMap(([name, meter]) => {
    const by = compile(meter.by, 'string');
    const cost = compile(meter.cost, 'int');
    if (isProblem(by)) problems.push({ path: ['meters', name, 'by'], message: describe(by) });
    if (isProblem(cost)) problems.push({ path: ['meters', name, 'cost'], message: describe(cost) });
    return isProblem(by) || isProblem(cost) ? [] : [{ name, windowMs: meter.window, by, cost }];
  });
}

function describe({ message, hint }: ExpressionProblem): string {
  return hint === undefined ? message : `${message}; ${hint}`;
}

function compileReason(reason: Configuration['config']['reason'], problems: ConfigurationProblem[]) {
  try {
    return createReadReason(reason);
  } catch {
    problems.push({ path: ['reason', 'pattern'], message: 'is not a valid RE2 expression' });
    return null;
  }
}

async function loadRulesOrProblems(
  config: Configuration['config'],
  compile: Compile,
): Promise<RuleSet | { readonly problems: readonly Problem[] }> {
  try {
    return await loadRules({ paths: config.rules, routes: config.routes.map((route) => route.name), compile });
  } catch (fault) {
    if (fault instanceof ConfigurationFault) return { problems: fault.problems };
    throw fault;
  }
}
