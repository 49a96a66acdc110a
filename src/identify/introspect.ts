/**
 * Opaque access tokens: the issuer is asked about each (RFC 7662), and its answer kept for as long as it may be old.
 * Possession, audience and revocation are checked on every call as for any token; the issuer checks none of them.
 */

import { LRUCache } from 'lru-cache';
import type { Agent } from 'undici';
import { type Deny, deny, isDeny } from '../decision.ts';
import { Fault } from '../errors.ts';
import type { AccessToken } from '../exchange.ts';
import type { VerifiedAccessToken } from './access-token.ts';
import { allowedAlgorithms } from './algorithms.ts';
import { createBreaker } from './breaker.ts';
import { type Dialect, introspectionDialect, strictDialect } from './dialects.ts';
import { readIntrospected, readPlainAnswer, readSignedAnswer } from './introspection-answer.ts';
import { createAskIssuer, type IntrospectionEndpoint } from './introspection-request.ts';
import { createIssuerDispatcher } from './issuer-dispatcher.ts';
import type { KeySet } from './key-set.ts';
import { checkLifetime, checkTimes, invalidToken, notBeforeMs } from './token-validity.ts';

export type Introspect = {
  /** The digest is the token's SHA-256. */
  readonly verify: (raw: string, digest: string) => VerifiedAccessToken | Deny | Promise<VerifiedAccessToken | Deny>;
  /** What went wrong the last time; null when it went well. */
  readonly problem: () => string | null;
  /** The same while the issuer is left alone, for it failed again and again; null while it is asked. */
  readonly outage: () => string | null;
  readonly close: () => Promise<void>;
};

export type IntrospectOptions = {
  readonly issuer: string;
  readonly dialect?: Dialect | undefined;
  readonly algorithms: readonly string[];
  readonly clockSkewMs: number;
  /** From iat to exp; any where absent. */
  readonly lifetimeMaxMs?: number | undefined;
  /** For signed answers. */
  readonly keySet: KeySet;
  readonly endpoint: IntrospectionEndpoint;
  /** How old an answer that allows the token may become, and one that does not. */
  readonly cacheMs: number;
  readonly negativeCacheMs: number;
  readonly clock: () => number;
  readonly cacheMax?: number;
  /** After each question that got no answer to go by; `error` only where the fault is unforeseen. Must not throw. */
  readonly onFailure?: ((event: { readonly problem: string; readonly error?: unknown }) => void) | undefined;
};

type Known = { readonly verified: VerifiedAccessToken; readonly fromMs: number; readonly untilMs: number };
type Refused = { readonly refusal: Deny; readonly untilMs: number };

// Questions at once. Anybody can make up tokens, so whoever floods us must not make us flood the issuer.
const underWayMax = 128;
const connectionsMax = 16;
const breakerBounds = { failuresMax: 5, firstWaitMs: 1000, longestWaitMs: 30_000 };

/** Prepares the introspection of one issuer's opaque tokens. Asks nothing yet. */
export function createIntrospect(options: IntrospectOptions): Introspect {
  const { clock, clockSkewMs, endpoint, cacheMs, negativeCacheMs, cacheMax = 10_000, onFailure } = options;
  const dispatcher = createIssuerDispatcher(connectionsMax, endpoint.timeoutMs);
  const learn = createLearn(options, dispatcher);
  const known = new LRUCache<string, Known>({ max: cacheMax });
  // Apart from the good ones, so that made-up tokens push out none of them.
  const refused = new LRUCache<string, Refused>({ max: cacheMax });
  const underWay = new Map<string, Promise<VerifiedAccessToken | Deny>>();
  const breaker = createBreaker({ clock, ...breakerBounds });
  let problem: string | null = null;

  async function verify(raw: string, digest: string): Promise<VerifiedAccessToken | Deny> {
    const askedAtMs = clock();
    try {
      const result = await learn(raw, digest);
      breaker.succeeded();
      problem = null;
      if (!isDeny(result)) {
        const verified = Object.freeze({ accessToken: result, sha256: digest });
        const fromMs = notBeforeMs(result, clockSkewMs);
        // Not past its expiry, whatever the skew: from then on the issuer can tell better.
        known.set(digest, { verified, fromMs, untilMs: Math.min(result.expiresAtMs, askedAtMs + cacheMs) });
        return verified;
      }
      // Keys of the issuer that are out of reach say nothing about the token.
      if (result.reason !== 'issuer_unavailable') {
        refused.set(digest, { refusal: result, untilMs: askedAtMs + negativeCacheMs });
      }
      return result;
    } catch (error) {
      return fail(error);
    }
  }

  function fail(error: unknown): Deny {
    const isForeseen = error instanceof Fault;
    problem = isForeseen ? error.message : `The answer of ${endpoint.url} could not be read.`;
    breaker.failed();
    onFailure?.({ problem, ...(isForeseen ? {} : { error }) });
    return unavailable('the issuer gave no answer about the token');
  }

  function unavailable(cause: string): Deny {
    return deny('issuer_unavailable', {
      detail: 'The token issuer cannot be asked about the token right now. Try again.',
      cause,
      retryAfterSeconds: Math.max(1, Math.ceil(breaker.waitMs() / 1000)),
    });
  }

  return {
    problem: () => problem,
    outage: () => (breaker.isOpen() ? problem : null),
    close: () => dispatcher.close(),
    verify(raw, digest) {
      const nowMs = clock();
      const found = known.get(digest);
      if (found !== undefined && nowMs >= found.fromMs && nowMs < found.untilMs) return found.verified;
      const refusal = refused.get(digest);
      if (refusal !== undefined && nowMs < refusal.untilMs) return refusal.refusal;
      const shared = underWay.get(digest);
      if (shared !== undefined) return shared;
      if (underWay.size >= underWayMax) return unavailable('too many tokens are being asked about');
      if (!breaker.allows(underWay.size)) return unavailable('the issuer gave no answers lately');
      const asking = verify(raw, digest).finally(() => underWay.delete(digest));
      underWay.set(digest, asking);
      return asking;
    },
  };
}

/** Asks about one token, and checks what is said. Rejects where there is no answer to go by. */
function createLearn(options: IntrospectOptions, dispatcher: Agent) {
  const { issuer, endpoint, clock, clockSkewMs, lifetimeMaxMs } = options;
  const dialect = introspectionDialect(options.dialect ?? strictDialect);
  const signed = { ...options, ...endpoint, algorithms: allowedAlgorithms(options.algorithms) };
  const ask = createAskIssuer(endpoint, dispatcher);
  return async (raw: string, digest: string): Promise<AccessToken | Deny> => {
    const askedAtMs = clock();
    const document = await ask(raw);
    if (document === null) return invalidToken('the issuer would not introspect such a token');
    const read =
      endpoint.accept === 'json'
        ? { answer: readPlainAnswer(document, endpoint.url) }
        : await readSignedAnswer(document, askedAtMs, signed);
    if (isDeny(read)) return read;
    const accessToken = readIntrospected(read.answer, { issuer, dialect, digest }, endpoint.url);
    if (isDeny(accessToken)) return accessToken;
    return checkTimes(accessToken, clockSkewMs, clock()) ?? checkLifetime(accessToken, lifetimeMaxMs) ?? accessToken;
  };
}
