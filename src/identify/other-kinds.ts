/**
 * JWTs that are no access tokens, though the same issuer signs some of them with the same keys (RFC 8725 §3.11, §3.12).
 * Two nets: the types that such a JWT says it has, and, where an issuer's access tokens have no type of their own, the
 * claims that give it away.
 */

import type { JsonObject } from './jws.ts';

const otherTypes: ReadonlySet<string> = new Set([
  // Proofs and attestations of a client or workload: RFC 9449, WIMSE, attestation-based client authentication.
  ...['dpop+jwt', 'wit+jwt', 'wpt+jwt', 'oauth-client-attestation+jwt', 'oauth-client-attestation-pop+jwt'],
  ...['client-authentication+jwt', 'openid4vci-proof+jwt', 'keyattestation+jwt', 'kb+jwt'],
  // Messages: RFC 8417, OpenID back-channel logout, RFC 9101, RFC 9701, token status lists, OpenID Federation.
  ...['secevent+jwt', 'logout+jwt', 'oauth-authz-req+jwt', 'token-introspection+jwt', 'statuslist+jwt'],
  ...['entity-statement+jwt', 'trust-mark+jwt', 'resolve-response+jwt'],
  // Tokens for somebody else: ID-JAG goes to an authorization server, a transaction token stays inside its domain.
  ...['oauth-id-jag+jwt', 'txntoken+jwt', 'vc+jwt', 'vp+jwt', 'vc+sd-jwt', 'dc+sd-jwt'],
]);

/** Whether this is the `typ` of a JWT that an access token must never be mistaken for. Lower case, no `application/`. */
export function typeOfAnotherKind(type: string): boolean {
  return otherTypes.has(type);
}

/** Claims that only another kind of JWT has, with the name of that kind. */
const givingAway: readonly (readonly [string, string])[] = [
  // OpenID Connect Core 1.0 §2, §3.3.2.11.
  ['nonce', 'an ID token'],
  ['at_hash', 'an ID token'],
  ['c_hash', 'an ID token'],
  ['s_hash', 'an ID token'],
  // RFC 8417 §2.2, OpenID Connect Back-Channel Logout 1.0 §2.4.
  ['events', 'a security event or logout token'],
  // RFC 9449 §4.2.
  ['htm', 'a proof'],
  ['htu', 'a proof'],
  ['wth', 'a workload proof'],
  // Transaction tokens: the workload that asked, and the contexts.
  ['req_wl', 'a transaction token'],
  ['tctx', 'a transaction token'],
  ['rctx', 'a transaction token'],
  // RFC 9701 §5, token status lists §5.1, SD-JWT key binding §4.3, OpenID Federation 1.0 §3.
  ['token_introspection', 'an introspection answer'],
  ['status_list', 'a status list'],
  ['sd_hash', 'a key binding'],
  ['authority_hints', 'an entity statement'],
];

/** Which other kind of JWT the claims are those of; null where nothing says so. For tokens that are not typed at+jwt. */
export function kindByShape(claims: JsonObject): string | null {
  for (const [name, kind] of givingAway) if (claims[name] !== undefined) return kind;
  return null;
}
