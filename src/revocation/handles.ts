/**
 * Canonical handles: the strings under which something is revoked, and which a request is looked up by. A handle is a
 * JSON array, so no value, whatever characters it holds, can pass for another kind or reach into the next part.
 */

import type { AccessToken, Possession } from '../exchange.ts';

export const revocableKinds = ['jti', 'agent', 'subject', 'owner', 'jkt', 'issuer', 'delegation'] as const;
export type RevocableKind = (typeof revocableKinds)[number];

/** RFC 7519 §4.1.7: a jti is unique within its issuer only. */
export function jtiHandle(issuer: string, jti: string): string {
  return JSON.stringify(['jti', issuer, jti]);
}

/** An agent is revoked at whichever issuer: the handle names none. */
export function agentHandle(agent: string): string {
  return JSON.stringify(['agent', agent]);
}

/** RFC 7519 §4.1.2: a sub may be unique within its issuer only. Without an issuer the handle covers all of them. */
export function subjectHandle(subject: string, issuer: string | null): string {
  const name = canonicalName(subject);
  return JSON.stringify(issuer === null ? ['subject', name] : ['subject', name, issuer]);
}

/** Whoever answers for agents, as the registry or a claim names them. */
export function ownerHandle(owner: string): string {
  return JSON.stringify(['owner', canonicalName(owner)]);
}

/**
 * People write addresses in any case and mean one mailbox. RFC 5321 §2.4 lets its local part depend on case, but a
 * revocation that misses is worse than one that hits two.
 */
function canonicalName(name: string): string {
  return name.includes('@') ? name.toLowerCase() : name;
}

/** RFC 7638 thumbprint of the key that a token is bound to. */
export function jktHandle(jkt: string): string {
  return JSON.stringify(['jkt', jkt]);
}

/** Everything that an issuer has issued, up to a time that the entry says. */
export function issuerHandle(issuer: string): string {
  return JSON.stringify(['issuer', issuer]);
}

/** What several tokens were issued under: a grant, a mission, a transaction or a login session. */
export function delegationHandle(delegation: string): string {
  return JSON.stringify(['delegation', delegation]);
}

/** `owners`: who answers for the agent and for those behind it, as far as that is known. */
export type HandlesOf = (
  accessToken: AccessToken,
  possession: Possession,
  owners: readonly string[],
) => readonly string[];

type Cached = {
  readonly jkt: string | null;
  readonly owners: readonly string[];
  readonly handles: readonly string[];
};

/**
 * Every handle that a request can be revoked by: its token and issuer, its agent and all actors behind it, their
 * owners, its subject, the key that was proved or that the token names, and the delegation it was issued under.
 * Computed once a token, as tokens are shared between requests.
 */
export function createHandlesOf(): HandlesOf {
  const cache = new WeakMap<AccessToken, Cached>();
  return (accessToken, { jkt }, owners) => {
    const cached = cache.get(accessToken);
    if (cached !== undefined && cached.jkt === jkt && isSame(cached.owners, owners)) return cached.handles;
    const handles = Object.freeze(listHandles(accessToken, jkt, owners));
    cache.set(accessToken, { jkt, owners: [...owners], handles });
    return handles;
  };
}

/** The one to use where no test needs a cache of its own. */
export const handlesOf: HandlesOf = createHandlesOf();

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((item, index) => item === other[index]);
}

function listHandles(accessToken: AccessToken, provedJkt: string | null, owners: readonly string[]): string[] {
  const { issuer, jti, agent, clientId, actors, subject, confirmation, claims } = accessToken;
  // The client that presents the token counts as an agent too, where an actor stands between.
  const handles = new Set([jtiHandle(issuer, jti), agentHandle(agent.id), agentHandle(clientId)]);
  // RFC 8693 §4.1: inner actors are informational for access control. Revocation only takes away, so it may heed them.
  for (const actor of actors) handles.add(agentHandle(actor.sub));
  for (const owner of owners) handles.add(ownerHandle(owner));
  for (const name of subjectNames(subject, claims)) {
    handles.add(subjectHandle(name, null));
    handles.add(subjectHandle(name, issuer));
  }
  handles.add(issuerHandle(issuer));
  if (provedJkt !== null) handles.add(jktHandle(provedJkt));
  if (confirmation.jkt !== null) handles.add(jktHandle(confirmation.jkt));
  for (const delegation of delegationsOf(claims)) handles.add(delegationHandle(delegation));
  return [...handles];
}

/** RFC 9493 §3.2 names subjects by address and telephone number too, which tokens have in claims of their own. */
function subjectNames(subject: string, { email, phone_number: phone }: AccessToken['claims']): readonly string[] {
  return [subject, email, phone].filter(isText);
}

/**
 * No claim for this is standard. These are in use: `delegation_id`; the `id` of a mission (draft-mcguinness-oauth-mission);
 * `txn`, which tokens of one transaction share (RFC 8417 §2.2); and `sid`, the login that tokens were issued under
 * (OpenID Connect Front-Channel Logout 1.0 §3).
 */
function delegationsOf({ delegation_id: id, mission, txn, sid }: AccessToken['claims']): readonly string[] {
  const missionId = typeof mission === 'object' && mission !== null && 'id' in mission ? mission.id : undefined;
  return [id, missionId, txn, sid].filter(isText);
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
