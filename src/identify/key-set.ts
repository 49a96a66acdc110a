/** The keys of one issuer, kept fresh. Each issuer has a set of its own, so no key ever speaks for another issuer. */

import type { CryptoKey } from 'jose';
import type { Dispatcher } from 'undici';
import { type Deny, deny } from '../decision.ts';
import { Fault } from '../errors.ts';
import { allowedAlgorithms } from './algorithms.ts';
import { type IssuerKey, readIssuerKeys } from './issuer-keys.ts';
import { createLoadKeys, type KeySource } from './key-source.ts';

export type KeyCandidate = { readonly thumbprint: string; readonly key: CryptoKey };

export type KeySet = {
  readonly issuer: string;
  /** Keys that may have signed a token with this `kid` and `alg`. Never empty. Waits for a fetch only where it must. */
  find(kid: string | null, algorithm: string): readonly KeyCandidate[] | Deny | Promise<readonly KeyCandidate[] | Deny>;
  /** Whether the issuer still publishes this key, as far as is known and not too long ago. */
  trusts(thumbprint: string): boolean;
  /**
   * Fetches the keys if there are none and the last failure is long enough ago, and tells whether there are any. For the
   * start, which need not wait for it, and for probes, which anybody may send.
   */
  warm(): Promise<boolean>;
  /** How long ago the keys were fetched; null before the first time. */
  ageMs(): number | null;
  /** What went wrong the last time, naming the place; null when it went well. For logs and readiness. */
  problem(): string | null;
};

/** What came of one attempt to fetch; `error` only where the fault is unforeseen and so likely our own. */
export type KeySetEvent = {
  readonly issuer: string;
  readonly outcome: 'fetched' | 'failed';
  readonly problem: string | null;
  readonly error?: unknown;
};

export type KeySetOptions = {
  readonly issuer: string;
  readonly source: KeySource;
  readonly algorithms: readonly string[];
  /** Older keys are fetched again, in the background. */
  readonly keysMaxAgeMs: number;
  /** Older keys are not used at all. */
  readonly keysMaxStaleMs: number;
  readonly clock: () => number;
  /** Connections to issuers; owned and closed by the caller. */
  readonly dispatcher: Dispatcher;
  /** For one whole attempt, however many documents it takes. */
  readonly fetchTimeoutMs?: number;
  /** After every attempt to fetch. Must not throw. */
  readonly onChange?: ((event: KeySetEvent) => void) | undefined;
};

// A storm of made-up key ids makes one fetch in this time. A real new key waits as long, at worst.
const unknownKidCoolDownMs = 30_000;
const failureBackoffMs = { first: 1000, most: 30_000 };
// Without a kid every fitting key is tried, and each try costs a verification.
const candidatesMax = 8;

type Keys = {
  readonly keys: readonly IssuerKey[];
  readonly thumbprints: ReadonlySet<string>;
  readonly fetchedAtMs: number;
};

/** Prepares one issuer's key set. Fetches nothing yet. Throws a Fault where discovery has no URL to start from. */
export function createKeySet(options: KeySetOptions): KeySet {
  const { issuer, source, dispatcher, clock, keysMaxStaleMs, fetchTimeoutMs = 5000, onChange } = options;
  const refreshAfterMs = Math.min(options.keysMaxAgeMs, keysMaxStaleMs);
  const algorithms = allowedAlgorithms(options.algorithms);
  const load = createLoadKeys({ issuer, source, dispatcher, timeoutMs: fetchTimeoutMs });
  let current: Keys | null = null;
  let failures = 0;
  let problem: string | null = null;
  /** No fetch because of a failure or an unknown key id before this time. */
  let notBeforeMs = Number.NEGATIVE_INFINITY;
  let fetching: Promise<void> | null = null;

  /** Single flight: whoever needs the keys while they are fetched waits for the same fetch. Never rejects. */
  function refresh(): Promise<void> {
    fetching ??= fetchOnce().finally(() => {
      fetching = null;
    });
    return fetching;
  }

  async function fetchOnce(): Promise<void> {
    let unforeseen: unknown;
    try {
      const keys = await readIssuerKeys(await load(), algorithms);
      if (typeof keys === 'string') throw new Fault('issuer_keys', `The key set of ${issuer} ${keys}.`);
      current = { keys, thumbprints: new Set(keys.map((key) => key.thumbprint)), fetchedAtMs: clock() };
      failures = 0;
      problem = null;
      notBeforeMs = clock() + unknownKidCoolDownMs;
    } catch (error) {
      if (!(error instanceof Fault)) unforeseen = error;
      problem = error instanceof Fault ? error.message : `The key set of ${issuer} could not be read.`;
      notBeforeMs = clock() + Math.min(failureBackoffMs.most, failureBackoffMs.first * 2 ** failures);
      failures += 1;
    }
    onChange?.({ issuer, outcome: problem === null ? 'fetched' : 'failed', problem, error: unforeseen });
  }

  /** The keys, unless they are too old to be used. Old ones start a fetch that nobody waits for. */
  function usable(): Keys | null {
    if (current === null) return null;
    const ageMs = clock() - current.fetchedAtMs;
    if (ageMs > refreshAfterMs && (failures === 0 || clock() >= notBeforeMs)) void refresh();
    return ageMs > keysMaxStaleMs ? null : current;
  }

  /** For a fetch that is under way, or one that may begin now. */
  function mayWait(): boolean {
    return fetching !== null || clock() >= notBeforeMs;
  }

  function unavailable(): Deny {
    const waitMs = Math.max(notBeforeMs - clock(), 0);
    return deny('issuer_unavailable', {
      detail: 'The keys of the token issuer cannot be fetched right now. Try again.',
      cause: 'issuer keys could not be fetched, or are too old',
      retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)),
    });
  }

  function pick(kid: string | null, algorithm: string): readonly KeyCandidate[] | null {
    const candidates: KeyCandidate[] = [];
    for (const { kid: keyId, thumbprint, byAlgorithm } of usable()?.keys ?? []) {
      const key = kid === null || kid === keyId ? byAlgorithm.get(algorithm) : undefined;
      if (key !== undefined && candidates.length < candidatesMax) candidates.push({ thumbprint, key });
    }
    return candidates.length === 0 ? null : candidates;
  }

  /** After a fetch, or where none may be made: is the key unknown, or can't we tell? */
  function miss(): Deny {
    if (usable() === null || failures > 0) return unavailable();
    return deny('token_invalid', {
      detail: 'Get a new access token: the issuer does not publish the key that signed this one.',
      cause: 'token is signed with a key that the issuer does not publish',
    });
  }

  async function pickAfterFetch(kid: string | null, algorithm: string): Promise<readonly KeyCandidate[] | Deny> {
    await refresh();
    return pick(kid, algorithm) ?? miss();
  }

  return {
    issuer,
    find(kid, algorithm) {
      const found = pick(kid, algorithm);
      if (found !== null) return found;
      return mayWait() ? pickAfterFetch(kid, algorithm) : miss();
    },
    trusts: (thumbprint) => usable()?.thumbprints.has(thumbprint) ?? false,
    async warm() {
      if (usable() === null && mayWait()) await refresh();
      return usable() !== null;
    },
    ageMs: () => (current === null ? null : clock() - current.fetchedAtMs),
    problem: () => problem,
  };
}
