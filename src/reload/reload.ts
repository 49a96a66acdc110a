/** From changed files to a set by which every later request is judged, or to why the last good one stays. */

import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Registry } from '../agents/registry.ts';
import { crossCheck } from '../config/cross-check.ts';
import { type Configuration, place } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { ConfigurationFault, Fault, formatProblem, type Problem } from '../errors.ts';
import { loadWhole, type VetOptions, type Vetted, vetConfiguration } from '../vet-configuration.ts';
import { configurationHash, digestOf, digestsOf, type Fingerprint, fingerprintOf, irregular } from './fingerprint.ts';
import { type KeptKey, settle } from './settle.ts';

/** A configuration with everything that its verification made of it. */
export type Policy = { readonly config: Config; readonly vetted: Vetted };

/** What made Postern look. */
export type Trigger = 'watch' | 'signal' | 'admin';

export type Report = {
  readonly trigger: Trigger;
  /** Hash of the rules that were in use before, and of those that are now. */
  readonly policyBefore: string;
  readonly policy: string;
  /** Hash of the configuration that was in use before, and of the one that is now. */
  readonly configurationBefore: string;
  readonly configuration: string;
} & (
  | { readonly outcome: 'loaded' | 'unchanged'; readonly kept: readonly KeptKey[] }
  | { readonly outcome: 'refused'; readonly problems: readonly Problem[] }
);

export type ReloaderOptions = {
  readonly file: string;
  readonly env: VetOptions['env'];
  readonly clock: () => number;
  readonly current: () => Policy;
  /** Taken before the current set was read. */
  readonly fingerprint: Fingerprint;
  /** From its return on, every request is judged by this set. */
  readonly adopt: (policy: Policy) => void;
  /** Followed by itself, so that a set is not refused for it. */
  readonly registry: () => Registry;
  readonly onSecretChange: VetOptions['onSecretChange'];
  /** Told of what was loaded or refused, and of everything that was asked for. */
  readonly onReport: (report: Report) => void;
};

export type Reloader = {
  /** Looks, and takes what has changed. While one look is under way, all who ask wait for one more. */
  readonly reload: (trigger: Trigger) => Promise<Report>;
  /** Keys that wait for a restart. */
  readonly kept: () => readonly KeptKey[];
  /** What stands against the set that the files hold; null while that set is the one in use. */
  readonly problems: () => readonly Problem[] | null;
  /** Where the next change would show, of the set or of these files. */
  readonly folders: (others: readonly string[]) => readonly string[];
};

/** A set that was refused may have become good by a file that is no part of it, such as that of a new secret. */
const refusedAgainMs = 30_000;
const attemptsMax = 5;

type Refused = {
  readonly problems: readonly Problem[];
  readonly files: readonly string[];
  readonly seen: string;
  readonly atMs: number;
};
type Loaded = { readonly policy: Policy; readonly kept: readonly KeptKey[]; readonly fingerprint: Fingerprint };
type Attempt = Loaded | { readonly problems: readonly Problem[] };

