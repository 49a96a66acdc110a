/** Whether this sidecar should get traffic: each dependency by name, and what is wrong with it. */

import type { Check } from './admin.ts';

export type ReadinessOptions = {
  readonly isShuttingDown: () => boolean;
  readonly isAuditHealthy: () => boolean;
  readonly ping: () => Promise<void>;
  readonly keySets: ReadonlyMap<string, KeySetHealth>;
  readonly secrets: { readonly names: readonly string[]; readonly problem: (name: string) => string | null };
};

type KeySetHealth = { readonly warm: () => Promise<boolean>; readonly problem: () => string | null };

/** Ready only when everything is: a sidecar that must refuse every request had better get none. */
export function createReadiness(options: ReadinessOptions): () => Promise<Readonly<Record<string, Check>>> {
  return async () => ({
    listener: checkOf(options.isShuttingDown() ? 'shutting down' : null),
    audit: checkOf(options.isAuditHealthy() ? null : 'a sink takes no records'),
    store: await options.ping().then(
      () => checkOf(null),
      (fault: Error) => checkOf(fault.message),
    ),
    issuers: checkOf(await firstKeyProblem(options.keySets)),
    credentials: checkOf(firstSecretProblem(options.secrets)),
  });
}

const checkOf = (problem: string | null): Check => (problem === null ? { ok: true } : { ok: false, detail: problem });

/** Each issuer must have given its keys once; how old they may become is the key set's own affair. */
async function firstKeyProblem(keySets: ReadinessOptions['keySets']): Promise<string | null> {
  for (const [issuer, keySet] of keySets) {
    if (!(await keySet.warm())) return `no keys of ${issuer}: ${keySet.problem() ?? 'not fetched yet'}`;
  }
  return null;
}

function firstSecretProblem({ names, problem }: ReadinessOptions['secrets']): string | null {
  for (const name of names) {
    const text = problem(name);
    if (text !== null) return `credential ${name} ${text}`;
  }
  return null;
}
