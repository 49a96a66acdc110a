/** When what an access token has opened is to end. */

import type { Config } from './config/schema.ts';
import type { AccessToken, ClientRequest, Route } from './exchange.ts';

export type TokenEndOptions = {
  readonly issuers: Config['issuers'];
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
};

/**
 * Milliseconds until the token would not be accepted any more, its issuer's clock skew included; undefined for what may
 * run on. A WebSocket has no end of its own, and nothing in it is judged again: it always ends.
 */
export function createEndsInMs({ issuers, clock }: TokenEndOptions) {
  const skewsMs = new Map(issuers.map(({ issuer, clockSkew }) => [issuer, clockSkew]));
  return (
    { request, route }: { readonly request: ClientRequest; readonly route: Route },
    { issuer, expiresAtMs }: AccessToken,
  ): number | undefined =>
    request.webSocketKey !== undefined || route.endsAtTokenExpiry === true
      ? Math.max(0, expiresAtMs + (skewsMs.get(issuer) ?? 0) - clock())
      : undefined;
}
