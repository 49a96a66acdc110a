/** When a token is good (RFC 7519 §4.1.4-4.1.6), and how it is refused where it is not. */

import { type Deny, deny } from '../decision.ts';
import type { AccessToken } from '../exchange.ts';

/** Stricter than the RFC in that an iat in the future is refused. */
export function checkTimes(accessToken: AccessToken, skewMs: number, nowMs: number): Deny | null {
  if (nowMs >= accessToken.expiresAtMs + skewMs) {
    return deny('token_expired', { detail: 'Get a new access token.', cause: 'token exp has passed' });
  }
  if (nowMs < notBeforeMs(accessToken, skewMs)) return invalidToken('token iat or nbf is in the future');
  return null;
}

/** Whether the issuer keeps to how long its tokens live: revocations of them are forgotten after that time. */
export function checkLifetime(
  { issuedAtMs, expiresAtMs }: AccessToken,
  lifetimeMaxMs: number | undefined,
): Deny | null {
  if (lifetimeMaxMs === undefined || expiresAtMs - issuedAtMs <= lifetimeMaxMs) return null;
  return invalidToken('token lives longer than tokenMaxLifetime of its issuer');
}

/** From when on the token is taken. */
export function notBeforeMs({ issuedAtMs, claims }: AccessToken, skewMs: number): number {
  const { nbf } = claims;
  return (typeof nbf === 'number' ? Math.max(issuedAtMs, nbf * 1000) : issuedAtMs) - skewMs;
}

/** The cause is for the audit record; the agent is told the same whatever was wrong. */
export function invalidToken(cause: string): Deny {
  return deny('token_invalid', {
    detail: 'Get a new access token for this API from an issuer that it trusts.',
    cause,
  });
}
