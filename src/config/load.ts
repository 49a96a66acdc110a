/** From postern.yaml to a vetted Config, or to every problem that stands in the way. */

import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { ConfigurationFault, type ConfigurationProblem, Fault, type Problem } from '../errors.ts';
import { pathName, readYaml, vetYaml } from '../yaml-source.ts';
import { crossCheck } from './cross-check.ts';
import { resolvePaths } from './paths.ts';
import { namesIn, referenceProblems, soundSections, type WrittenNames, withFillers } from './salvage.ts';
import { type Config, configSchema } from './schema.ts';

/** A configuration and the file it came from, so that later findings can be placed in that file too. */
export type Configuration = {
  readonly config: Config;
  readonly file: string;
  readonly placeOf: (path: readonly (string | number)[]) => { readonly line?: number; readonly column?: number };
};

/** What a file says, good or not, so that whatever else is to be verified can be, and all problems told at once. */
export type Draft = {
  /** Sections that are no good are filled in with something harmless. To be run only where there are no problems. */
  readonly configuration: Configuration;
  /** Sections that are as the file says. */
  readonly sound: ReadonlySet<string>;
  readonly names: WrittenNames;
  readonly problems: readonly Problem[];
};

/**
 * Reads, vets and resolves a configuration file. Throws a Fault where the file can't be read, and a ConfigurationFault
 * where it is no YAML, in which nothing else can be found.
 */
export async function readDraft(file: string): Promise<Draft> {
  await assertReadable(file);
  const source = await readYaml(file);
  if (isProblems(source)) throw new ConfigurationFault(source);
  const vetted = vetYaml(source, configSchema);
  const sections = soundSections(source.value);
  const config = resolvePaths(
    isProblems(vetted) ? withFillers(sections, source.value) : vetted.value,
    dirname(resolve(file)),
  );
  const configuration = { config, file, placeOf: (path: readonly (string | number)[]) => source.placeOf(path) };
  const sound = new Set(Object.keys(sections));
  const problems = [
    ...(isProblems(vetted) ? vetted : []),
    ...place(configuration, crossCheck(config, sound)),
    ...(isProblems(vetted) ? place(configuration, referenceProblems(source.value)) : []),
  ];
  return { configuration, sound, names: namesIn(source.value), problems: sortProblems(problems) };
}

/** As readDraft, but throws a ConfigurationFault with all that this file alone shows to be wrong. */
export async function loadConfig(file: string): Promise<Configuration> {
  const { configuration, problems } = await readDraft(file);
  if (problems.length > 0) throw new ConfigurationFault(problems);
  return configuration;
}

/** Each problem with its line and column. */
export function place(configuration: Configuration, problems: readonly ConfigurationProblem[]): readonly Problem[] {
  const { file, placeOf } = configuration;
  return problems.map(({ path, message }) => ({ file, ...placeOf(path), message: `${pathName(path)} ${message}` }));
}

/** In the order in which a reader of the files meets them; files stay in the order in which they first occur. */
export function sortProblems(problems: readonly Problem[]): readonly Problem[] {
  const files = [...new Set(problems.map((problem) => problem.file))];
  return problems.toSorted(
    (one, other) =>
      files.indexOf(one.file) - files.indexOf(other.file) ||
      (one.line ?? 0) - (other.line ?? 0) ||
      (one.column ?? 0) - (other.column ?? 0),
  );
}

function isProblems(value: object): value is readonly Problem[] {
  return Array.isArray(value);
}

/** No configuration at all is wrong usage; what is wrong in one is for the caller to list. */
async function assertReadable(file: string): Promise<void> {
  try {
    if (!(await stat(file)).isDirectory()) return;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown fault';
    throw new Fault('usage', `${file} cannot be read (${code}); name the configuration with --config`, cause);
  }
  throw new Fault('usage', `${file} is a folder; name the configuration file with --config`);
}
