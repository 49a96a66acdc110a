/** What the audit log says of one exchange: who, for whom, why, what, under which rule, and how it ended. */

import { hash } from 'node:crypto';
import type { AccessToken, Agent, Exchange } from '../exchange.ts';

const textMax = 1024;
/** From here on a record says why. */
const notableScore = 0.99;

/** One line of the audit log as it is read back. */
export type AuditRecord = ReturnType<typeof exchangePart> & ReturnType<typeof tokenPart>;

/** A record as JSON. Holds no token, proof, credential, query or body; a query only as a digest. */
export function auditLine(exchange: Exchange): string {
  const { identity, decision } = exchange;
  // Without an identity the token is whose it is, and `pop: null` says that nobody proved to be that agent.
  const accessToken = identity?.accessToken ?? (decision?.effect === 'deny' ? decision.presented : undefined) ?? null;
  return `${JSON.stringify(exchangePart(exchange)).slice(0, -1)},${tokenJson(accessToken, exchange.agent)}`;
}

/** A revocation made or lifted, in the same log as the decisions that it changes. */
export function revocationLine(action: 'revoked' | 'lifted', by: string, entry: object, nowMs: number): string {
  const time = new Date(nowMs).toISOString();
  return JSON.stringify({ type: 'revocation', v: 1, time, action, by, revocation: entry });
}

/** The store was found without what it had held, or has been given back the revocations that this sidecar held. */
export function storeLine(action: 'lost' | 'restored', revocations: number, nowMs: number): string {
  return JSON.stringify({ type: 'store', v: 1, time: new Date(nowMs).toISOString(), action, revocations });
}

/** A changed configuration or rule set was taken into use, or was refused, after which the one before stays in use. */
export function reloadLine(
  reload: {
    readonly outcome: 'loaded' | 'refused';
    /** What made Postern look. */
    readonly trigger: string;
    /** Hash of the rules before, and from now on. */
    readonly policyBefore: string;
    readonly policy: string;
    /** Hash of the configuration before, and from now on; rules and secrets are other files. */
    readonly configurationBefore: string;
    readonly configuration: string;
    /** Keys whose change waits for a restart. */
    readonly needsRestart: readonly string[];
    /** How many stand against what was refused. */
    readonly problems: number;
  },
  nowMs: number,
): string {
  const { outcome, trigger, policyBefore, policy, configurationBefore, configuration, needsRestart, problems } = reload;
  return JSON.stringify({
    type: 'reload',
    v: 1,
    time: new Date(nowMs).toISOString(),
    action: outcome,
    trigger,
    policy_before: policyBefore,
    policy,
    configuration_before: configurationBefore,
    configuration,
    needs_restart: needsRestart,
    problems,
  });
}

/** A person, or Postern itself, has changed what an agent's behaviour is compared with. */
export function baselineLine(
  change: {
    readonly action: string;
    readonly agent: string;
    readonly author: string;
    readonly reason: string | null;
  },
  nowMs: number,
): string {
  return JSON.stringify({ type: 'baseline', v: 1, time: new Date(nowMs).toISOString(), ...change });
}

const noTokenJson = JSON.stringify(tokenPart(null, null)).slice(1);
const tokenJsons = new WeakMap<AccessToken, { readonly agent: Agent | null; readonly json: string }>();

/** The part that is the same for every request with a token, written out once: it is half of the record. */
function tokenJson(accessToken: AccessToken | null, agent: Agent | null): string {
  if (accessToken === null) return noTokenJson;
  const known = tokenJsons.get(accessToken);
  if (known !== undefined && known.agent === agent) return known.json;
  const json = JSON.stringify(tokenPart(accessToken, agent)).slice(1);
  tokenJsons.set(accessToken, { agent, json });
  return json;
}

/** Nobody asks the registry about an agent that has not proved to be it. */
const notAsked = { owner: null, team: null, registered: null, status: null };

type RecordedAgent = Pick<Agent, 'id' | 'issuer' | 'owner' | 'team'> & {
  readonly registered: boolean | null;
  readonly status: Agent['status'] | null;
};

function agentOf({ id, issuer, owner, team, registered, status }: RecordedAgent): RecordedAgent {
  return { id, issuer, owner, team, registered, status };
}

function tokenPart(accessToken: AccessToken | null, agent: Agent | null) {
  return {
    agent: accessToken === null ? null : agentOf(agent ?? { ...accessToken.agent, ...notAsked }),
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
    cause: refusal?.cause ?? (outcome.end === 'revoked' ? `revoked: ${exchange.standing?.revokedBy}` : null),
    rule: decision?.rule ?? null,
    rules: decision?.matches ?? [],
    would: decision?.would ?? null,
    inputs: exchange.inputs ?? null,
    policy: exchange.policyHash,
    route: exchange.route?.name ?? null,
    operation: exchange.operation === null ? null : clip(exchange.operation),
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
    drift: driftOf(exchange),
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

/** Why is told where somebody may ask. */
function driftOf({ drift, decision }: Exchange) {
  if (drift === undefined) return null;
  const { score, novelty, sequence, destination, tainted, rate, sustained } = drift;
  const { ready, samples, alarms, peers, latched, stale } = drift;
  const isNotable = score >= notableScore || tainted || destination >= notableScore || decision?.effect === 'deny';
  const top = isNotable ? drift.top().map(clip) : [];
  const scores = { score, novelty, sequence, destination, tainted, rate, sustained };
  return { ...scores, ready, samples, alarms, peers, latched, stale, top };
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
