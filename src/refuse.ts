/** How Postern says no: from a Deny to status, challenges and a problem+json body (RFC 9457). */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ChallengeHint, Deny, Reason } from './decision.ts';
import { delivery, discardBody, hasUnreadBody } from './delivery.ts';
import type { Exchange, PossessionMethod, Route } from './exchange.ts';

/** Which challenge a reason calls for. `credentials` carries no error (RFC 6750 §3.1, RFC 9449 §7.2). */
type ChallengeKind =
  | 'none'
  | 'credentials'
  | 'invalid_token'
  | 'invalid_dpop_proof'
  | 'use_dpop_nonce'
  | 'insufficient_scope'
  | 'insufficient_user_authentication';

type Answer = {
  readonly status: number;
  readonly title: string;
  /** What the agent can do about it, where the Deny itself says nothing. */
  readonly detail: string;
  readonly challenge: ChallengeKind;
  readonly retryAfterSeconds?: number;
};

const row = (status: number, title: string, detail: string, challenge: ChallengeKind = 'none'): Answer => ({
  status,
  title,
  detail,
  challenge,
});
const unavailable = (title: string, detail: string): Answer => ({ ...row(503, title, detail), retryAfterSeconds: 2 });

/** One row a reason; the compiler sees to it that none is missing. */
export const answers: Readonly<Record<Reason, Answer>> = {
  request_malformed: row(400, 'Malformed request', 'Send one well-formed HTTP/1.1 request.'),
  target_ambiguous: row(
    400,
    'Ambiguous request target',
    'Send the path in plain form: no dot segments, empty segments, backslashes, semicolons, or encoded slashes and percent signs.',
  ),
  body_malformed: row(400, 'Malformed body', 'Send a body that is valid for its content type.'),
  token_missing: row(
    401,
    'Access token required',
    'Send an access token as "Authorization: DPoP …" with a DPoP proof.',
    'credentials',
  ),
  token_invalid: row(
    401,
    'Access token invalid',
    'Get a new access token from the authorization server.',
    'invalid_token',
  ),
  token_expired: row(
    401,
    'Access token expired',
    'Get a new access token from the authorization server.',
    'invalid_token',
  ),
  token_revoked: row(
    401,
    'Access revoked',
    'This access has been revoked. Ask the owner of the agent; a retry will not help.',
    'invalid_token',
  ),
  key_mismatch: row(
    401,
    'Token is bound to another key',
    'Present the token with the key it was issued for.',
    'invalid_token',
  ),
  audience_mismatch: row(
    401,
    'Token is for another audience',
    'Ask for a token whose audience is this API.',
    'invalid_token',
  ),
  proof_missing: row(
    401,
    'DPoP proof required',
    'Send a DPoP proof made for this request in the DPoP field.',
    'invalid_dpop_proof',
  ),
  proof_invalid: row(
    401,
    'DPoP proof invalid',
    'Make a new DPoP proof for this method, URL and token.',
    'invalid_dpop_proof',
  ),
  proof_replayed: row(
    401,
    'DPoP proof used before',
    'Make a new DPoP proof for each request, retries included.',
    'invalid_dpop_proof',
  ),
  proof_nonce_required: row(
    401,
    'DPoP nonce required',
    'Make a new proof with the nonce of the DPoP-Nonce field.',
    'use_dpop_nonce',
  ),
  step_up_required: row(
    401,
    'Stronger authentication required',
    'Get a new token after the person has authenticated as the challenge asks.',
    'insufficient_user_authentication',
  ),
  scope_insufficient: row(
    403,
    'Scope insufficient',
    'Ask for a token with the scopes that the challenge names.',
    'insufficient_scope',
  ),
  no_matching_rule: row(
    403,
    'No rule allows this',
    'No rule allows this call. Ask the platform team; a retry will not help.',
  ),
  rule_denied: row(403, 'Denied by rule', 'A rule denies this call. Ask the platform team; a retry will not help.'),
  drift_blocked: row(
    403,
    'Behaviour is not that of this agent',
    'The call is far from what this agent has always done. Ask its owner, who can have it looked at.',
  ),
  policy_error: row(
    403,
    'Policy could not be evaluated',
    'A rule could not be evaluated for this call. Ask the platform team.',
  ),
  reason_required: row(
    403,
    'Stated reason required',
    'State why the call is made, in the form that this API asks for.',
  ),
  no_route: row(404, 'No such route', 'No route of this sidecar serves this path.'),
  method_not_allowed: row(405, 'Method not allowed', 'Use one of the methods that the Allow field names.'),
  request_timeout: row(408, 'Request took too long', 'Send the whole request without delay.'),
  body_too_large: row(413, 'Body too large', 'Send a smaller body.'),
  target_too_long: row(414, 'Request target too long', 'Send a shorter path and query.'),
  headers_too_large: row(431, 'Header fields too large', 'Send fewer or smaller header fields.'),
  rate_limited: {
    ...row(429, 'Too many calls', 'Wait as long as Retry-After says, then go on more slowly.'),
    retryAfterSeconds: 1,
  },
  internal_error: row(500, 'Internal error', 'Postern failed. Tell the platform team the decision id.'),
  upstream_failed: row(502, 'Upstream failed', 'The API behind Postern could not be reached or answered with garbage.'),
  upstream_auth_failed: row(
    502,
    'Upstream refused the credential',
    'The API refused the credential that Postern holds. Tell the platform team.',
  ),
  credential_leak_blocked: row(
    502,
    'Answer held back',
    'The answer of the API held the credential that Postern keeps from you. Tell the platform team; a retry will not help.',
  ),
  upstream_timeout: row(504, 'Upstream timed out', 'The API behind Postern did not answer in time.'),
  store_unavailable: unavailable(
    'Revocation store unavailable',
    'Postern cannot check revocation now and lets nothing pass. Retry later.',
  ),
  issuer_unavailable: unavailable(
    'Issuer keys unavailable',
    'Postern cannot verify tokens of this issuer now. Retry later.',
  ),
  credential_unavailable: unavailable(
    'Credential unavailable',
    'The credential for the API is not available now. Retry later.',
  ),
  audit_unavailable: unavailable(
    'Audit log unavailable',
    'Postern cannot record decisions now and lets nothing pass. Retry later.',
  ),
  draining: unavailable('Shutting down', 'This sidecar is shutting down. Retry; another one will answer.'),
};

