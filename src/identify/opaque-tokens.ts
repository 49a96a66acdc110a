/** The introspection that the configuration asks for, if any: of one issuer at most. */

import { type CustomDialect, type DialectName, dialectOf } from './dialects.ts';
import { createIntrospect, type Introspect, type IntrospectOptions } from './introspect.ts';
import type { KeySets } from './key-sets.ts';

export type OpaqueTokensOptions = {
  /** As in the configuration. Durations in milliseconds. */
  readonly issuers: readonly {
    readonly issuer: string;
    readonly algorithms: readonly string[];
    readonly dialect: DialectName | CustomDialect;
    readonly clockSkew: number;
    readonly tokenMaxLifetime?: number | undefined;
    readonly introspection?:
      | {
          readonly url: string;
          readonly clientId: string;
          readonly clientSecretFile: string;
          readonly auth: 'basic' | 'post';
          readonly accept: 'json' | 'jwt';
          readonly timeout: number;
          readonly cache: number;
          readonly negativeCache: number;
        }
      | undefined;
  }[];
  readonly keySets: KeySets;
  readonly clock: () => number;
  readonly onFailure?: IntrospectOptions['onFailure'];
};

/** Null where no issuer is asked about opaque tokens, which are then refused. */
export function createOpaqueTokens({ issuers, keySets, clock, onFailure }: OpaqueTokensOptions): Introspect | null {
  for (const { issuer, algorithms, dialect, clockSkew, tokenMaxLifetime, introspection } of issuers) {
    const keySet = keySets.byIssuer.get(issuer);
    if (introspection === undefined || keySet === undefined) continue;
    const { timeout, cache, negativeCache, ...endpoint } = introspection;
    return createIntrospect({
      issuer,
      dialect: dialectOf(dialect),
      algorithms,
      clockSkewMs: clockSkew,
      lifetimeMaxMs: tokenMaxLifetime,
      keySet,
      endpoint: { ...endpoint, timeoutMs: timeout },
      cacheMs: cache,
      negativeCacheMs: negativeCache,
      clock,
      onFailure,
    });
  }
  return null;
}
