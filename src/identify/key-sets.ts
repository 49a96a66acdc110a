/** The key sets of all configured issuers, and the connections over which they are fetched. */

import { Agent, type Dispatcher } from 'undici';
import { createKeySet, type KeySet, type KeySetEvent } from './key-set.ts';
import type { Discovery } from './key-source.ts';

export type KeySets = {
  /** By issuer, exactly as configured. */
  readonly byIssuer: ReadonlyMap<string, KeySet>;
  /** Fetches every issuer's keys at once, and tells whether all are there. The start need not wait for it. */
  warm(): Promise<boolean>;
  /** Cuts the connections, and with them every fetch under way. Keys that are held go on working. */
  close(): Promise<void>;
};

export type KeySetsOptions = {
  /** As in the configuration: without jwksUri and jwksFile, discovery. Durations in milliseconds. */
  readonly issuers: readonly {
    readonly issuer: string;
    readonly jwksUri?: string | undefined;
    readonly jwksFile?: string | undefined;
    readonly algorithms: readonly string[];
    readonly keysMaxAge: number;
    readonly keysMaxStale: number;
  }[];
  /** What to go by where neither is given. */
  readonly discovery?: Discovery;
  readonly clock: () => number;
  readonly fetchTimeoutMs?: number;
  readonly onChange?: ((event: KeySetEvent) => void) | undefined;
};

/** Prepares the key sets. Throws a Fault where an issuer has no place to get its keys from. */
export function createKeySets(options: KeySetsOptions): KeySets {
  const { issuers, clock, discovery = 'discovery', fetchTimeoutMs = 5000, onChange } = options;
  const dispatcher: Dispatcher = new Agent({
    connections: 2,
    pipelining: 1,
    connect: { timeout: fetchTimeoutMs },
    headersTimeout: fetchTimeoutMs,
    bodyTimeout: fetchTimeoutMs,
    keepAliveTimeout: 4000,
    keepAliveMaxTimeout: 60_000,
    maxHeaderSize: 16_384,
  });
  const byIssuer = new Map<string, KeySet>();
  for (const { issuer, jwksUri, jwksFile, algorithms, keysMaxAge, keysMaxStale } of issuers) {
    const source = jwksFile !== undefined ? { jwksFile } : jwksUri !== undefined ? { jwksUri } : discovery;
    byIssuer.set(
      issuer,
      createKeySet({
        issuer,
        source,
        algorithms,
        keysMaxAgeMs: keysMaxAge,
        keysMaxStaleMs: keysMaxStale,
        clock,
        dispatcher,
        fetchTimeoutMs,
        onChange,
      }),
    );
  }
  return {
    byIssuer,
    warm: async () => {
      const warmed = await Promise.all([...byIssuer.values()].map((keySet) => keySet.warm()));
      return warmed.every((isWarm) => isWarm);
    },
    close: () => dispatcher.destroy(),
  };
}