export type RefuseOptions = {
  /** Signature algorithms for proofs, as offered in `algs` (RFC 9449 §7.1). */
  readonly proofAlgorithms: readonly string[];
  /** Ways to present a token where the route is not known. */
  readonly accepts: readonly PossessionMethod[];
  /** Bytes of an unread request body that are read and thrown away so that the client can read the answer. */
  readonly discardBytesMax: number;
  readonly discardMs: number;
  /** How long a client may take over reading an answer. */
  readonly takeMs: number;
  /** Further fields of refusals on the request path: what the route lets web pages read, and what quotas are left. */
  readonly extraFields?: (exchange: Exchange) => Refusal['fields'];
};

/** What a refusal says of the route that it is on. */
export type RefusedRoute = Pick<Route, 'accepts'> & Partial<Pick<Route, 'resourceMetadata'>>;

export type Refusal = {
  readonly status: number;
  readonly fields: readonly (readonly [string, string])[];
  readonly body: string;
};

/** Builds the answer to a Deny. Pure: the same for the request path and for connections that never became a request. */
export function createRefusal(options: RefuseOptions) {
  const algs = `algs="${options.proofAlgorithms.join(' ')}"`;
  return (deny: Deny, id: string, route: RefusedRoute | null = null): Refusal => {
    const accepts = route?.accepts ?? options.accepts;
    // RFC 9728 §5.1: where the client learns how to get a token that is good here.
    const metadata = parameters(['resource_metadata', route?.resourceMetadata]);
    const answer = answers[deny.reason];
    const body = JSON.stringify({
      type: `urn:postern:reason:${deny.reason}`,
      title: answer.title,
      status: answer.status,
      reason: deny.reason,
      detail: deny.detail ?? answer.detail,
      decision_id: id,
      rule: deny.rule,
    });
    const fields: [string, string][] = [
      ['content-type', 'application/problem+json'],
      ['content-length', String(Buffer.byteLength(body))],
      // RFC 9449 §8.2: an answer with a nonce must not be cached; no refusal is worth caching.
      ['cache-control', 'no-store'],
      ['postern-decision', id],
    ];
    for (const challenge of challenges(deny, answer.challenge, accepts, algs)) {
      const separator = challenge.includes(' ') ? ', ' : ' ';
      fields.push(['www-authenticate', metadata === '' ? challenge : `${challenge}${separator}${metadata}`]);
    }
    if (deny.nonce !== undefined) fields.push(['dpop-nonce', deny.nonce]);
    const retryAfterSeconds = deny.retryAfterSeconds ?? answer.retryAfterSeconds;
    if (retryAfterSeconds !== undefined) fields.push(['retry-after', String(retryAfterSeconds)]);
    if (deny.allowedMethods !== undefined) fields.push(['allow', deny.allowedMethods.join(', ')]);
    return { status: answer.status, fields, body };
  };
}

