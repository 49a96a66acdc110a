/** Who calls, and with what right: one access token, meant for this API, presented by whoever holds its key. */

import { type Deny, deny, isDeny } from '../decision.ts';
import type { AccessToken, ClientRequest, Identity, Possession, Route } from '../exchange.ts';
import type { VerifiedAccessToken, VerifyAccessToken } from './access-token.ts';
import { type Authorization, readAuthorization } from './authorization.ts';
import { equalInConstantTime } from './encoding.ts';
import type { Nonces } from './nonce.ts';
import type { VerifyProof } from './proof.ts';
import type { StatusLists } from './status-lists.ts';

export type Identify = (request: ClientRequest, route: Route) => Promise<Identity | Deny>;

export type IdentifyOptions = {
  readonly verifyAccessToken: VerifyAccessToken;
  readonly verifyProof: VerifyProof;
  /** The same as verifyProof has; null when nonces are off. */
  readonly nonces: Nonces | null;
  /** What the issuer's status lists say of a token; without it nobody is asked. */
  readonly checkStatus?: StatusLists['check'] | undefined;
};

type Presentation = {
  readonly authorization: Authorization;
  readonly proof: string | null;
  readonly request: ClientRequest;
  readonly route: Route;
};

/**
 * Prepares the identify stage. It does not say whether the token was revoked or the proof used before: the store does,
 * asked with what this returns.
 */
export function createIdentify(options: IdentifyOptions): Identify {
  const { verifyAccessToken, verifyProof, nonces, checkStatus } = options;
  return async (request, route) => {
    const authorization = readAuthorization(request);
    if (isDeny(authorization)) return authorization;
    const { scheme } = authorization;
    const proof = scheme === 'DPoP' ? readProof(request, nonces) : null;
    if (typeof proof === 'object' && proof !== null) return proof;
    const verified = await verifyAccessToken(authorization.raw);
    if (isDeny(verified)) return withScheme(verified, scheme);
    const { accessToken } = verified;
    const identity = await accept(verified, { authorization, proof, request, route });
    if (isDeny(identity)) return { ...identity, presented: accessToken };
    // After everything else, so that nobody but the holder of the key makes us fetch a list. On every request, because
    // a remembered token may have been revoked since.
    const status = checkStatus?.(accessToken) ?? null;
    const refusal = status instanceof Promise ? await status : status;
    return refusal === null ? identity : { ...withScheme(refusal, scheme), presented: accessToken };
  };

  async function accept(
    verified: VerifiedAccessToken,
    { authorization, proof, request, route }: Presentation,
  ): Promise<Identity | Deny> {
    const { accessToken } = verified;
    // RFC 9068 §4: the token must be meant for this very API.
    if (!accessToken.audience.includes(route.audience)) return wrongAudience(authorization);
    return proof === null
      ? identifyBearer(accessToken, request, route)
      : identifyDpop(verified, proof, request, route, verifyProof);
  }
}

/** RFC 9449 §4.3 (1), §7.1: exactly one DPoP field. */
function readProof(request: ClientRequest, nonces: Nonces | null): string | Deny {
  const proofs = request.fields.get('dpop') ?? [];
  const proof = proofs[0];
  if (proof === undefined) {
    return deny('proof_missing', {
      detail: 'Send a DPoP field with a proof made for this request.',
      cause: 'no DPoP field',
      challenge: { scheme: 'DPoP' },
      nonce: nonces?.issue(),
    });
  }
  if (proofs.length === 1) return proof;
  return deny('proof_invalid', {
    detail: 'Send exactly one DPoP field.',
    cause: 'more than one DPoP field',
    challenge: { scheme: 'DPoP' },
  });
}

