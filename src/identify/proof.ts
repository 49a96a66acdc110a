/** DPoP proofs (RFC 9449 §4.3). Whether a proof was used before is the store's to say: see `singleUse`. */

import { LRUCache } from 'lru-cache';
import { type Deny, deny } from '../decision.ts';
import { Fault } from '../errors.ts';
import type { ContentDigest, Possession } from '../exchange.ts';
import { allowedAlgorithms } from './algorithms.ts';
import { readContentDigest } from './content-digest.ts';
import { equalInConstantTime, sha256 } from './encoding.ts';
import { createMatchHtu, type MatchHtu } from './htu.ts';
import { createInTurn } from './in-turn.ts';
import { decodeSignature, type JsonObject, parseJwsPart, splitCompactJws } from './jws.ts';
import type { Nonces } from './nonce.ts';
import { importProofKey, type ProofHeader, readProofHeader } from './proof-header.ts';
import { canVerify, createIsSignature, type IsSignature } from './signature.ts';

/** What a proof must have been made for. */
export type ProofContext = {
  readonly method: string;
  /** Canonical, see Target. */
  readonly path: string;
  /** base64url(SHA-256(access token)). */
  readonly accessTokenSha256: string;
  /** `cnf.jkt` of the access token. */
  readonly jkt: string;
};

export type VerifiedProof = {
  readonly ageMs: number;
  readonly hasNonce: boolean;
  readonly singleUse: NonNullable<Possession['singleUse']>;
  /** A newer nonce than the one that the client used, when that one is about to expire. */
  readonly nextNonce: string | null;
  /** What the body must hash to; whoever reads the body compares. */
  readonly contentDigest: readonly ContentDigest[] | null;
  readonly signedReason: unknown;
};

export type VerifyProof = (proof: string, context: ProofContext) => Promise<VerifiedProof | Deny>;

/** How far from now a proof's `iat` may be. */
export type ProofWindow = { readonly pastMs: number; readonly futureMs: number };

export type VerifyProofOptions = {
  readonly publicOrigin: string;
  readonly algorithms: readonly string[];
  readonly window: 'strict' | 'mcp' | ProofWindow;
  /** Null when nonces are off; a nonce that a client sends nevertheless is then ignored. */
  readonly nonces: Nonces | null;
  readonly clock: () => number;
  readonly proofBytesMax: number;
  /** How many clients' keys are kept ready. */
  readonly keysMax?: number;
};

type ReadyKey = { readonly jkt: string; readonly isSignature: IsSignature };

type Settings = {
  readonly matchHtu: MatchHtu;
  readonly window: ProofWindow;
  readonly nonces: Nonces | null;
};

// The MCP authorization extension requires five minutes both ways; agents elsewhere make a proof when they need it.
const windows: Readonly<Record<'strict' | 'mcp', ProofWindow>> = {
  strict: { pastMs: 60_000, futureMs: 10_000 },
  mcp: { pastMs: 300_000, futureMs: 300_000 },
};
const jtiCharactersMax = 256;
// Allowed between our clock and the client's where a proof carries nbf or exp.
const clockSkewMs = 10_000;
// How far the clocks of two replicas may differ before a proof outlives its entry in the store.
const replicaClockSkewMs = 60_000;
// An RSA key of 4096 bits makes a header of about 1030 characters. Longer ones are verified all the same, not kept.
const keptHeaderCharactersMax = 1536;

/** Prepares the verification of proofs for one listener. */
export function createVerifyProof(options: VerifyProofOptions): VerifyProof {
  const { nonces, clock, proofBytesMax, keysMax = 5000 } = options;
  const allowed = allowedAlgorithms(options.algorithms);
  for (const algorithm of allowed) {
    if (!canVerify(algorithm)) throw new Fault('proof_algorithm', `Proofs with ${algorithm} can't be verified.`);
  }
  const settings: Settings = {
    matchHtu: createMatchHtu(options.publicOrigin),
    window: typeof options.window === 'string' ? windows[options.window] : options.window,
    nonces,
  };
  // A client's header is the same in each of its proofs, so what was found out about it is kept by its very text. Only
  // headers whose key belongs to a verified access token and has made a good signature get in.
  const keys = new LRUCache<string, ReadyKey>({ max: keysMax });

  const inTurn = createInTurn();

  return async (proof, context) => {
    // RFC 9449 §4.3 (2): one well-formed JWS. The limit comes before any other work.
    if (proof.length > proofBytesMax) return invalid('proof is too large');
    const parts = splitCompactJws(proof);
    if (parts === null) return invalid('proof is not a compact JWS');
    const kept = keys.get(parts.header);
    const header = kept ?? readProofHeader(parts.header, allowed);
    if (typeof header === 'string') return invalid(header);
    const payload = parseJwsPart(parts.payload);
    if (payload === null) return invalid('proof payload is not base64url of a JSON object with unique names');
    const nowMs = clock();
    const claims = checkClaims(payload, context, settings, nowMs);
    if (typeof claims === 'string') return invalid(claims);
    const nonce = checkNonce(payload, nonces);
    if (typeof nonce === 'object') return nonce;
    // RFC 9449 §4.3 (12b), §6.1: the key must be the one that the access token is bound to.
    if (!equalInConstantTime(header.jkt, context.jkt)) return mismatch();
    // RFC 9449 §4.3 (6), and last, because it costs more than all of the above.
    const ready = 'isSignature' in header ? header : prepare(header);
    if (ready === null) return invalid('proof jwk is not a valid key');
    const signature = decodeSignature(parts.signature);
    const signed = proof.slice(0, parts.header.length + 1 + parts.payload.length);
    if (signature === null || !(await inTurn(() => ready.isSignature(signed, signature)))) {
      return invalid('proof signature is not by its jwk');
    }
    if (kept === undefined && parts.header.length <= keptHeaderCharactersMax) keys.set(parts.header, ready);
    return {
      ageMs: Math.floor(nowMs - claims.iatMs),
      hasNonce: nonce !== 'off',
      singleUse: singleUseOf(header.jkt, claims, settings.window, nowMs),
      nextNonce: nonce === 'previous' && nonces !== null ? nonces.issue() : null,
      contentDigest: claims.contentDigest,
      signedReason: payload.reason,
    };
  };
}