export function createReloader(options: ReloaderOptions): Reloader {
  const { file, current, adopt, onReport } = options;
  let { fingerprint } = options;
  let kept: readonly KeptKey[] = [];
  let refused: Refused | null = null;
  let running: Promise<Report> | null = null;
  let waiting: Promise<Report> | null = null;

  async function look(trigger: Trigger): Promise<Report> {
    const policyBefore = current().vetted.ruleSet.hash;
    const configurationBefore = configurationHash(current().config);
    const before = { policyBefore, policy: policyBefore, configurationBefore, configuration: configurationBefore };
    const unchanged = { trigger, outcome: 'unchanged', ...before } as const;
    const found = await fingerprintOf(file, current().config);
    if (found.digest === fingerprint.digest) {
      refused = null;
      return told({ ...unchanged, kept }, trigger !== 'watch');
    }
    const earlier = refused;
    const seen = await seenOf(found, earlier?.files ?? []);
    if (trigger === 'watch' && earlier?.seen === seen && performance.now() - earlier.atMs < refusedAgainMs) {
      return { ...unchanged, outcome: 'refused', problems: earlier.problems };
    }
    const loaded = await loadSteadily(options);
    if ('problems' in loaded) {
      const { problems } = loaded;
      const files = [...new Set(problems.map((problem) => problem.file))];
      refused = { problems, files, seen: await seenOf(found, files), atMs: performance.now() };
      const isNews = earlier === null || textOf(earlier.problems) !== textOf(problems);
      return told({ ...unchanged, outcome: 'refused', problems }, trigger !== 'watch' || isNews);
    }
    adopt(loaded.policy);
    ({ kept, fingerprint } = loaded);
    refused = null;
    const { config, vetted } = loaded.policy;
    const now = { policy: vetted.ruleSet.hash, configuration: configurationHash(config) };
    return told({ ...unchanged, ...now, outcome: 'loaded', kept }, true);
  }

  function told(report: Report, isNews: boolean): Report {
    if (isNews) onReport(report);
    return report;
  }

  function reload(trigger: Trigger): Promise<Report> {
    if (running === null) {
      running = look(trigger).finally(() => {
        running = null;
      });
      return running;
    }
    // What runs may have read the files before they changed.
    waiting ??= running
      .catch(() => {})
      .then(() => {
        waiting = null;
        return reload(trigger);
      });
    return waiting;
  }

  return {
    reload,
    kept: () => kept,
    problems: () => refused?.problems ?? null,
    folders: (others) => {
      const files = [...others, ...(refused?.files ?? [])];
      return [...new Set([...fingerprint.folders, ...files.map((path) => dirname(path))])];
    },
  };
}

const textOf = (problems: readonly Problem[]) => problems.map(formatProblem).join('\n');

/** What the files said, those included that no set in use has. */
async function seenOf({ digest }: Fingerprint, files: readonly string[]): Promise<string> {
  return `${digest} ${await digestsOf(files)}`;
}

/** Reads until nothing has changed meanwhile: files of two moments are no set that anybody wrote. */
async function loadSteadily(options: ReloaderOptions): Promise<Attempt> {
  const { file, env } = options;
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const fileDigest = await digestOf(file);
    if (fileDigest === irregular) return { problems: [{ file, message: `is ${irregular}` }] };
    let wanted: Configuration | null = null;
    let fingerprint: Fingerprint | null = null;
    let result: Attempt;
    try {
      wanted = await loadWhole(file, env);
      fingerprint = await fingerprintOf(file, wanted.config);
      result = { ...(await vet(wanted, options)), fingerprint };
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      result = { problems: fault instanceof ConfigurationFault ? fault.problems : [{ file, message: fault.message }] };
    }
    const after = wanted === null ? null : await fingerprintOf(file, wanted.config);
    const isSteady = (after?.fileDigest ?? (await digestOf(file))) === fileDigest;
    if (isSteady && after?.digest === fingerprint?.digest) return result;
    if ('policy' in result) discard(result.policy, options.current());
  }
  return { problems: [{ file, message: 'changes while it is read; write files aside, and rename them' }] };
}

/** Verifies a set with what it takes over from the one in use. Throws a ConfigurationFault. */
async function vet(wanted: Configuration, options: ReloaderOptions): Promise<Omit<Loaded, 'fingerprint'>> {
  const { env, clock, current, registry, onSecretChange } = options;
  const running = current();
  const { config, kept } = settle(running.config, wanted.config);
  const configuration = { ...wanted, config };
  // Each was judged with what it stood beside in its file, and now stands beside what is kept.
  const misfits = kept.length === 0 ? [] : crossCheck(config, new Set(Object.keys(config)));
  if (misfits.length > 0) throw new ConfigurationFault(place(configuration, misfits));
  // Secrets that are had stay: they need not be there again for a rule to change, and they count their versions on.
  const { secrets } = running.vetted;
  const isSameCredentials = isDeepStrictEqual(running.config.credentials, config.credentials);
  const vetted = await vetConfiguration({
    configuration,
    env,
    clock,
    onSecretChange,
    carried: { registry: registry(), secrets: isSameCredentials ? { ...secrets, close: () => {} } : null },
  });
  return { policy: { config, vetted: isSameCredentials ? { ...vetted, secrets } : vetted }, kept };
}

/** Ends what a set has of its own. */
export function discard(policy: Policy, current: Policy): void {
  if (policy.vetted.secrets !== current.vetted.secrets) policy.vetted.secrets.close();
}
