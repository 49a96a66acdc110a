/** What an issuer says of an opaque token (RFC 7662 §2.2), in plain JSON or signed (RFC 9701 §5). */

import type { Buffer } from 'node:buffer';
import { type Deny, isDeny } from '../decision.ts';
import { Fault } from '../errors.ts';
import type { AccessToken } from '../exchange.ts';
import { isJsonObject, parseStrictJsonBytes } from '../strict-json.ts';
import { readAccessTokenClaims } from './access-token-claims.ts';
import type { Dialect } from './dialects.ts';
import { findSigner, parseIssuerJwt, readKeyHint } from './issuer-jwt.ts';
import { type JsonObject, mediaTypeOf } from './jws.ts';
import type { KeySet } from './key-set.ts';
import { invalidToken } from './token-validity.ts';

const answerDepthMax = 32;

/** The members of a plain answer. Throws a Fault where it is none that can be believed. */
export function readPlainAnswer(document: Buffer, url: string): JsonObject {
  const answer = parseStrictJsonBytes(document, { maxDepth: answerDepthMax });
  if (!isJsonObject(answer)) throw new Fault('introspection', `${url} answered no JSON object with unique names.`);
  return answer;
}

export type SignedAnswerOptions = {
  readonly url: string;
  readonly issuer: string;
  /** Whom the answer must be for (RFC 9701 §5). */
  readonly clientId: string;
  readonly algorithms: ReadonlySet<string>;
  readonly keySet: KeySet;
  readonly clockSkewMs: number;
  readonly clock: () => number;
};

/**
 * The members of a signed answer, or that the issuer's keys are not to be had. Throws a Fault where the answer is none
 * that can be believed. Nothing in it names the token, so only an answer made after the question is taken.
 */
export async function readSignedAnswer(
  document: Buffer,
  askedAtMs: number,
  { url, issuer, clientId, algorithms, keySet, clockSkewMs, clock }: SignedAnswerOptions,
): Promise<{ readonly answer: JsonObject } | Deny> {
  const fault = (what: string) => new Fault('introspection', `${url} answered with a JWT ${what}.`);
  const raw = document.toString('latin1').trim();
  const jwt = parseIssuerJwt(raw);
  if (jwt === null) throw fault('that is not well-formed');
  // RFC 9701 §5, §8.1: nothing else that the issuer signs is typed so.
  if (mediaTypeOf(jwt.header) !== 'token-introspection+jwt') throw fault('that is no introspection answer');
  const hint = readKeyHint(jwt.header, algorithms);
  if (typeof hint === 'string') throw fault(`whose ${hint}`);
  const { iss, aud, iat, token_introspection: answer } = jwt.payload;
  if (iss !== issuer) throw fault('of another issuer');
  if (aud !== clientId && !(Array.isArray(aud) && aud.includes(clientId))) throw fault('for somebody else');
  // The claim is in whole seconds.
  const isFresh = typeof iat === 'number' && iat * 1000 > askedAtMs - clockSkewMs - 1000;
  if (!isFresh || iat * 1000 > clock() + clockSkewMs) throw fault('that was not made just now');
  if (!isJsonObject(answer)) throw fault('without an answer');
  const keys = await keySet.find(hint.kid, hint.algorithm);
  if (isDeny(keys)) return keys;
  if ((await findSigner(raw, hint.algorithm, keys)) === null) throw fault('whose signature is not by its issuer');
  return { answer };
}

export type AnswerOrigin = {
  readonly issuer: string;
  readonly dialect: Dialect;
  /** SHA-256 of the token. */
  readonly digest: string;
};

/** The token that an answer tells of; a Deny where it is not good. Throws a Fault where the answer says neither. */
export function readIntrospected(
  answer: JsonObject,
  { issuer, dialect, digest }: AnswerOrigin,
  url: string,
): AccessToken | Deny {
  // RFC 7662 §2.2: a boolean. What merely looks like one is not to be guessed at.
  if (typeof answer.active !== 'boolean') throw new Fault('introspection', `${url} did not say active.`);
  if (!answer.active) return invalidToken('the issuer says that the token is not active');
  // It may leave out who issued the token, but not name somebody else.
  const { iss = issuer } = answer;
  if (iss !== issuer) return invalidToken('the issuer says that the token is of another issuer');
  const accessToken = readAccessTokenClaims({ ...answer, iss }, { dialect, source: 'introspection', digest });
  if (typeof accessToken === 'string') return invalidToken(accessToken);
  const problem = typeProblem(accessToken, dialect);
  return problem === null ? accessToken : invalidToken(problem);
}

/**
 * Issuers answer about refresh tokens too (RFC 7662 §2.1), so the answer must say that this is an access token: by
 * token_type, which belongs to access tokens (RFC 6749 §7.1), by Ory's token_use or by Keycloak's typ. Stricter than the
 * RFC, where token_type is optional.
 */
function typeProblem({ claims, confirmation }: AccessToken, { payloadTypes }: Dialect): string | null {
  const { token_type: type, token_use: use, typ } = claims;
  if (use !== undefined && use !== 'access_token') return 'the issuer says that the token is no access token';
  if (payloadTypes !== null && typ !== undefined && !(typeof typ === 'string' && payloadTypes.has(typ.toLowerCase()))) {
    return 'the issuer says that the token is no access token';
  }
  if (type === undefined) {
    const isKnown = use !== undefined || (payloadTypes !== null && typ !== undefined);
    return isKnown ? null : 'the issuer does not say that the token is an access token';
  }
  const scheme = typeof type === 'string' ? type.toLowerCase() : '';
  if (scheme !== 'dpop' && scheme !== 'bearer') return 'the issuer says that the token is of an unknown type';
  // RFC 9449 §6.2: the two go together.
  return (scheme === 'dpop') === (confirmation.jkt !== null) ? null : 'token_type and cnf contradict each other';
}
