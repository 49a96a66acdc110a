/** Who acts for whom: the chain of actors (RFC 8693 §4.1), and what the subject at its end is. */

import type { Actor, SubjectType } from '../exchange.ts';
import { isJsonObject } from '../strict-json.ts';
import type { SubjectSigns } from './dialects.ts';
import type { JsonObject } from './jws.ts';

/** Deeper chains than this are refused, never cut: what is cut off could be what a rule asks about. */
const actorsMax = 8;

/**
 * RFC 8693 §4.1: each act holds the one before it. Outermost first; a missing iss is the token's own. Only the outermost
 * is who presents the token now: the issuer repeats the inner ones as it was told them.
 */
export function readActors(outermost: unknown, issuer: string): readonly Actor[] | string {
  const actors: Actor[] = [];
  for (let act = outermost; act !== undefined; ) {
    if (actors.length === actorsMax) return 'token act is nested too deep';
    if (!isJsonObject(act)) return 'token act is not an object';
    const { sub, iss = issuer, sub_profile: profile = '', act: inner } = act;
    if (!isText(sub)) return 'token act has no sub';
    if (!isText(iss)) return 'token act.iss is not a string';
    if (typeof profile !== 'string') return 'token act.sub_profile is not a string';
    actors.push({ iss, sub, profile, verified: actors.length === 0 });
    act = inner;
  }
  return actors;
}

/** What is known of a token when its subject is judged. */
export type SubjectFacts = {
  readonly claims: JsonObject;
  /** Null where the token names none. */
  readonly subject: string | null;
  readonly clientId: string;
  readonly agentId: string;
  readonly actors: readonly Actor[];
  readonly authTimeMs: number | null;
  readonly signs: SubjectSigns;
};

/**
 * What the subject is. A human is believed only where the token gives a sign of one, and every doubt is decided against
 * it, because rules grant more where a human stands behind the agent.
 */
export function judgeSubject(facts: SubjectFacts): SubjectType {
  const { claims, subject, signs } = facts;
  if (signs === 'entra') return judgeEntraSubject(claims);
  if (subject === null) return 'unknown';
  if (isAgentItself(facts, subject)) return 'agent';
  const { sub_profile: profile } = claims;
  if (profile === undefined) return hasHumanSign(facts) ? 'user' : 'unknown';
  // OAuth actor profile: kinds of entity, separated by spaces. Where there is one it decides, and the humbler kind wins.
  const kinds = typeof profile === 'string' ? profile.split(' ') : [];
  if (kinds.includes('ai_agent')) return 'agent';
  if (kinds.includes('service')) return 'service';
  return kinds.includes('user') ? 'user' : 'unknown';
}

/** With client credentials (RFC 9068 §2.2) the subject is the client, however the issuer spells it: nobody else. */
function isAgentItself({ clientId, agentId, actors, claims, signs }: SubjectFacts, subject: string): boolean {
  if (subject === clientId || subject === agentId || actors.some(({ sub }) => sub === subject)) return true;
  switch (signs) {
    case 'keycloak':
      return isKeycloakServiceAccount(claims);
    case 'auth0':
      // `agt_…` is an agent of Auth0, `…@clients` a client.
      return claims.gty === 'client-credentials' || subject.startsWith('agt_') || subject.endsWith('@clients');
    case 'okta':
      // `0oa…` is an application of Okta; users log in by other names.
      return /^0oa[0-9A-Za-z]{17}$/.test(subject);
    default:
      return false;
  }
}

/** The account that Keycloak makes for a client has a sub of its own, and these marks. */
function isKeycloakServiceAccount({ preferred_username: name, clientHost, clientAddress }: JsonObject): boolean {
  const isNamedSo = typeof name === 'string' && name.toLowerCase().startsWith('service-account-');
  return isNamedSo || clientHost !== undefined || clientAddress !== undefined;
}

/**
 * A login has a time (RFC 9068 §2.2.1; Keycloak writes 0 where there was none). Auth0 and Okta put an act into a token
 * only where the agent acts for a person; elsewhere the subject of a delegation may be another agent.
 */
function hasHumanSign({ authTimeMs, actors, signs }: SubjectFacts): boolean {
  if (authTimeMs !== null && authTimeMs > 0) return true;
  return (signs === 'auth0' || signs === 'okta') && actors.length > 0;
}

const agentIdentityFacet = 11;
const agentUserFacet = 13;

/**
 * Entra Agent ID: idtyp tells users from applications, and facets tell an agent's own user account from a person's.
 * Without idtyp, an optional claim, nothing is known.
 */
function judgeEntraSubject({ idtyp, xms_sub_fct: subjectFacets }: JsonObject): SubjectType {
  const facets = readFacets(subjectFacets);
  if (facets === null) return 'unknown';
  if (facets.has(agentIdentityFacet) || facets.has(agentUserFacet)) return 'agent';
  if (idtyp === 'user') return 'user';
  return idtyp === 'app' ? 'service' : 'unknown';
}

/** Numbers separated by spaces, in any order. What is no number or not known says nothing. */
function readFacets(claim: unknown): ReadonlySet<number> | null {
  if (claim === undefined) return new Set();
  if (typeof claim !== 'string') return null;
  return new Set(claim.split(' ').filter(isDigits).map(Number));
}

function isDigits(text: string): boolean {
  return /^\d{1,9}$/.test(text);
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
