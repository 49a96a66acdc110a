/**
 * Access tokens as JWTs (RFC 9068, RFC 8725), in the dialect of their issuer: signature, issuer, type and times. The
 * audience belongs to the route, and possession of the key to the request: identify.ts checks both on every call, these
 * results being shared between calls.
 */

import { LRUCache } from 'lru-cache';
import { type Deny, isDeny } from '../decision.ts';
import type { AccessToken } from '../exchange.ts';
import { readAccessTokenClaims } from './access-token-claims.ts';
import { allowedAlgorithms } from './algorithms.ts';
import { type Dialect, strictDialect } from './dialects.ts';
import { sha256 } from './encoding.ts';
import { findSigner, parseIssuerJwt, readKeyHint } from './issuer-jwt.ts';
import type { KeySet } from './key-set.ts';
import { headerTypeProblem, shapeProblem } from './token-kind.ts';
import { checkLifetime, checkTimes, invalidToken, notBeforeMs } from './token-validity.ts';

export type TokenIssuer = {
  /** Compared exactly with `iss`. */
  readonly issuer: string;
  readonly algorithms: readonly string[];
  readonly clockSkewMs: number;
  /** From iat to exp; any where absent. */
  readonly lifetimeMaxMs?: number | undefined;
  readonly keySet: KeySet;
  /** RFC 9068 where there is none. */
  readonly dialect?: Dialect | undefined;
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
  /** Takes tokens that are no JWTs, with their SHA-256; without it they are refused. */
  readonly introspect?: ((raw: string, digest: string) => ReturnType<VerifyAccessToken>) | undefined;
  /** How many verified tokens are remembered. */
  readonly cacheMax?: number;
};

type TrustedIssuer = Omit<TokenIssuer, 'algorithms' | 'dialect'> & {
  readonly algorithms: ReadonlySet<string>;
  readonly dialect: Dialect;
};

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

/** Prepares the verification of tokens from these issuers. Successes are remembered, refusals never. */
export function createVerifyAccessToken(options: VerifyAccessTokenOptions): VerifyAccessToken {
  const { clock, tokenBytesMax, introspect, cacheMax = 10_000 } = options;
  const issuers: ReadonlyMap<string, TrustedIssuer> = new Map(
    options.issuers.map(({ algorithms, dialect = strictDialect, ...issuer }) => [
      issuer.issuer,
      { ...issuer, algorithms: allowedAlgorithms(algorithms), dialect },
    ]),
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
    if (thumbprint === null) return invalidToken('token signature is not by its issuer');
    const verified = Object.freeze({ accessToken, sha256: digest });
    const fromMs = notBeforeMs(accessToken, issuer.clockSkewMs);
    const untilMs = Math.min(accessToken.expiresAtMs + issuer.clockSkewMs, clock() + rememberedMs);
    remembered.set(digest, { verified, issuer, thumbprint, fromMs, untilMs });
    return verified;
  }

  return (raw) => {
    // Before any other work: the characters are ASCII, so this counts bytes.
    if (raw.length > tokenBytesMax) return invalidToken('token is too large');
    const digest = sha256(raw);
    const known = remembered.get(digest);
    if (known !== undefined) {
      const nowMs = clock();
      // Times are checked on every call, and so is the key: what the issuer has withdrawn verifies nothing any more.
      const isGood = nowMs >= known.fromMs && nowMs < known.untilMs && known.issuer.keySet.trusts(known.thumbprint);
      if (isGood) return known.verified;
      remembered.delete(digest);
    }
    if (introspect !== undefined && !hasThreeParts(raw)) return introspect(raw, digest);
    const shared = underWay.get(digest);
    if (shared !== undefined) return shared;
    const verifying = verify(raw, digest).finally(() => underWay.delete(digest));
    underWay.set(digest, verifying);
    return verifying;
  };
}

/** RFC 7515 §7.1. What has two dots is a JWT or nothing, so none can be mangled into one that is asked about. */
function hasThreeParts(raw: string): boolean {
  const first = raw.indexOf('.');
  const second = first < 0 ? -1 : raw.indexOf('.', first + 1);
  return second >= 0 && raw.indexOf('.', second + 1) < 0;
}

/** Everything but the signature. What is refused here never asks for a key, so it cannot cause a fetch. */
function readCandidate(raw: string, issuers: ReadonlyMap<string, TrustedIssuer>, nowMs: number): Candidate | Deny {
  const jwt = parseIssuerJwt(raw);
  if (jwt === null) return invalidToken('token is not a well-formed compact JWS');
  const { header, payload, signed } = jwt;
  // RFC 9068 §4: iss must be, exactly, an issuer that is configured. Unverified yet, it only picks dialect and key set.
  const { iss } = payload;
  const issuer = typeof iss === 'string' ? issuers.get(iss) : undefined;
  if (issuer === undefined) return invalidToken('token iss is not a configured issuer');
  const { dialect, clockSkewMs, lifetimeMaxMs } = issuer;
  const typeProblem = headerTypeProblem(header, dialect);
  if (typeProblem !== null) return invalidToken(typeProblem);
  const hint = readKeyHint(header, issuer.algorithms);
  if (typeof hint === 'string') return invalidToken(`token ${hint}`);
  // Whoever holds the token can write its signature in another way, but not what is signed.
  const accessToken = readAccessTokenClaims(payload, { dialect, source: 'jwt', digest: sha256(signed) });
  if (typeof accessToken === 'string') return invalidToken(accessToken);
  const shape = shapeProblem(header, accessToken, dialect);
  if (shape !== null) return invalidToken(shape);
  const refusal = checkTimes(accessToken, clockSkewMs, nowMs) ?? checkLifetime(accessToken, lifetimeMaxMs);
  return refusal ?? { accessToken, issuer, ...hint };
}
