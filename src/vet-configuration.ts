/** Everything a start verifies beyond the shape of the configuration: names, secrets, expressions and rules. */

import { emptyRegistry, loadRegistry, type Registry } from './agents/registry.ts';
import { type Documents, loadDocuments } from './behaviour/actions/documents.ts';
import { type Configuration, place, readDraft, sortProblems } from './config/load.ts';
import type { WrittenNames } from './config/salvage.ts';
import { guardProblems } from './credential/inject.ts';
import { createSecrets, type Secrets } from './credential/secrets.ts';
import { ConfigurationFault, type ConfigurationProblem, formatProblem, type Problem } from './errors.ts';
import type { Route } from './exchange.ts';
import { dialectProblems } from './identify/dialects.ts';
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
  readonly onSecretChange?: Parameters<typeof createSecrets>[0]['onChange'] | undefined;
  /** Of a set in use, in place of what the files hold; secrets are null where the credentials are others. */
  readonly carried?: { readonly registry: Registry; readonly secrets: Secrets | null };
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
  /** What OpenAPI documents say, by the name of the route. */
  readonly operations: Documents['operations'];
  readonly registry: Registry;
};

/** Throws ConfigurationFault with every problem of every part. The caller closes the secrets. */
export async function vetConfiguration(options: VetOptions): Promise<Vetted> {
  const { configuration } = options;
  const { config } = configuration;
  const names = { routes: config.routes.map((route) => route.name), meters: Object.keys(config.meters) };
  const { problems, parts } = await inspect(options, names, routeProblems(config));
  if (problems.length === 0 && parts !== null) return { routes: createRoutes(config), ...parts };
  parts?.secrets.close();
  throw new ConfigurationFault(problems);
}

/**
 * Reads a configuration for use. Throws a ConfigurationFault with every problem that there is, in the file itself and
 * in all that it refers to, as far as each can be judged while others stand.
 */
export async function loadWhole(file: string, env: VetOptions['env']): Promise<Configuration> {
  const draft = await readDraft(file);
  if (draft.problems.length === 0) return draft.configuration;
  const { configuration, sound, names } = draft;
  const isJudged = sound.has('routes') && sound.has('credentials');
  const routed = isJudged ? routeProblems(configuration.config) : [];
  const { problems, parts } = await inspect({ configuration, env, clock: Date.now }, names, routed);
  parts?.secrets.close();
  // What was found without understanding the sections is found again where they are understood.
  const found = new Map([...draft.problems, ...problems].map((problem) => [formatProblem(problem), problem]));
  throw new ConfigurationFault(sortProblems([...found.values()]));
}

type Found = { readonly problems: readonly Problem[]; readonly parts: Omit<Vetted, 'routes'> | null };

async function inspect(
  { configuration, env, clock, onSecretChange, carried }: VetOptions,
  names: WrittenNames,
  routed: readonly ConfigurationProblem[],
): Promise<Found> {
  const { config } = configuration;
  const documents = loadDocuments(config.routes);
  const problems: ConfigurationProblem[] = [
    ...routed,
    ...documents.misfits,
    ...trustedProxyProblems(config.listen.trustedProxies),
    ...dialectProblems(config.issuers),
  ];
  // No meter may read a count: counts are there only after the meters have said what to count.
  const meters = compileMeters(config.meters, createCompile({ meters: [] }), problems);
  const readReason = compileReason(config.reason, problems);
  const { secrets, problems: secretProblems } =
    carried?.secrets != null
      ? { secrets: carried.secrets, problems: [] }
      : await createSecrets({
          credentials: config.credentials,
          env,
          clock,
          pollMs: secretsPollMs,
          ...(onSecretChange === undefined ? {} : { onChange: onSecretChange }),
        });
  problems.push(...secretProblems, ...guardProblems(config, secrets));
  const ruleSet = await loadRulesOrProblems(config.rules, names);
  const { file } = config.agents;
  const registry =
    carried?.registry ?? (file === undefined ? emptyRegistry : await orProblems(() => loadRegistry(file)));
  if (!config.drift.enabled && ruleSet !== null && !('problems' in ruleSet) && readsDrift(ruleSet.reads)) {
    problems.push({ path: ['drift'], message: 'is not enabled, but rules read drift: they would find nothing amiss' });
  }
  const all = sortProblems([
    ...place(configuration, problems),
    ...(ruleSet !== null && 'problems' in ruleSet ? ruleSet.problems : []),
    ...documents.problems,
    ...('problems' in registry ? registry.problems : []),
  ]);
  if (ruleSet !== null && !('problems' in ruleSet) && !('problems' in registry) && readReason !== null) {
    const { operations } = documents;
    return { problems: all, parts: { secrets, meters, readReason, ruleSet, operations, registry } };
  }
  secrets.close();
  return { problems: all, parts: null };
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
    for (const [key, expression] of [
      ['by', by],
      ['cost', cost],
    ] as const) {
      // What is counted is known before behaviour is judged.
      if (isProblem(expression) || !readsDrift(expression.reads)) continue;
      problems.push({ path: ['meters', name, key], message: 'must not read drift, which is judged after counting' });
    }
    return isProblem(by) || isProblem(cost) ? [] : [{ name, windowMs: meter.window, by, cost }];
  });
}

const readsDrift = (reads: ReadonlySet<string>) => [...reads].some((path) => path.startsWith('drift.'));

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

/** Null where the configuration names no rules that could be read. */
async function loadRulesOrProblems(
  paths: readonly string[],
  { routes, meters }: WrittenNames,
): Promise<RuleSet | { readonly problems: readonly Problem[] } | null> {
  if (paths.length === 0) return null;
  return orProblems(() => loadRules({ paths, routes, compile: createCompile({ meters }) }));
}

async function orProblems<Loaded>(
  load: () => Promise<Loaded>,
): Promise<Loaded | { readonly problems: readonly Problem[] }> {
  try {
    return await load();
  } catch (fault) {
    if (fault instanceof ConfigurationFault) return { problems: fault.problems };
    throw fault;
  }
}
