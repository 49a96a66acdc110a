/** From the claims of an access token, in its issuer's dialect, to the AccessToken that the rest of Postern works with. */

import type { AccessToken } from '../exchange.ts';
import { isJsonObject } from '../strict-json.ts';
import { judgeSubject, readActors } from './delegation.ts';
import { type ClaimPath, type Dialect, firstClaim } from './dialects.ts';
import { isSha256Text } from './encoding.ts';
import type { JsonObject } from './jws.ts';

const listItemsMax = 64;
const rolesMax = 1024;
// RFC 7800 §3, RFC 9203 §3.2: confirmation methods that exist and that nothing here can confirm. To check jkt and pass
// over one of these would drop a binding that the issuer asked for.
const unsupportedConfirmations = ['jwk', 'jwe', 'jku', 'kid', 'osc'] as const;

export type ClaimsOrigin = {
  readonly dialect: Dialect;
  readonly source: AccessToken['source'];
  /** Stands for the token where the issuer gives it no id. Must be the same however the token is written. */
  readonly digest: string;
};

/** The token's content, or the check that failed. Times are checked for their type only. */
export function readAccessTokenClaims(claims: JsonObject, origin: ClaimsOrigin): AccessToken | string {
  const { iss, aud, iat, exp } = claims;
  // RFC 9068 §2.2: required claims, as far as the dialect has them.
  if (!isText(iss)) return 'token has no iss';
  const parties = readParties(claims, origin);
  if (typeof parties === 'string') return parties;
  if (!isNumericDate(iat)) return 'token iat is not a number';
  if (!isNumericDate(exp)) return 'token exp is not a number';
  const audience = readAudience(aud);
  if (audience === null) return 'token aud is not a string or a list of strings';
  const authority = readAuthority(claims, origin.dialect);
  if (typeof authority === 'string') return authority;
  const confirmation = readConfirmation(claims.cnf);
  if (typeof confirmation === 'string') return confirmation;
  const actors = readActors(claims.act, iss);
  if (typeof actors === 'string') return actors;
  const { clientId, presenter, subject, jti } = parties;
  const [actor] = actors;
  // RFC 8693 §4.1: the outermost act is who presents the token; without one, the client does.
  const agent = actor === undefined ? { id: presenter, issuer: iss } : { id: actor.sub, issuer: actor.iss };
  const { authTimeMs } = authority;
  const { signs } = origin.dialect;
  return deepFreeze({
    issuer: iss,
    // A token without a subject is nobody's but the client's.
    subject: subject ?? clientId,
    audience,
    clientId,
    jti,
    issuedAtMs: iat * 1000,
    expiresAtMs: exp * 1000,
    ...authority,
    claims,
    confirmation,
    agent,
    actors,
    subjectType: judgeSubject({ claims, subject, clientId, agentId: agent.id, actors, authTimeMs, signs }),
    source: origin.source,
  });
}

type Parties = Pick<AccessToken, 'clientId' | 'jti'> & { readonly subject: string | null; readonly presenter: string };

/** Who the token is about, and the token's own name. */
function readParties(claims: JsonObject, { dialect, digest }: ClaimsOrigin): Parties | string {
  const subject = firstClaim(claims, dialect.subject) ?? null;
  if (subject === null ? dialect.isSubjectRequired : !isText(subject)) return `token has no ${nameOf(dialect.subject)}`;
  const clientId = firstClaim(claims, dialect.client);
  if (!isText(clientId)) return `token has no ${nameOf(dialect.client)}`;
  const presenter = dialect.agent === null ? clientId : firstClaim(claims, dialect.agent);
  if (!isText(presenter)) return `token has no ${nameOf(dialect.agent ?? [])}`;
  const jti = firstClaim(claims, dialect.id) ?? (dialect.isIdRequired ? null : `sha256:${digest}`);
  if (!isText(jti)) return `token has no ${nameOf(dialect.id)}`;
  return { clientId, presenter, subject: isText(subject) ? subject : null, jti };
}

type Authority = Pick<AccessToken, 'scopes' | 'roles' | 'acr' | 'authTimeMs'>;

/** What the token allows, and how its subject logged in: optional, but to mean what it seems to where it is there. */
function readAuthority(claims: JsonObject, dialect: Dialect): Authority | string {
  const { nbf, acr, auth_time: authTime, authorization_details: details } = claims;
  if (nbf !== undefined && !isNumericDate(nbf)) return 'token nbf is not a number';
  if (acr !== undefined && typeof acr !== 'string') return 'token acr is not a string';
  if (authTime !== undefined && !isNumericDate(authTime)) return 'token auth_time is not a number';
  const scopes = readScopes(firstClaim(claims, dialect.scope), dialect);
  if (scopes === null) return 'token scope is of another type';
  const roles = readRoles(firstClaim(claims, dialect.roles));
  if (roles === null) return 'token roles are not a list of strings';
  if (!isAuthorizationDetails(details)) return 'token authorization_details is not a list of objects with a type';
  return { scopes, roles, acr: acr ?? null, authTimeMs: authTime === undefined ? null : authTime * 1000 };
}

/** RFC 7519 §4.1.3. */
function readAudience(aud: unknown): readonly string[] | null {
  if (isText(aud)) return [aud];
  if (!Array.isArray(aud) || aud.length === 0 || aud.length > listItemsMax) return null;
  return aud.every(isText) ? aud : null;
}

/** RFC 6749 §3.3: separated by single spaces; a stray one adds no scope. Or a list, as `scp` often is. */
function readScopes(claim: unknown, { mayListScopes, emptyScopes }: Dialect): readonly string[] | null {
  if (claim === undefined) return [];
  const items = typeof claim === 'string' ? claim.split(' ') : claim;
  if (typeof claim !== 'string' && !mayListScopes) return null;
  if (!Array.isArray(items) || !items.every((item) => typeof item === 'string')) return null;
  return items.filter((item) => item !== '' && !emptyScopes.includes(item));
}

/** One or a list; RFC 9068 §2.2.3.1 allows SCIM's form of an item too (RFC 7643 §2.4), whose value counts. */
function readRoles(claim: unknown): readonly string[] | null {
  if (claim === undefined) return [];
  const items: unknown[] = Array.isArray(claim) ? claim : [claim];
  if (items.length > rolesMax) return null;
  const roles = items.map((item) => (isJsonObject(item) ? item.value : item));
  return roles.every(isText) ? roles : null;
}

/** RFC 9396 §2: an array of objects, each with a type. What a type allows is for rules that know it. */
function isAuthorizationDetails(claim: unknown): boolean {
  if (claim === undefined) return true;
  return Array.isArray(claim) && claim.every((detail) => isJsonObject(detail) && isText(detail.type));
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

function nameOf(paths: readonly ClaimPath[]): string {
  return paths.map((path) => path.join('.')).join(' or ');
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
