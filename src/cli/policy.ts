/** The rules that a command is about: those of a configuration, or files and folders without one. */

import { loadDocuments } from '../behaviour/actions/documents.ts';
import { createNameOperation } from '../behaviour/actions/operation.ts';
import { readDraft } from '../config/load.ts';
import { createBareReading, createReading, type Reading } from '../described-requests.ts';
import { ConfigurationFault, Fault } from '../errors.ts';
import { createCompile } from '../policy/cel.ts';
import type { Policy } from '../policy/explain-decision.ts';
import { loadRules } from '../policy/rule-files.ts';
import { createRoutes } from '../route/routes.ts';

/** Sections that rules and their tests depend on. Secrets and other files of a deployment need not be here. */
const needed = ['listen', 'proof', 'routes', 'meters', 'rules', 'limits'];

export function readingWithout(): Reading {
  return createBareReading(createNameOperation(new Map()));
}

/** Throws a ConfigurationFault where what rules depend on is not good. */
export async function readingOf(file: string): Promise<Reading & { readonly rules: readonly string[] }> {
  const draft = await readDraft(file);
  if (!needed.every((section) => draft.sound.has(section))) throw new ConfigurationFault(draft.problems);
  const { config } = draft.configuration;
  const reading = createReading({
    routes: createRoutes(config),
    meters: Object.keys(config.meters),
    urlBytesMax: config.limits.url,
    nameOperation: createNameOperation(loadDocuments(config.routes).operations),
  });
  return { ...reading, rules: config.rules };
}

export type PolicyOptions = {
  readonly config?: string | undefined;
  /** Rule files and folders, in place of those of the configuration. */
  readonly rules?: readonly string[] | undefined;
};

/** Without a configuration every route is known, and these meters. */
export async function loadPolicy(
  { config, rules }: PolicyOptions,
  meters: readonly string[],
): Promise<Policy & { readonly reading: Reading; readonly meters: readonly string[] }> {
  const found = config === undefined ? null : await readingOf(config);
  const paths = rules ?? found?.rules;
  if (paths === undefined) throw new Fault('usage', 'name the rules with --config or --rules');
  const reading = found ?? readingWithout();
  const known = reading.declared?.meters ?? meters;
  const compile = createCompile({ meters: known });
  const ruleSet = await loadRules({ paths, routes: reading.declared?.routes ?? null, compile });
  return { ruleSet, compile, reading, meters: known };
}
