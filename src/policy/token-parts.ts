/** The part of a context that is the same for every request with one access token, made once and kept with it. */

import type { AccessToken } from '../exchange.ts';
import { detailsMax, itemsMax } from './bounds.ts';
import { convertDocument } from './document.ts';
import { ActorRecord, ActRecord, AgentRecord, SubjectRecord } from './variables.ts';

type Claims = ReadonlyMap<string, unknown>;

export type TokenParts = {
  readonly issuedAt: Date;
  readonly expiresAt: Date;
  readonly authTime: Date | undefined;
  /** Undefined where no rule reads them, or where they exceed their bounds. */
  readonly claims: Claims | undefined;
  readonly authorizationDetails: readonly Claims[] | undefined;
  readonly agent: AgentRecord;
  readonly subject: SubjectRecord;
  readonly act: ActRecord;
  readonly unfit: string | null;
};

/** Access tokens are shared by the token cache and frozen, so their parts live exactly as long as they do. */
export function createTokenParts(reads: ReadonlySet<string>): (accessToken: AccessToken) => TokenParts {
  const readsClaims = reads.has('token.claims') || reads.has('jwt');
  const readsDetails = reads.has('token.authorization_details');
  const cache = new WeakMap<AccessToken, TokenParts>();

  return (accessToken) => {
    const found = cache.get(accessToken);
    if (found !== undefined) return found;
    const claims = readsClaims ? convertDocument(accessToken.claims) : undefined;
    const details = readsDetails ? convertDetails(accessToken.claims.authorization_details) : undefined;
    const parts: TokenParts = {
      issuedAt: new Date(accessToken.issuedAtMs),
      expiresAt: new Date(accessToken.expiresAtMs),
      authTime: accessToken.authTimeMs === null ? undefined : new Date(accessToken.authTimeMs),
      claims: typeof claims === 'string' ? undefined : claims,
      authorizationDetails: typeof details === 'string' ? undefined : details,
      agent: buildAgent(accessToken),
      subject: buildSubject(accessToken),
      act: buildAct(accessToken),
      unfit: unfitness(accessToken, reads, claims, details),
    };
    cache.set(accessToken, parts);
    return parts;
  };
}

function unfitness(
  accessToken: AccessToken,
  reads: ReadonlySet<string>,
  claims: Claims | string | undefined,
  details: readonly Claims[] | string | undefined,
): string | null {
  if (typeof claims === 'string') return `token.claims: ${claims}`;
  if (typeof details === 'string') return `token.authorization_details: ${details}`;
  const lists = [
    ['token.scopes', accessToken.scopes],
    ['token.aud', accessToken.audience],
    ['act.chain', accessToken.actors],
  ] as const;
  const long = lists.find(([name, list]) => reads.has(name) && list.length > itemsMax);
  return long === undefined ? null : `${long[0]} has more than ${itemsMax} items`;
}

/** RFC 9396 §2: an array of objects. Anything else can't be judged; an absent claim is an empty list. */
function convertDetails(claim: unknown): readonly Claims[] | string {
  if (claim === undefined) return [];
  if (Array.isArray(claim) && claim.length > detailsMax) return `more than ${detailsMax} items`;
  const converted = convertDocument({ claim });
  if (typeof converted === 'string') return converted;
  const details = converted.get('claim');
  const isList = Array.isArray(claim) && Array.isArray(details) && details.length === claim.length;
  return isList && details.every((detail) => detail instanceof Map) ? details : 'not an array of objects';
}

function buildAgent({ agent }: AccessToken): AgentRecord {
  const record = new AgentRecord();
  record.id = agent.id;
  record.issuer = agent.issuer;
  return record;
}

/**
 * Who the agent acts for. With client credentials (RFC 9068 §2.2) the subject is the client itself: no human. A human
 * is believed only where the token gives a sign of one: a time of login, a profile that says so, or delegation from
 * somebody else than the agent (RFC 8693 §4.1). Without a sign the type is unknown and `human` is false.
 */
function buildSubject(accessToken: AccessToken): SubjectRecord {
  const { subject, clientId, agent } = accessToken;
  const isAgent = subject === clientId || subject === agent.id;
  const record = new SubjectRecord();
  record.id = subject;
  record.human = !isAgent && hasHumanSign(accessToken);
  record.type = isAgent ? 'agent' : record.human ? 'user' : 'unknown';
  return record;
}

/** The caller knows that the subject is not the agent, so any actor differs from it. */
function hasHumanSign({ authTimeMs, claims, actors }: AccessToken): boolean {
  if (authTimeMs !== null || actors.length > 0) return true;
  const profile = claims.sub_profile;
  return typeof profile === 'string' && profile.split(' ').includes('user');
}

function buildAct({ actors }: AccessToken): ActRecord {
  const record = new ActRecord();
  record.chain = actors.map((actor) => {
    const link = new ActorRecord();
    link.iss = actor.iss;
    link.sub = actor.sub;
    link.profile = actor.profile;
    return link;
  });
  record.depth = BigInt(actors.length);
  return record;
}