/** Each challenge is a field line of its own: comma-joined ones are misread by many clients. */
function challenges(
  deny: Deny,
  kind: ChallengeKind,
  accepts: readonly PossessionMethod[],
  algs: string,
): readonly string[] {
  const hint = deny.challenge ?? {};
  const offersDpop = accepts.includes('dpop');
  // RFC 8705 §3: certificate-bound tokens are presented with the Bearer scheme.
  const offersBearer = accepts.includes('bearer') || accepts.includes('mtls');
  if (deny.reason === 'request_malformed' && deny.challenge !== undefined) {
    // RFC 9449 §7.2: several credentials at once are an invalid_request on every offered challenge.
    const error = parameters(['error', 'invalid_request'], ['error_description', 'Send one Authorization field']);
    return [...(offersDpop ? [`DPoP ${error}, ${algs}`] : []), ...(offersBearer ? [`Bearer ${error}`] : [])];
  }
  if (kind === 'none') return [];
  if (kind === 'credentials') return [...(offersDpop ? [`DPoP ${algs}`] : []), ...(offersBearer ? ['Bearer'] : [])];
  const error = errorParameters(kind, deny, hint);
  if (kind === 'invalid_dpop_proof' || kind === 'use_dpop_nonce') return [`DPoP ${error}, ${algs}`];
  // RFC 9449 §7.2: the error goes on the scheme that was used, if that scheme is offered at all.
  const isBearer = offersBearer && (hint.scheme === 'Bearer' || !offersDpop);
  const dpop = isBearer ? `DPoP ${algs}` : `DPoP ${error}, ${algs}`;
  return [...(isBearer ? [`Bearer ${error}`] : []), ...(offersDpop ? [dpop] : [])];
}

function errorParameters(kind: ChallengeKind, deny: Deny, hint: ChallengeHint): string {
  return parameters(
    ['error', kind],
    ['error_description', deny.detail ?? answers[deny.reason].detail],
    ['scope', hint.scope],
    ['acr_values', hint.acrValues],
    ['max_age', hint.maxAgeSeconds?.toString()],
  );
}

/** Quoted auth-params. RFC 6750 §3 allows neither quote nor backslash inside; both are replaced, like anything unprintable. */
function parameters(...pairs: readonly (readonly [string, string | undefined])[]): string {
  return pairs
    .flatMap(([name, value]) =>
      value === undefined ? [] : [`${name}="${value.replace(/["\\]/g, "'").replace(/[^\x20-\x7e]/g, '?')}"`],
    )
    .join(', ');
}

/** Writes the answer. Settles when it has been sent or the client has gone. */
export function createRefuse(options: RefuseOptions) {
  const refusalFor = createRefusal(options);
  return async (exchange: Exchange, deny: Deny, incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (response.headersSent || response.destroyed) {
      // Cut already, it keeps what it was cut for.
      if (exchange.outcome.end === 'complete') exchange.outcome.end = 'refused';
      response.destroy();
      return;
    }
    exchange.outcome.end = 'refused';
    const refusal = refusalFor(withScheme(deny, exchange), exchange.id, exchange.route);
    const extraFields = options.extraFields?.(exchange) ?? [];
    const isBodyUnread = hasUnreadBody(incoming);
    if (deny.close === true || isBodyUnread) response.shouldKeepAlive = false;
    exchange.outcome.status = refusal.status;
    exchange.outcome.bytesOut = Buffer.byteLength(refusal.body);
    response.writeHead(refusal.status, [...refusal.fields, ...extraFields].flat());
    const delivered = delivery(response, options.takeMs);
    // At once: a connection that is out of step may be cut in the next turn.
    if (incoming.method === 'HEAD') response.flushHeaders();
    else response.write(refusal.body);
    // A connection closed on unread bytes is reset, and a reset can take the answer with it.
    // A client that still waits for 100 Continue sends none; one that has begun to send does not wait.
    if (isBodyUnread && (incoming.headers.expect === undefined || exchange.outcome.bytesIn > 0))
      await discardBody(incoming, options.discardBytesMax, options.discardMs);
    response.end();
    await delivered;
  };
}

/** RFC 6750 §3, RFC 8705 §3: who is known by another way than a proof has used the Bearer scheme. */
function withScheme(deny: Deny, { identity }: Exchange): Deny {
  if (identity === null || identity.possession.method === 'dpop') return deny;
  return { ...deny, challenge: { ...deny.challenge, scheme: 'Bearer' } };
}
