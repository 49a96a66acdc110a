/** The part of a context that is the same for every request with one access token, made once and kept with it. */

import type { AccessToken } from '../exchange.ts';
import { detailsMax, detailsNodesMax, itemsMax, tokenListCharsMax } from './bounds.ts';
import { convertDocument } from './document.ts';
import { ActorRecord, ActRecord, SubjectRecord } from './variables.ts';

type Claims = ReadonlyMap<string, unknown>;

export type TokenParts = {
  readonly issuedAt: Date;
  readonly expiresAt: Date;
  readonly authTime: Date | undefined;
  /** Undefined where no rule reads them, or where they exceed their bounds. */
  readonly claims: Claims | undefined;
  readonly authorizationDetails: readonly Claims[] | undefined;
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
    ['token.roles', accessToken.roles],
    ['token.aud', accessToken.audience],
    ['act.chain', accessToken.actors],
  ] as const;
  return listUnfitness(lists.filter(([name]) => reads.has(name)));
}

/** Which of these lists exceeds its bounds; null where none does. */
export function listUnfitness(lists: readonly (readonly [string, readonly unknown[]])[]): string | null {
  const long = lists.find(([, list]) => list.length > itemsMax);
  if (long !== undefined) return `${long[0]} has more than ${itemsMax} items`;
  const wide = lists.find(([, list]) => charsOf(list) > tokenListCharsMax);
  return wide === undefined ? null : `${wide[0]} has more than ${tokenListCharsMax} characters`;
}

/** Of texts; the links of a chain are bounded where the token is read. */
function charsOf(list: readonly unknown[]): number {
  return list.reduce<number>((count, item) => count + (typeof item === 'string' ? item.length : 0), 0);
}

/** RFC 9396 §2: an array of objects. Anything else can't be judged; an absent claim is an empty list. */
function convertDetails(claim: unknown): readonly Claims[] | string {
  if (claim === undefined) return [];
  if (Array.isArray(claim) && claim.length > detailsMax) return `more than ${detailsMax} items`;
  const converted = convertDocument({ claim }, detailsNodesMax);
  if (typeof converted === 'string') return converted;
  const details = converted.get('claim');
  // A rule that lists the members which it understands must see every member, and a null one would be left out.
  if (holdsNull(claim)) return 'a member is null';
  const isList = Array.isArray(claim) && Array.isArray(details) && details.length === claim.length;
  return isList && details.every((detail) => detail instanceof Map) ? details : 'not an array of objects';
}

/** For values that convertDocument has found to be within its bounds. */
function holdsNull(value: unknown): boolean {
  return value === null || (typeof value === 'object' && Object.values(value).some(holdsNull));
}

/** Who the agent acts for. What the subject is was judged when the token was verified. */
function buildSubject({ subject, subjectType }: AccessToken): SubjectRecord {
  const record = new SubjectRecord();
  record.id = subject;
  record.human = subjectType === 'user';
  record.type = subjectType;
  return record;
}

function buildAct({ actors }: AccessToken): ActRecord {
  const record = new ActRecord();
  record.chain = actors.map((actor) => {
    const link = new ActorRecord();
    link.iss = actor.iss;
    link.sub = actor.sub;
    link.profile = actor.profile;
    link.verified = actor.verified;
    return link;
  });
  record.depth = BigInt(actors.length);
  return record;
}
