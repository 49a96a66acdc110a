/** When a revocation can hit no token any more, by how long the tokens of issuers live. */

import type { Named } from './sub-id.ts';

/** As in the configuration; durations in milliseconds. */
export type TokenIssuer = {
  readonly issuer: string;
  readonly clockSkew: number;
  readonly tokenMaxLifetime?: number | undefined;
};

type Times = { readonly issuedBeforeMs: number | null; readonly createdAtMs: number };

/** Replicas have clocks of their own, and to forget late harms nobody. */
const marginMs = 60_000;

/** Gives the time from which on an entry may be forgotten, or null where there is none that anybody could know. */
export function createHorizon(issuers: readonly TokenIssuer[]) {
  return ({ kind, value, issuer }: Named, { issuedBeforeMs, createdAtMs }: Times): number | null => {
    // All that an agent, a human or a key will ever be given is revoked, whoever issues it and when.
    if (kind !== 'jti' && issuedBeforeMs === null) return null;
    const named = kind === 'issuer' ? value : issuer;
    const lifetimes = issuers
      .filter((one) => named === null || one.issuer === named)
      // The issuer's clock may be ahead when it writes iat, and ours behind when exp has passed.
      .map(({ tokenMaxLifetime, clockSkew }) => (tokenMaxLifetime ?? Number.POSITIVE_INFINITY) + 2 * clockSkew);
    const untilMs = Math.max(createdAtMs, issuedBeforeMs ?? 0) + Math.max(...lifetimes) + marginMs;
    return Number.isFinite(untilMs) ? untilMs : null;
  };
}
