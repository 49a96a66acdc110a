/**
 * Access tokens as JWTs (RFC 9068, RFC 8725): signature, issuer, type and times. The audience belongs to the route, and
 * possession of the key to the request: identify.ts checks both on every call, these results being shared between calls.
 */

import { compactVerify, errors as joseErrors } from 'jose';
import { LRUCache } from 'lru-cache';
import { type Deny, deny, isDeny } from '../decision.ts';
import type { AccessToken } from '../exchange.ts';
import { readAccessTokenClaims } from './access-token-claims.ts';
import { allowedAlgorithms, keyFitOf } from './algorithms.ts';
import { sha256 } from './encoding.ts';
import { decodeSignature, hasExtensions, type JsonObject, mediaTypeOf, parseJwsPart, splitCompactJws } from './jws.ts';
import type { KeyCandidate, KeySet } from './key-set.ts';

export type TokenIssuer = {
  /** Compared exactly with `iss`. */
  readonly issuer: string;
  readonly algorithms: readonly string[];
  readonly clockSkewMs: number;
  readonly keySet: KeySet;
};

export type VerifiedAccessToken = {
  readonly accessToken: AccessToken;
  /** base64url(SHA-256(the token as presented)), which a proof repeats as `ath` (RFC 9449 §4.2). */
  readonly sha256: string;
};

export type VerifyAccessToken = (raw: string) => VerifiedAccessToken | Deny | Promise<VerifiedAccessToken | Deny>;

export type VerifyAccessTokenOptions = {
  readonly issuers: readonly TokenIssuer[];
  readonly clock: () => number;
  readonly tokenBytesMax: number;
  /** How many verified tokens are remembered. */
  readonly cacheMax?: number;
};

type TrustedIssuer = Omit<TokenIssuer, 'algorithms'> & { readonly algorithms: ReadonlySet<string> };

type Remembered = {
  readonly verified: VerifiedAccessToken;
  readonly issuer: TrustedIssuer;
  readonly thumbprint: string;
  readonly fromMs: number;
  readonly untilMs: number;
};

/** A token vetted but for its signature. */
type Candidate = {
  readonly accessToken: AccessToken;
  readonly issuer: TrustedIssuer;
  readonly algorithm: string;
  readonly kid: string | null;
};

const rememberedMs = 300_000;
// RFC 8725 §3.11: JWTs that an access token must never be mistaken for, whatever else a dialect may let through.
const otherTypes: ReadonlySet<string> = new Set([
  'dpop+jwt',
  'secevent+jwt',
  'logout+jwt',
  'oauth-id-jag+jwt',
  'txntoken+jwt',
  'wit+jwt',
  'wpt+jwt',
  'token-introspection+jwt',
  'entity-statement+jwt',
]);

/** Prepares the verification of tokens from these issuers. Successes are remembered, refusals never. */
export function createVerifyAccessToken(options: VerifyAccessTokenOptions): VerifyAccessToken {
  const { clock, tokenBytesMax, cacheMax = 10_000 } = options;
  const issuers: ReadonlyMap<string, TrustedIssuer> = new Map(
    options.issuers.map((issuer) => [issuer.issuer, { ...issuer, algorithms: allowedAlgorithms(issuer.algorithms) }]),
  );
  // Keyed by a digest of every byte of the token, so no two tokens are ever taken for each other.
  const remembered = new LRUCache<string, Remembered>({ max: cacheMax });
  // One verification for all requests that bring the same new token at once. Bounded by the requests under way.
  const underWay = new Map<string, Promise<VerifiedAccessToken | Deny>>();

  async function verify(raw: string, digest: string): Promise<VerifiedAccessToken | Deny> {
    const candidate = readCandidate(raw, issuers, clock());
    if (isDeny(candidate)) return candidate;
    const { issuer, accessToken } = candidate;
    const keys = await issuer.keySet.find(candidate.kid, candidate.algorithm);
    if (isDeny(keys)) return keys;
    const thumbprint = await findSigner(raw, candidate.algorithm, keys);
    if (thumbprint === null) return invalid('token signature is not by its issuer');
    const verified = Object.freeze({ accessToken, sha256: digest });
    const fromMs = notBeforeMs(accessToken, issuer.clockSkewMs);
    const untilMs = Math.min(accessToken.expiresAtMs + issuer.clockSkewMs, clock() + rememberedMs);
    remembered.set(digest, { verified, issuer, thumbprint, fromMs, untilMs });
    return verified;
  }

  return (raw) => {
    // Before any other work: the characters are ASCII, so this counts bytes.
    if (raw.length > tokenBytesMax) return invalid('token is too large');
    const digest = sha256(raw);
    const known = remembered.get(digest);
    if (known !== undefined) {
      const nowMs = clock();
      // Times are checked on every call, and so is the key: what the issuer has withdrawn verifies nothing any more.
      const isGood = nowMs >= known.fromMs && nowMs < known.untilMs && known.issuer.keySet.trusts(known.thumbprint);
      if (isGood) return known.verified;
      remembered.delete(digest);
    }
    const shared = underWay.get(digest);
    if (shared !== undefined) return shared;
    const verifying = verify(raw, digest).finally(() => underWay.delete(digest));
    underWay.set(digest, verifying);
    return verifying;
  };
}

