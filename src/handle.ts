/** The request path, whole. Stages are handed in; they know nothing of each other. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Decision, type Deny, deny, isDeny } from './decision.ts';
import { StoreFault } from './errors.ts';
import type {
  AccessToken,
  ClientRequest,
  Exchange,
  HeldBody,
  Identity,
  Outcome,
  OwnAnswer,
  Possession,
  Route,
  StageName,
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
  readonly accessToken: AccessToken;
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
  /** Null for a body that is passed on as it comes. */
  readonly planBody: (request: ClientRequest, route: Route, identity: Identity) => BodyPlan | null | Deny;
  /** Asked again once the body is known, where it is to be. */
  readonly readReason: (exchange: Exchange, plan: BodyPlan | null) => StatedReason | null | Deny;
  readonly createContext: (exchange: Exchange) => Context;
  readonly measure: (context: Context) => readonly MeterHit[] | Deny;
  readonly handlesOf: (accessToken: AccessToken, possession: Possession) => readonly string[];
  readonly check: (request: {
    readonly nowMs: number;
    readonly handles: readonly string[];
    readonly singleUse: Possession['singleUse'];
    readonly meters: readonly MeterHit[];
  }) => Promise<CheckAnswer>;
  readonly holdBody: (
    plan: BodyPlan,
    outcome: Outcome,
    incoming: IncomingMessage,
    response: ServerResponse,
  ) => Promise<HeldBody | Deny>;
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

export function createHandle<Context, BodyPlan extends object, Injection extends object>(
  stages: Stages<Context, BodyPlan, Injection>,
): Handle {
  /** Connections of which it is known already which answer closes them. */
  const ending = new WeakSet<Socket>();
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

  // What is asked, and where it would go.
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
  if (request.bodyBytes !== null && request.bodyBytes > route.bodyBytesMax) return deny('body_too_large');

  // Who asks: the token, and the proof that its key is here.
  exchange.lapMs = performance.now();
  const identity = await stages.identify(request, route);
  lap(exchange, 'identify');
  if (isDeny(identity)) return identity;
  exchange.identity = identity;
  const plan = stages.planBody(request, route, identity);
  if (plan !== null && isDeny(plan)) return plan;
  const statedReason = stages.readReason(exchange, plan);
  if (statedReason !== null && isDeny(statedReason)) return statedReason;
  exchange.statedReason = statedReason;

  // Revoked? Used before? How often? One round trip.
  const context = stages.createContext(exchange);
  const hits = stages.measure(context);
  if (isDeny(hits)) return hits;
  exchange.lapMs = performance.now();
  const fallsInMs = await checkStore(stages, exchange, identity, hits);
  lap(exchange, 'store');
  if (isDeny(fallsInMs)) return fallsInMs;

  // The body, where proof or route make it part of the question. It is read for known callers only, as it costs memory.
  const unfit = plan === null ? null : await learnBody(stages, exchange, plan, incoming, response);
  if (unfit !== null) return unfit;

  // The rules, and only then the credential.
  const known = plan === null ? context : stages.createContext(exchange);
  const decision = stages.decide(known, exchange, fallsInMs);
  lap(exchange, 'decide');
  if (isDeny(decision)) return decision;
  exchange.decision = decision;
  const injection = stages.inject(route);
  lap(exchange, 'credential');
  if (isDeny(injection)) return { ...injection, matches: decision.matches };
  const { outcome, id: decisionId } = exchange;
  const body = exchange.heldBody?.bytes ?? null;
  const { nextNonce, accessToken } = identity;
  return { request, route, injection, body, outcome, decisionId, nextNonce, accessToken };
}

/** Reads the body into the exchange, and the stated reason that may be in it. */
async function learnBody<Context, BodyPlan extends object, Injection extends object>(
  stages: Stages<Context, BodyPlan, Injection>,
  exchange: Exchange,
  plan: BodyPlan,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<Deny | null> {
  const heldBody = await stages.holdBody(plan, exchange.outcome, incoming, response);
  if (isDeny(heldBody)) return heldBody;
  exchange.heldBody = heldBody;
  const statedReason = stages.readReason(exchange, plan);
  if (statedReason !== null && isDeny(statedReason)) return statedReason;
  exchange.statedReason = statedReason;
  exchange.lapMs = performance.now();
  return null;
}

async function checkStore<Context, BodyPlan extends object, Injection extends object>(
  stages: Stages<Context, BodyPlan, Injection>,
  exchange: Exchange,
  { accessToken, possession }: Identity,
  hits: readonly MeterHit[],
): Promise<ReadonlyMap<string, number> | Deny> {
  const handles = stages.handlesOf(accessToken, possession);
  let answer: CheckAnswer;
  try {
    answer = await stages.check({ nowMs: stages.nowMs(), handles, singleUse: possession.singleUse, meters: hits });
  } catch (fault) {
    if (!(fault instanceof StoreFault)) throw fault;
    // Never open: without the store nobody can say whether this token is revoked or this proof was used before.
    return deny('store_unavailable', { cause: fault.message });
  }
  if (answer.revokedIndex >= 0) {
    return deny('token_revoked', { cause: `revoked: ${handles[answer.revokedIndex]}` });
  }
  // RFC 9449 §11.1: a proof is good for one request.
  if (answer.isReplay) return deny('proof_replayed');
  exchange.rates = new Map(hits.map((hit, index) => [hit.name, answer.counts[index] ?? 0]));
  return new Map(hits.map((hit, index) => [hit.name, answer.fallsInMs[index] ?? 0]));
}

/** Notes how long the stage took, and starts the next lap. */
function lap(exchange: Exchange, stage: StageName): void {
  const nowMs = performance.now();
  exchange.stageMs[stage] = nowMs - exchange.lapMs;
  exchange.lapMs = nowMs;
}
