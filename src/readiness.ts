/** Whether this sidecar should get traffic: each dependency by name, and what is wrong with it. */

import type { Check } from './admin.ts';
import { StoreFault } from './errors.ts';

export type ReadinessOptions = {
  readonly isShuttingDown: () => boolean;
  readonly isAuditHealthy: () => boolean;
  readonly ping: () => Promise<void>;
  /** Since the store last confirmed that this sidecar knows every revocation. */
  readonly mirrorAgeMs: () => number;
  readonly mirrorAgeMaxMs: number;
  readonly keySets: ReadonlyMap<string, KeySetHealth>;
  /** Why opaque tokens can't be asked about; null while they can, or where none are. */
  readonly introspectionOutage?: () => string | null;
  /** What of the files is not in use; null where all of it is. */
  readonly reloadNote?: () => string | null;
  readonly secrets: { readonly names: readonly string[]; readonly problem: (name: string) => string | null };
};

type KeySetHealth = { readonly warm: () => Promise<boolean>; readonly problem: () => string | null };

/**
 * Ready only when everything is: a sidecar that must refuse every request had better get none. Whoever asks while a
 * check is under way gets that one's answer, so that anybody may ask and nobody can make it a burden.
 */
export function createReadiness(options: ReadinessOptions): () => Promise<Readonly<Record<string, Check>>> {
  let running: Promise<Readonly<Record<string, Check>>> | null = null;
  return () => {
    running ??= checkAll(options).finally(() => {
      running = null;
    });
    return running;
  };
}

async function checkAll(options: ReadinessOptions): Promise<Readonly<Record<string, Check>>> {
  const [store, issuers] = await Promise.all([storeProblem(options.ping), firstKeyProblem(options.keySets)]);
  return {
    listener: checkOf(options.isShuttingDown() ? 'shutting down' : null),
    audit: checkOf(options.isAuditHealthy() ? null : 'a sink takes no records'),
    store: checkOf(store),
    revocations: checkOf(mirrorProblem(options)),
    issuers: issuers === null ? withOutage(options) : checkOf(issuers),
    credentials: checkOf(firstSecretProblem(options.secrets)),
    configuration: withReloadNote(options),
  };
}

const checkOf = (problem: string | null): Check => (problem === null ? { ok: true } : { ok: false, detail: problem });

/**
 * Told, and no reason to be out of service: JWTs pass as before, and only calls make Postern ask that issuer again. A
 * sidecar that gets none would never find out that it is back.
 */
function withOutage({ introspectionOutage }: ReadinessOptions): Check {
  const outage = introspectionOutage?.() ?? null;
  return outage === null ? { ok: true } : { ok: true, detail: outage };
}

/** Told, and no reason to be out of service: the last good configuration and rules go on judging. */
function withReloadNote({ reloadNote }: ReadinessOptions): Check {
  const note = reloadNote?.() ?? null;
  return note === null ? { ok: true } : { ok: true, detail: note };
}

function mirrorProblem({ mirrorAgeMs, mirrorAgeMaxMs }: ReadinessOptions): string | null {
  const ageMs = mirrorAgeMs();
  return ageMs <= mirrorAgeMaxMs ? null : `what is revoked was last heard ${Math.round(ageMs / 1000)} s ago`;
}

async function storeProblem(ping: ReadinessOptions['ping']): Promise<string | null> {
  try {
    await ping();
    return null;
  } catch (fault) {
    if (fault instanceof StoreFault) return fault.message;
    throw fault;
  }
}

/** Each issuer must have given its keys once; how old they may become is the key set's own affair. */
async function firstKeyProblem(keySets: ReadinessOptions['keySets']): Promise<string | null> {
  const problems = await Promise.all(
    [...keySets].map(async ([issuer, keySet]) =>
      (await keySet.warm()) ? null : `no keys of ${issuer}: ${keySet.problem() ?? 'not fetched yet'}`,
    ),
  );
  return problems.find((problem) => problem !== null) ?? null;
}

function firstSecretProblem({ names, problem }: ReadinessOptions['secrets']): string | null {
  for (const name of names) {
    const text = problem(name);
    if (text !== null) return `credential ${name} ${text}`;
  }
  return null;
}