/** Everything but the signature. What is refused here never asks for a key, so it cannot cause a fetch. */
function readCandidate(raw: string, issuers: ReadonlyMap<string, TrustedIssuer>, nowMs: number): Candidate | Deny {
  const parts = splitCompactJws(raw);
  const header = parts === null ? null : parseJwsPart(parts.header);
  const payload = parts === null ? null : parseJwsPart(parts.payload);
  if (parts === null || header === null || payload === null || decodeSignature(parts.signature) === null) {
    return invalid('token is not a well-formed compact JWS');
  }
  const typeProblem = checkType(header);
  if (typeProblem !== null) return invalid(typeProblem);
  // RFC 7515 §4.1.4: kid only picks among the issuer's keys. jku, x5u, x5c and jwk are not looked at.
  const { alg, kid } = header;
  if (kid !== undefined && typeof kid !== 'string') return invalid('token kid is not a string');
  if (hasExtensions(header)) return invalid('token header asks for an extension');
  // RFC 9068 §4: iss must be, exactly, an issuer that is configured. Unverified yet, it only picks the key set.
  const { iss } = payload;
  const issuer = typeof iss === 'string' ? issuers.get(iss) : undefined;
  if (issuer === undefined) return invalid('token iss is not a configured issuer');
  // RFC 8725 §3.1: the issuer's configured algorithms, never just what the token says.
  if (typeof alg !== 'string' || !issuer.algorithms.has(alg) || keyFitOf(alg) === null) {
    return invalid('token alg is not allowed for its issuer');
  }
  const accessToken = readAccessTokenClaims(payload);
  if (typeof accessToken === 'string') return invalid(accessToken);
  return (
    checkTimes(accessToken, issuer.clockSkewMs, nowMs) ?? { accessToken, issuer, algorithm: alg, kid: kid ?? null }
  );
}

/** RFC 9068 §4: at+jwt, with application/ or without. An ID token, say, says JWT or nothing. */
function checkType(header: JsonObject): string | null {
  const type = mediaTypeOf(header);
  if (otherTypes.has(type)) return 'token typ is that of another kind of JWT';
  return type === 'at+jwt' ? null : 'token typ is not at+jwt';
}

/** RFC 7519 §4.1.4-4.1.6. Stricter in that an iat in the future is refused. */
function checkTimes(accessToken: AccessToken, skewMs: number, nowMs: number): Deny | null {
  if (nowMs >= accessToken.expiresAtMs + skewMs) {
    return deny('token_expired', { detail: 'Get a new access token.', cause: 'token exp has passed' });
  }
  if (nowMs < notBeforeMs(accessToken, skewMs)) return invalid('token iat or nbf is in the future');
  return null;
}

function notBeforeMs({ issuedAtMs, claims }: AccessToken, skewMs: number): number {
  const { nbf } = claims;
  return (typeof nbf === 'number' ? Math.max(issuedAtMs, nbf * 1000) : issuedAtMs) - skewMs;
}

/** The thumbprint of the key that made the signature, or null. */
async function findSigner(raw: string, algorithm: string, keys: readonly KeyCandidate[]): Promise<string | null> {
  for (const { key, thumbprint } of keys) {
    try {
      await compactVerify(raw, key, { algorithms: [algorithm] });
      return thumbprint;
    } catch (error) {
      if (!(error instanceof joseErrors.JOSEError)) throw error;
    }
  }
  return null;
}

function invalid(cause: string): Deny {
  return deny('token_invalid', {
    detail: 'Get a new access token for this API from an issuer that it trusts.',
    cause,
  });
}
