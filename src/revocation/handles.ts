/**
 * Canonical handles: the strings under which something is revoked, and which a request is looked up by. A handle is a
 * JSON array, so no value, whatever characters it holds, can pass for another kind or reach into the next part.
 */

import type { AccessToken, Possession } from '../exchange.ts';

export const revocableKinds = ['jti', 'agent', 'subject', 'jkt'] as const;
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
  return JSON.stringify(issuer === null ? ['subject', subject] : ['subject', subject, issuer]);
}

/** RFC 7638 thumbprint of the key that a token is bound to. */
export function jktHandle(jkt: string): string {
  return JSON.stringify(['jkt', jkt]);
}

export type HandlesOf = (accessToken: AccessToken, possession: Possession) => readonly string[];

/**
 * Every handle that a request can be revoked by: its token, its agent and all actors behind it, its subject, and the
 * key that was proved or that the token names. Computed once a token, as tokens are shared between requests.
 */
export function createHandlesOf(): HandlesOf {
  const cache = new WeakMap<AccessToken, { readonly jkt: string | null; readonly handles: readonly string[] }>();
  return (accessToken, possession) => {
    const cached = cache.get(accessToken);
    if (cached !== undefined && cached.jkt === possession.jkt) return cached.handles;
    const handles = Object.freeze(listHandles(accessToken, possession.jkt));
    cache.set(accessToken, { jkt: possession.jkt, handles });
    return handles;
  };
}

/** The one to use where no test needs a cache of its own. */
export const handlesOf: HandlesOf = createHandlesOf();

function listHandles(accessToken: AccessToken, provedJkt: string | null): string[] {
  const { issuer, jti, agent, clientId, actors, subject, confirmation } = accessToken;
  // The client that presents the token counts as an agent too, where an actor stands between.
  const handles = new Set([jtiHandle(issuer, jti), agentHandle(agent.id), agentHandle(clientId)]);
  // RFC 8693 §4.1: inner actors are informational for access control. Revocation only takes away, so it may heed them.
  for (const actor of actors) handles.add(agentHandle(actor.sub));
  handles.add(subjectHandle(subject, null));
  handles.add(subjectHandle(subject, issuer));
  if (provedJkt !== null) handles.add(jktHandle(provedJkt));
  if (confirmation.jkt !== null) handles.add(jktHandle(confirmation.jkt));
  return [...handles];
}
