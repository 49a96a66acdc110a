/** Whether a JWT is an access token at all: by its types, and by its claims where the types leave it open. */

import type { AccessToken } from '../exchange.ts';
import type { Dialect } from './dialects.ts';
import { type JsonObject, mediaTypeOf } from './jws.ts';
import { kindByShape, typeOfAnotherKind } from './other-kinds.ts';

/** The type that says all: nothing else is ever typed so (RFC 9068 §2.1). */
const accessTokenType = 'at+jwt';

/** RFC 9068 §4, RFC 8725 §3.11: the `typ` of the header. Null where it will do. */
export function headerTypeProblem(header: JsonObject, dialect: Dialect): string | null {
  if (header.typ !== undefined && typeof header.typ !== 'string') return 'token typ is not a string';
  const type = mediaTypeOf(header);
  // Whatever a dialect may let through.
  if (typeOfAnotherKind(type)) return 'token typ is that of another kind of JWT';
  if (dialect.types.has(type)) return null;
  return `token typ is not ${[...dialect.types].filter((known) => known !== '').join(' or ')}`;
}

/**
 * RFC 8725 §3.12: where the header does not say at+jwt, the claims must not be those of another kind of JWT, and the
 * token must not be meant for the very client that it was issued to, as an ID token is (OpenID Connect Core 1.0 §2).
 */
export function shapeProblem(header: JsonObject, accessToken: AccessToken, dialect: Dialect): string | null {
  const { claims, audience, clientId, confirmation } = accessToken;
  if (dialect.payloadTypes !== null) {
    const type = typeof claims.typ === 'string' ? claims.typ.toLowerCase() : '';
    if (!dialect.payloadTypes.has(type)) return 'token says in its claims that it is of another kind';
    if (type === 'dpop' && confirmation.jkt === null) return 'token is of type DPoP and bound to no key';
  }
  if (mediaTypeOf(header) === accessTokenType) return null;
  const kind = kindByShape(claims);
  if (kind !== null) return `token has the claims of ${kind}`;
  return audience.includes(clientId) ? 'token is meant for its own client, as an ID token is' : null;
}
