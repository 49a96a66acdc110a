/** The request path, whole. Stages are handed in; they know nothing of each other. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Decision, type Deny, deny, isDeny } from './decision.ts';
import type { ReadAlong } from './drift-scores.ts';
import { StoreFault } from './errors.ts';
import type {
  AccessToken,
  Agent,
  ClientRequest,
  Exchange,
  HeldBody,
  Identity,
  Outcome,
  OwnAnswer,
  Possession,
  Route,
  StageName,
  Standing,
  StatedReason,
} from './exchange.ts';

type MeterHit = { readonly name: string; readonly key: string; readonly windowMs: number; readonly cost: number };
type CheckAnswer = {
  readonly revokedIndex: number;
  readonly isReplay: boolean;
  readonly counts: readonly number[];
  readonly fallsInMs: readonly number[];
};

/** What was allowed: exactly this goes upstream, with this credential. */
export type Passage<Injection> = {
  readonly request: ClientRequest;
  readonly route: Route;
  readonly injection: Injection;
  /** The bytes that were judged; null for a body that streams. */
  readonly body: Buffer | null;
  readonly outcome: Outcome;
  readonly decisionId: string;
  readonly nextNonce: string | null;
  readonly rateLimitFields: Exchange['rateLimitFields'];
  readonly accessToken: AccessToken;
  readonly standing: Standing;
  readonly readAlong: ReadAlong | null;
};

/** Everything that handle needs, in the order of the request. All but its own types are opaque to it. */
export type Stages<Context, BodyPlan extends object, Injection extends object> = {
  readonly open: (incoming: IncomingMessage) => Exchange;
  readonly nowMs: () => number;
  /** A Deny while nothing may pass at all: shutting down, or decisions can't be recorded. */
  readonly admit: () => Deny | null;
  readonly vet: (incoming: IncomingMessage) => ClientRequest | Deny;
  /** What Postern says itself, without a token; null for everything that is to go upstream. */
  readonly answerItself: (request: ClientRequest) => OwnAnswer | Deny | null;
  readonly matchRoute: (request: ClientRequest) => Route | Deny;
  readonly identify: (request: ClientRequest, route: Route) => Promise<Identity | Deny>;
  readonly describeAgent: (exchange: Exchange, identity: Identity) => Agent;
  /** From here on the exchange can be revoked. Asked after describeAgent. */
  readonly watch: (exchange: Exchange, identity: Identity) => Standing;
  /** Asked again once the body is known: it may name the operation better than the path does. */
  readonly nameOperation: (request: ClientRequest, route: Route, heldBody: HeldBody | null) => string;
  /** Takes one of the places that each agent has, and gives what leaves it again. */
  readonly takeSlot: (agent: Agent) => (() => void) | Deny;
  /** Null for a body that is passed on as it comes. */
  readonly planBody: (request: ClientRequest, route: Route, identity: Identity) => BodyPlan | null | Deny;
  /** Asked again once the body is known, where it is to be. */
  readonly readReason: (exchange: Exchange, plan: BodyPlan | null) => StatedReason | null | Deny;
  readonly createContext: (exchange: Exchange) => Context;
  /** Whether some meter counts by what bodies say: then they are read before anything is counted. */
  readonly countsBodies: boolean;
  readonly measure: (context: Context) => readonly MeterHit[] | Deny;
  readonly check: (request: {
    readonly nowMs: number;
    readonly handles: readonly string[];
    readonly issuedAtMs: number;
    readonly singleUse: Possession['singleUse'];
    readonly meters: readonly MeterHit[];
  }) => Promise<CheckAnswer>;
  readonly holdBody: (
    plan: BodyPlan,
    outcome: Outcome,
    incoming: IncomingMessage,
    response: ServerResponse,
  ) => Promise<HeldBody | Deny>;
  /** Recalls what the agent has always done, while the store is asked; null where it is known. Never rejects. */
  readonly recall: (exchange: Exchange) => Promise<void> | null;
  /** How far the call is from that. Never throws. */
  readonly judgeBehaviour: (exchange: Exchange) => void;
  readonly readAlong: (exchange: Exchange) => ReadAlong | null;
  readonly decide: (context: Context, exchange: Exchange, fallsInMs: ReadonlyMap<string, number>) => Decision;
  readonly inject: (route: Route) => Injection | Deny;
  /** Null when the upstream's answer was relayed; a Deny when there was none to relay. */
  readonly forward: (
    passage: Passage<Injection>,
    incoming: IncomingMessage,
    response: ServerResponse,
  ) => Promise<Deny | null>;
  readonly respond: (
    exchange: Exchange,
    answer: OwnAnswer,
    incoming: IncomingMessage,
    response: ServerResponse,
  ) => Promise<void>;
  readonly refuse: (
    exchange: Exchange,
    deny: Deny,
    incoming: IncomingMessage,
    response: ServerResponse,
  ) => Promise<void>;
  readonly record: (exchange: Exchange) => void;
  readonly onFault: (exchange: Exchange, fault: unknown) => void;
};