function prepare(header: ProofHeader): ReadyKey | null {
  const key = importProofKey(header.jwk);
  return key === null ? null : { jkt: header.jkt, isSignature: createIsSignature(header.algorithm, key) };
}

type ProofClaims = {
  readonly jti: string;
  readonly iatMs: number;
  readonly contentDigest: readonly ContentDigest[] | null;
};

/** What later stages need of the claims, or the check that failed. Claims not named here are tolerated (§4.2). */
function checkClaims(
  payload: JsonObject,
  context: ProofContext,
  { matchHtu, window }: Settings,
  nowMs: number,
): ProofClaims | string {
  const { jti, htm, htu, iat, ath, nbf, exp } = payload;
  // RFC 9449 §4.3 (3): every claim, and of its type. §11.1: no jti so large that keeping track of it is an attack.
  if (typeof jti !== 'string' || jti === '' || jti.length > jtiCharactersMax)
    return 'proof jti is not 1 to 256 characters';
  if (!isNumericDate(iat)) return 'proof iat is not a number';
  // RFC 9449 §4.3 (8), RFC 9110 §9.1: methods are case-sensitive.
  if (htm !== context.method) return 'proof htm differs from the request';
  // RFC 9449 §4.3 (11), §11.1: made just now, by the client's clock.
  const iatMs = iat * 1000;
  if (nowMs - iatMs > window.pastMs) return 'proof iat is too old';
  if (iatMs - nowMs > window.futureMs) return 'proof iat is in the future';
  // RFC 7519 §4.1.4, §4.1.5: nothing asks for these in a proof, but a client that sets them means them.
  if (nbf !== undefined && !(isNumericDate(nbf) && nbf * 1000 <= nowMs + clockSkewMs))
    return 'proof nbf is not reached';
  if (exp !== undefined && !(isNumericDate(exp) && exp * 1000 > nowMs - clockSkewMs)) return 'proof exp has passed';
  // RFC 9449 §4.3 (12a): made for this very access token.
  if (typeof ath !== 'string' || !equalInConstantTime(ath, context.accessTokenSha256)) {
    return 'proof ath differs from the access token';
  }
  // RFC 9449 §4.3 (9).
  if (typeof htu !== 'string' || !matchHtu(htu, context.path)) return 'proof htu differs from the request';
  // A private claim (RFC 9449 §4.2). A client that sets it means it, so one that can't be read is no proof of the body.
  const contentDigest = payload.content_digest === undefined ? null : readContentDigest(payload.content_digest);
  return typeof contentDigest === 'string' ? contentDigest : { jti, iatMs, contentDigest };
}

/** RFC 7519 §2: a JSON number, fractions allowed, that a double can hold. */
function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

/** RFC 9449 §4.3 (10), §9: where nonces are on, a proof without a recent one of ours is told to come again with it. */
function checkNonce(payload: JsonObject, nonces: Nonces | null): 'off' | 'previous' | 'current' | 'next' | Deny {
  if (nonces === null) return 'off';
  const { nonce } = payload;
  const step = typeof nonce === 'string' ? nonces.check(nonce) : null;
  if (step !== null) return step;
  return deny('proof_nonce_required', {
    detail: 'Make a new proof with the nonce of the DPoP-Nonce field.',
    cause: nonce === undefined ? 'proof has no nonce' : 'proof nonce is not a recent one of ours',
    challenge: { scheme: 'DPoP' },
    nonce: nonces.issue(),
  });
}

/**
 * RFC 9449 §11.1: the jti, in the context of its key, so that no client can use up another's. The entry must outlive
 * the last moment at which any replica would take this proof: not now plus the window, but iat plus the window (a proof
 * may be dated ahead), and then the clocks' differences.
 */
function singleUseOf(jkt: string, { jti, iatMs }: ProofClaims, window: ProofWindow, nowMs: number) {
  const acceptedForMs = Math.ceil(iatMs + window.pastMs - nowMs);
  const lifetimeMs = acceptedForMs + window.futureMs + replicaClockSkewMs;
  return { key: sha256(`${jkt}\0${jti}`), lifetimeMs, madeAtMs: Math.floor(iatMs) };
}

const proofDetail =
  'Make a new DPoP proof for each request: right method, public URL, access token hash, time and key, and a new jti.';

function invalid(cause: string): Deny {
  return deny('proof_invalid', { detail: proofDetail, cause, challenge: { scheme: 'DPoP' } });
}

function mismatch(): Deny {
  return deny('key_mismatch', {
    detail: 'Sign the proof with the key that the access token was issued for.',
    cause: 'proof jwk is not the key of cnf.jkt',
    challenge: { scheme: 'DPoP' },
  });
}
