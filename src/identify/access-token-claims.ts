/** From the claims of an RFC 9068 access token to the AccessToken that the rest of Postern works with. */

import type { AccessToken, Actor } from '../exchange.ts';
import { isJsonObject } from '../strict-json.ts';
import { isSha256Text } from './encoding.ts';
import type { JsonObject } from './jws.ts';

/** Deeper chains than this are refused, never cut: what is cut off could be what a rule asks about. */
const actorsMax = 8;
const audienceMax = 64;
// RFC 7800 §3, RFC 9203 §3.2: confirmation methods that exist and that nothing here can confirm. To check jkt and pass
// over one of these would drop a binding that the issuer asked for.
const unsupportedConfirmations = ['jwk', 'jwe', 'jku', 'kid', 'osc'] as const;

/** The token's content, or the check that failed. Times are checked for their type only. */
export function readAccessTokenClaims(claims: JsonObject): AccessToken | string {
  const { iss, sub, aud, client_id: clientId, scope, jti, iat, exp, nbf, acr, auth_time: authTime } = claims;
  // RFC 9068 §2.2: required claims.
  if (!isText(iss)) return 'token has no iss';
  if (!isText(sub)) return 'token has no sub';
  if (!isText(clientId)) return 'token has no client_id';
  if (!isText(jti)) return 'token has no jti';
  if (!isNumericDate(iat)) return 'token iat is not a number';
  if (!isNumericDate(exp)) return 'token exp is not a number';
  const audience = readAudience(aud);
  if (audience === null) return 'token aud is not a string or a list of strings';
  // Optional ones, which must mean what they seem to mean where they are there.
  if (nbf !== undefined && !isNumericDate(nbf)) return 'token nbf is not a number';
  if (scope !== undefined && typeof scope !== 'string') return 'token scope is not a string';
  if (acr !== undefined && typeof acr !== 'string') return 'token acr is not a string';
  if (authTime !== undefined && !isNumericDate(authTime)) return 'token auth_time is not a number';
  const confirmation = readConfirmation(claims.cnf);
  if (typeof confirmation === 'string') return confirmation;
  const actors = readActors(claims.act, iss);
  if (typeof actors === 'string') return actors;
  const actor = actors[0];
  return deepFreeze({
    issuer: iss,
    subject: sub,
    audience,
    clientId,
    // RFC 6749 §3.3: separated by single spaces; a stray one adds no scope.
    scopes: scope === undefined ? [] : scope.split(' ').filter((item) => item !== ''),
    jti,
    issuedAtMs: iat * 1000,
    expiresAtMs: exp * 1000,
    authTimeMs: authTime === undefined ? null : authTime * 1000,
    acr: acr ?? null,
    claims,
    confirmation,
    // RFC 8693 §4.1: the outermost act is who presents the token; without one, the client does.
    agent: actor === undefined ? { id: clientId, issuer: iss } : { id: actor.sub, issuer: actor.iss },
    actors,
  });
}

/** RFC 7519 §4.1.3. */
function readAudience(aud: unknown): readonly string[] | null {
  if (isText(aud)) return [aud];
  if (!Array.isArray(aud) || aud.length === 0 || aud.length > audienceMax) return null;
  return aud.every(isText) ? aud : null;
}

/**
 * RFC 7800 §3, RFC 9449 §6.1, RFC 8705 §3.1: which keys the token is bound to. A `cnf` that names no method known here
 * is refused, and never read as a token bound to nothing. Members that are no method, such as Keycloak's kc-jkt-type,
 * are passed over. Only the outermost cnf counts: one inside act says nothing about the presenter.
 */
function readConfirmation(cnf: unknown): AccessToken['confirmation'] | string {
  if (cnf === undefined) return { jkt: null, x5t: null };
  if (!isJsonObject(cnf)) return 'token cnf is not an object';
  const { jkt, 'x5t#S256': x5t } = cnf;
  if (jkt !== undefined && !isSha256Text(jkt)) return 'token cnf.jkt is not a SHA-256 thumbprint';
  if (x5t !== undefined && !isSha256Text(x5t)) return 'token cnf.x5t#S256 is not a SHA-256 thumbprint';
  if (jkt === undefined && x5t === undefined) return 'token cnf names no confirmation method that is known here';
  if (unsupportedConfirmations.some((name) => cnf[name] !== undefined)) {
    return 'token cnf names a confirmation method that cannot be confirmed here';
  }
  return { jkt: jkt ?? null, x5t: x5t ?? null };
}

/** RFC 8693 §4.1: each act holds the one before it. Outermost first; a missing iss is the token's own. */
function readActors(outermost: unknown, issuer: string): readonly Actor[] | string {
  const actors: Actor[] = [];
  for (let act = outermost; act !== undefined; ) {
    if (actors.length === actorsMax) return 'token act is nested too deep';
    if (!isJsonObject(act)) return 'token act is not an object';
    const { sub, iss = issuer, sub_profile: profile = '', act: inner } = act;
    if (!isText(sub)) return 'token act has no sub';
    if (!isText(iss)) return 'token act.iss is not a string';
    if (typeof profile !== 'string') return 'token act.sub_profile is not a string';
    actors.push({ iss, sub, profile });
    act = inner;
  }
  return actors;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

/** RFC 7519 §2. Not one that overflows a double or a date. */
function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= 1e12;
}

/** The token cache shares this value between requests. Depth is bounded by the JSON that it was read from. */
function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const item of Object.values(value)) deepFreeze(item);
  }
  return value;
}