export type Handle = (incoming: IncomingMessage, response: ServerResponse) => Promise<void>;

/** `ending` holds connections of which it is known already which answer closes them. */
export function createHandle<Context, BodyPlan extends object, Injection extends object>(
  stages: Stages<Context, BodyPlan, Injection>,
  ending = new WeakSet<Socket>(),
): Handle {
  const refuse: typeof stages.refuse = (exchange, deny, incoming, response) => {
    const sent = stages.refuse(exchange, deny, incoming, response);
    if (!response.shouldKeepAlive) ending.add(incoming.socket);
    return sent;
  };
  return async (incoming, response) => {
    const exchange = stages.open(incoming);
    try {
      // RFC 9112 §9.6: after the request whose answer closes the connection, nothing on it is processed. Pipelined ones
      // may be here before that answer is written.
      const isLate = ending.has(incoming.socket);
      if (!response.shouldKeepAlive) ending.add(incoming.socket);
      const passage = isLate ? tooLate : await judge(stages, exchange, incoming, response, ending);
      exchange.decidedMs = performance.now();
      if (isDeny(passage)) {
        exchange.decision = passage;
        await refuse(exchange, passage, incoming, response);
        return;
      }
      if ('effect' in passage) {
        exchange.decision = passage;
        await stages.respond(exchange, passage, incoming, response);
        return;
      }
      // An upstream failure is not a decision: the call was allowed, and could not be completed.
      exchange.lapMs = performance.now();
      exchange.failure = await stages.forward(passage, incoming, response);
      lap(exchange, 'upstream');
      if (exchange.failure !== null) await refuse(exchange, exchange.failure, incoming, response);
    } catch (fault) {
      stages.onFault(exchange, fault);
      const refusal = deny('internal_error', { close: true });
      if (exchange.decision === null) exchange.decision = refusal;
      else exchange.failure = refusal;
      await refuse(exchange, refusal, incoming, response);
    } finally {
      exchange.heldBody?.release();
      exchange.releaseSlot?.();
      exchange.standing?.end();
      stages.record(exchange);
    }
  };
}

const tooLate = deny('request_malformed', { cause: 'sent after the last request of its connection', close: true });

/** The decision and, on allow only, the credential to inject. */
async function judge<Context, BodyPlan extends object, Injection extends object>(
  stages: Stages<Context, BodyPlan, Injection>,
  exchange: Exchange,
  incoming: IncomingMessage,
  response: ServerResponse,
  ending: WeakSet<Socket>,
): Promise<Passage<Injection> | OwnAnswer | Deny> {
  const barrier = stages.admit();
  if (barrier !== null) return barrier;

  const destined = direct(stages, exchange, incoming, ending);
  if ('effect' in destined) return destined;
  const { request, route } = destined;

  // Who asks: the token, and the proof that its key is here.
  exchange.lapMs = performance.now();
  const identity = await stages.identify(request, route);
  lap(exchange, 'identify');
  if (isDeny(identity)) return identity;
  exchange.identity = identity;
  exchange.agent = stages.describeAgent(exchange, identity);
  const standing = stages.watch(exchange, identity);
  exchange.standing = standing;
  const releaseSlot = stages.takeSlot(exchange.agent);
  if (isDeny(releaseSlot)) return releaseSlot;
  exchange.releaseSlot = releaseSlot;
  const plan = stages.planBody(request, route, identity);
  if (plan !== null && isDeny(plan)) return plan;
  const statedReason = stages.readReason(exchange, plan);
  if (statedReason !== null && isDeny(statedReason)) return statedReason;
  exchange.statedReason = statedReason;

  // The body, where proof or route make it part of the question. It is read for known callers only, as it costs memory;
  // earlier where a meter counts by it, for there is one round trip.
  const learn = () => (plan === null ? null : learnBody(stages, exchange, plan, request, route, incoming, response));
  if (stages.countsBodies) {
    const unfit = standing.revokedBy === null ? await learn() : revoked(standing.revokedBy);
    if (unfit !== null) return unfit;
  }

  // Revoked? Used before? How often? One round trip.
  const context = stages.createContext(exchange);
  const hits = stages.measure(context);
  if (isDeny(hits)) return hits;
  exchange.lapMs = performance.now();
  const recalled = stages.recall(exchange);
  const fallsInMs = await checkStore(stages, exchange, standing, hits);
  if (recalled !== null) await recalled;
  lap(exchange, 'store');
  if (isDeny(fallsInMs)) return fallsInMs;

  const unfit = stages.countsBodies ? null : await learn();
  if (unfit !== null) return unfit;
  // The body took its time: what was revoked meanwhile is not to begin.
  if (standing.revokedBy !== null) return revoked(standing.revokedBy);

  // The rules, and only then the credential.
  const known = plan === null || stages.countsBodies ? context : stages.createContext(exchange);
  stages.judgeBehaviour(exchange);
  const decision = stages.decide(known, exchange, fallsInMs);
  lap(exchange, 'decide');
  if (isDeny(decision)) return decision;
  exchange.decision = decision;
  const injection = stages.inject(route);
  lap(exchange, 'credential');
  if (isDeny(injection)) return { ...injection, matches: decision.matches, would: decision.would };
  const { outcome, id: decisionId, rateLimitFields } = exchange;
  const body = exchange.heldBody?.bytes ?? null;
  const { nextNonce, accessToken } = identity;
  const readAlong = stages.readAlong(exchange);
  const told = { decisionId, nextNonce, rateLimitFields };
  return { request, route, injection, body, outcome, ...told, accessToken, standing, readAlong };
}

