/** RFC 9493 subject identifiers, as the handles that they come down to. */

import { isJsonObject } from '../strict-json.ts';
import type { RevocableKind } from './handles.ts';

/** What an identifier names. */
export type Named = { readonly kind: RevocableKind; readonly value: string; readonly issuer: string | null };

const partCharsMax = 4096;
const identifiersMax = 16;

/** Which member of each format holds the subject (RFC 9493 §3.2). */
const members: ReadonlyMap<string, string> = new Map([
  ['account', 'uri'],
  ['did', 'url'],
  ['email', 'email'],
  ['opaque', 'id'],
  ['phone_number', 'phone_number'],
  ['uri', 'uri'],
]);

export const subIdFormats = [...members.keys(), 'iss_sub', 'jwt_id', 'aliases'].toSorted();

/** A text says what is wrong with it, and quotes nothing of it. */
export function readSubId(subId: unknown): readonly Named[] | string {
  if (!isJsonObject(subId)) return 'sub_id must be an object with a format (RFC 9493)';
  const { format } = subId;
  if (format !== 'aliases') {
    const named = readOne(subId);
    return typeof named === 'string' ? named : [named];
  }
  // RFC 9493 §3.2.8: several names of one subject, none of them an alias in turn.
  const { identifiers } = subId;
  if (!Array.isArray(identifiers) || identifiers.length === 0 || identifiers.length > identifiersMax) {
    return `sub_id.identifiers must be a list of 1 to ${identifiersMax} subject identifiers`;
  }
  const all = identifiers.map((identifier) =>
    isJsonObject(identifier) ? readOne(identifier) : 'sub_id.identifiers must hold subject identifiers',
  );
  return all.find((named) => typeof named === 'string') ?? all.filter((named) => typeof named !== 'string');
}

function readOne(subId: Readonly<Record<string, unknown>>): Named | string {
  const { format, iss, sub, jti } = subId;
  if (format === 'iss_sub') {
    if (!isPart(iss) || !isPart(sub)) return 'sub_id of format iss_sub must have iss and sub';
    return { kind: 'subject', value: sub, issuer: iss };
  }
  // OpenID Shared Signals 1.0 §3.3.1.
  if (format === 'jwt_id') {
    if (!isPart(iss) || !isPart(jti)) return 'sub_id of format jwt_id must have iss and jti';
    return { kind: 'jti', value: jti, issuer: iss };
  }
  const member = typeof format === 'string' ? members.get(format) : undefined;
  if (member === undefined) return `sub_id.format must be one of ${subIdFormats.join(', ')}`;
  const value = subId[member];
  if (!isPart(value)) return `sub_id of this format must have ${member}`;
  return { kind: 'subject', value: canonical(String(format), value), issuer: null };
}

/** As handles.ts writes the same name when a token has it. */
function canonical(format: string, value: string): string {
  if (format === 'email') return value.toLowerCase();
  // RFC 7565 §4: the scheme acct, in any case; what follows is user and host.
  if (format === 'account') return value.replace(/^acct:/i, '').toLowerCase();
  return value;
}

function isPart(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= partCharsMax;
}
