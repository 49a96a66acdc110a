/** What the audit log says of one exchange: who, for whom, why, what, under which rule, and how it ended. */

import { hash } from 'node:crypto';
import type { AccessToken, Exchange } from '../exchange.ts';

const textMax = 1024;

/** One line of the audit log as it is read back. */
export type AuditRecord = ReturnType<typeof exchangePart> & ReturnType<typeof tokenPart>;

/** A record as JSON. Holds no token, proof, credential, query or body; a query only as a digest. */
export function auditLine(exchange: Exchange): string {
  const { identity, decision } = exchange;
  // Without an identity the token is whose it is, and `pop: null` says that nobody proved to be that agent.
  const accessToken = identity?.accessToken ?? (decision?.effect === 'deny' ? decision.presented : undefined) ?? null;
  return `${JSON.stringify(exchangePart(exchange)).slice(0, -1)},${tokenJson(accessToken)}`;
}

/** A revocation made or lifted, in the same log as the decisions that it changes. */
export function revocationLine(action: 'revoked' | 'lifted', entry: object, nowMs: number): string {
  return JSON.stringify({ type: 'revocation', v: 1, time: new Date(nowMs).toISOString(), action, revocation: entry });
}

const noTokenJson = JSON.stringify(tokenPart(null)).slice(1);
const tokenJsons = new WeakMap<AccessToken, string>();

/** The part that is the same for every request with a token, written out once: it is half of the record. */
function tokenJson(accessToken: AccessToken | null): string {
  if (accessToken === null) return noTokenJson;
  let json = tokenJsons.get(accessToken);
  if (json === undefined) {
    json = JSON.stringify(tokenPart(accessToken)).slice(1);
    tokenJsons.set(accessToken, json);
  }
  return json;
}

function tokenPart(accessToken: AccessToken | null) {
  return {
    agent: accessToken?.agent ?? null,
    subject: accessToken === null ? null : subjectOf(accessToken),
    act: accessToken === null ? null : { chain: accessToken.actors, depth: accessToken.actors.length },
    token: accessToken === null ? null : tokenOf(accessToken),
  };
}

function exchangePart(exchange: Exchange) {
  const { request, identity, decision, failure, outcome } = exchange;
  const refusal = decision?.effect === 'deny' ? decision : failure;
  return {
    type: 'decision',
    v: 1,
    time: new Date(exchange.arrivedAtMs).toISOString(),
    id: exchange.id,
    decision: decision?.effect ?? 'deny',
    reason: refusal?.reason ?? null,
    cause: refusal?.cause ?? null,
    rule: decision?.rule ?? null,
    rules: decision?.matches ?? [],
    policy: exchange.policyHash,
    route: exchange.route?.name ?? null,
    stated_reason: exchange.statedReason?.text ?? null,
    stated_reason_source: exchange.statedReason?.source ?? null,
    pop:
      identity === null
        ? null
        : {
            method: identity.possession.method,
            jkt: identity.possession.jkt,
            x5t: identity.possession.x5t,
            body_bound: exchange.heldBody?.isBound ?? false,
          },
    rates: exchange.rates === null ? null : Object.fromEntries(exchange.rates),
    request: {
      method: request?.method ?? clip(exchange.rawMethod),
      host: request?.host ?? null,
      path: request === null ? null : clip(request.target.path),
      query_sha256: request?.target.query == null ? null : hash('sha256', request.target.query, 'base64url'),
    },
    source: { address: exchange.source.address, port: exchange.source.port },
    credential:
      decision?.effect === 'allow' && failure?.reason !== 'internal_error'
        ? (exchange.route?.credential ?? null)
        : null,
    status: outcome.status,
    upstream_status: outcome.upstreamStatus,
    bytes_in: outcome.bytesIn,
    bytes_out: outcome.bytesOut,
    end: outcome.end,
    timings_ms: timings(exchange),
  };
}

function subjectOf({ subject, issuer, subjectType }: AccessToken) {
  return { id: subject, issuer, type: subjectType, human: subjectType === 'user' };
}

function tokenOf(accessToken: AccessToken) {
  return {
    iss: accessToken.issuer,
    aud: accessToken.audience,
    client_id: accessToken.clientId,
    jti: accessToken.jti,
    source: accessToken.source,
    scopes: accessToken.scopes,
    expires_at: new Date(accessToken.expiresAtMs).toISOString(),
  };
}

function timings({ stageMs, decidedMs, startedMs }: Exchange) {
  return {
    total: round(performance.now() - startedMs),
    // Undefined members are left out of the JSON.
    decision: decidedMs === null ? undefined : round(decidedMs - startedMs),
    identify: round(stageMs.identify),
    store: round(stageMs.store),
    decide: round(stageMs.decide),
    credential: round(stageMs.credential),
    upstream: round(stageMs.upstream),
  };
}

function round(milliseconds: number): number;
function round(milliseconds: number | undefined): number | undefined;
function round(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.round(milliseconds * 1000) / 1000;
}

const clip = (text: string): string => (text.length > textMax ? `${text.slice(0, textMax)}…` : text);