/** What is asked, and where it would go; or what Postern says itself. */
function direct<Context, BodyPlan extends object, Injection extends object>(
  stages: Stages<Context, BodyPlan, Injection>,
  exchange: Exchange,
  incoming: IncomingMessage,
  ending: WeakSet<Socket>,
): { readonly request: ClientRequest; readonly route: Route } | OwnAnswer | Deny {
  const request = stages.vet(incoming);
  if (isDeny(request)) {
    // Before anything is awaited: whatever else was in the same packet is handled next.
    if (request.close === true) ending.add(incoming.socket);
    return request;
  }
  exchange.request = request;
  const answer = stages.answerItself(request);
  if (answer !== null) return answer;
  const route = stages.matchRoute(request);
  if (isDeny(route)) return route;
  exchange.route = route;
  exchange.operation = stages.nameOperation(request, route, null);
  if (request.bodyBytes !== null && request.bodyBytes > route.bodyBytesMax) return deny('body_too_large');
  return { request, route };
}

/** Reads the body into the exchange, and the operation and stated reason that may be in it. */
async function learnBody<Context, BodyPlan extends object, Injection extends object>(
  stages: Stages<Context, BodyPlan, Injection>,
  exchange: Exchange,
  plan: BodyPlan,
  request: ClientRequest,
  route: Route,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<Deny | null> {
  const heldBody = await stages.holdBody(plan, exchange.outcome, incoming, response);
  if (isDeny(heldBody)) return heldBody;
  exchange.heldBody = heldBody;
  if (heldBody.mcp !== null) exchange.operation = stages.nameOperation(request, route, heldBody);
  const statedReason = stages.readReason(exchange, plan);
  if (statedReason !== null && isDeny(statedReason)) return statedReason;
  exchange.statedReason = statedReason;
  exchange.lapMs = performance.now();
  return null;
}

async function checkStore<Context, BodyPlan extends object, Injection extends object>(
  stages: Stages<Context, BodyPlan, Injection>,
  exchange: Exchange,
  { handles, issuedAtMs, revokedBy }: Standing,
  hits: readonly MeterHit[],
): Promise<ReadonlyMap<string, number> | Deny> {
  // What this sidecar knows holds even where the store has lost it.
  if (revokedBy !== null) return revoked(revokedBy);
  const singleUse = exchange.identity?.possession.singleUse ?? null;
  let answer: CheckAnswer;
  try {
    answer = await stages.check({ nowMs: stages.nowMs(), handles, issuedAtMs, singleUse, meters: hits });
  } catch (fault) {
    if (!(fault instanceof StoreFault)) throw fault;
    // Never open: without the store nobody can say whether this token is revoked or this proof was used before.
    return deny('store_unavailable', { cause: fault.message });
  }
  if (answer.revokedIndex >= 0) return revoked(handles[answer.revokedIndex] ?? '');
  // RFC 9449 §11.1: a proof is good for one request.
  if (answer.isReplay) return deny('proof_replayed');
  exchange.rates = new Map(hits.map((hit, index) => [hit.name, answer.counts[index] ?? 0]));
  return new Map(hits.map((hit, index) => [hit.name, answer.fallsInMs[index] ?? 0]));
}

const revoked = (handle: string): Deny => deny('token_revoked', { cause: `revoked: ${handle}` });

/** Notes how long the stage took, and starts the next lap. */
function lap(exchange: Exchange, stage: StageName): void {
  const nowMs = performance.now();
  exchange.stageMs[stage] = nowMs - exchange.lapMs;
  exchange.lapMs = nowMs;
}