async function identifyDpop(
  { accessToken, sha256 }: VerifiedAccessToken,
  proof: string,
  request: ClientRequest,
  route: Route,
  verifyProof: VerifyProof,
): Promise<Identity | Deny> {
  const { jkt, x5t } = accessToken.confirmation;
  // RFC 9449 §7.1: the DPoP scheme is for tokens bound by jkt. The member of cnf decides the method, not the client.
  if (jkt === null)
    return badToken('DPoP', 'token is not bound to a DPoP key', 'Get an access token bound to a DPoP key.');
  if (!route.accepts.includes('dpop')) {
    return badToken('DPoP', 'route does not accept DPoP', 'This API does not take DPoP-bound access tokens.');
  }
  const context = { method: request.method, path: request.target.path, accessTokenSha256: sha256, jkt };
  const verified = await verifyProof(proof, context);
  if (isDeny(verified)) return verified;
  // A token bound to a key and a certificate needs both.
  if (x5t !== null && !hasCertificate(request, x5t)) return wrongCertificate('DPoP');
  if (verified.contentDigest === null && needsDigest(request, route)) return unboundBody;
  const { ageMs, hasNonce, singleUse, ...said } = verified;
  const possession: Possession = { method: 'dpop', jkt, x5t, proofAgeMs: ageMs, hasNonce, singleUse };
  return { accessToken, possession, ...said };
}

function identifyBearer(accessToken: AccessToken, request: ClientRequest, route: Route): Identity | Deny {
  const { jkt, x5t } = accessToken.confirmation;
  // RFC 9449 §7.2: never a downgrade, a valid proof alongside or not.
  if (jkt !== null) {
    return badToken(
      'Bearer',
      'DPoP-bound token presented as Bearer',
      'Present this access token with the DPoP scheme and a proof.',
    );
  }
  // A proof holds the hash of a bound token, and this one is not bound: one of the two is a mistake, or worse.
  if (request.fields.has('dpop')) {
    return deny('proof_invalid', {
      detail: 'Send a DPoP proof only with an access token that is bound to its key.',
      cause: 'DPoP field beside the Bearer scheme',
      challenge: { scheme: 'DPoP' },
    });
  }
  if (x5t === null) {
    if (route.accepts.includes('bearer')) return { accessToken, possession: unproven('none', null), ...nothingSaid };
    return badToken('Bearer', 'token is not bound to a key', 'Get an access token bound to a key, such as with DPoP.');
  }
  if (!route.accepts.includes('mtls')) {
    return badToken('Bearer', 'route does not accept mTLS', 'This API does not take certificate-bound access tokens.');
  }
  // RFC 8705 §3: the certificate of this very connection; the scheme stays Bearer.
  if (!hasCertificate(request, x5t)) return wrongCertificate('Bearer');
  return { accessToken, possession: unproven('mtls', x5t), ...nothingSaid };
}

function hasCertificate(request: ClientRequest, x5t: string): boolean {
  const { certificate } = request.source;
  return certificate !== null && equalInConstantTime(certificate.thumbprint, x5t);
}

function unproven(method: 'mtls' | 'none', x5t: string | null): Possession {
  return { method, jkt: null, x5t, proofAgeMs: 0, hasNonce: false, singleUse: null };
}

/** Where there is no proof. */
const nothingSaid = { nextNonce: null, contentDigest: null, signedReason: undefined };

const writes: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** A write without a body is bound to the empty one, so that no body can be put into it. */
function needsDigest({ method, bodyBytes }: ClientRequest, { bodyBinding }: Route): boolean {
  return bodyBinding === 'required' && (writes.has(method) || bodyBytes !== 0);
}

const unboundBody = deny('proof_invalid', {
  detail: 'Make a new DPoP proof with a claim content_digest of the body, such as sha-256=:<base64>:.',
  cause: 'proof has no content_digest, which the route requires',
  challenge: { scheme: 'DPoP' },
});

function wrongAudience({ scheme }: Authorization): Deny {
  return deny('audience_mismatch', {
    detail: 'Get an access token whose audience is this API.',
    cause: 'token aud does not contain the audience of the route',
    challenge: { scheme },
  });
}

function wrongCertificate(scheme: 'DPoP' | 'Bearer'): Deny {
  return deny('key_mismatch', {
    detail: 'Connect with the client certificate that the access token was issued for.',
    cause: 'client certificate is not that of cnf.x5t#S256',
    challenge: { scheme },
  });
}

function badToken(scheme: 'DPoP' | 'Bearer', cause: string, detail: string): Deny {
  return deny('token_invalid', { detail, cause, challenge: { scheme } });
}

/** Where the answer is a challenge, its error goes on the scheme that the client used. */
function withScheme(refusal: Deny, scheme: 'DPoP' | 'Bearer'): Deny {
  return refusal.reason === 'issuer_unavailable' ? refusal : { ...refusal, challenge: { scheme } };
}
