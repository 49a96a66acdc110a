/** The request path, whole. Stages are handed in; they know nothing of each other. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Decision, type Deny, deny, isDeny } from './decision.ts';
import { StoreFault } from './errors.ts';
import type {
  AccessToken,
  ClientRequest,
  Exchange,
  Identity,
  Outcome,
  Possession,
  Route,
  StageName,
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
  readonly outcome: Outcome;
  readonly decisionId: string;
  readonly nextNonce: string | null;
};

/** Everything that handle needs, in the order of the request. `Context` and `Injection` are opaque to it. */
export type Stages<Context, Injection extends object> = {
  readonly open: (incoming: IncomingMessage) => Exchange;
  readonly nowMs: () => number;
  /** A Deny while nothing may pass at all: shutting down, or decisions can't be recorded. */
  readonly admit: () => Deny | null;
  readonly vet: (incoming: IncomingMessage) => ClientRequest | Deny;
  readonly matchRoute: (request: ClientRequest) => Route | Deny;
  readonly identify: (request: ClientRequest, route: Route) => Promise<Identity | Deny>;
  readonly readReason: (request: ClientRequest) => string | null | Deny;
  readonly createContext: (exchange: Exchange) => Context;
  readonly measure: (context: Context) => readonly MeterHit[] | Deny;
  readonly handlesOf: (accessToken: AccessToken, possession: Possession) => readonly string[];
  readonly check: (request: {
    readonly nowMs: number;
    readonly handles: readonly string[];
    readonly singleUse: Possession['singleUse'];
    readonly meters: readonly MeterHit[];
  }) => Promise<CheckAnswer>;
  readonly decide: (context: Context, exchange: Exchange, fallsInMs: ReadonlyMap<string, number>) => Decision;
  readonly inject: (route: Route) => Injection | Deny;
  /** Null when the upstream's answer was relayed; a Deny when there was none to relay. */
  readonly forward: (
    passage: Passage<Injection>,
    incoming: IncomingMessage,
    response: ServerResponse,
  ) => Promise<Deny | null>;
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

export function createHandle<Context, Injection extends object>(stages: Stages<Context, Injection>): Handle {
  return async (incoming, response) => {
    const exchange = stages.open(incoming);
    try {
      const passage = await judge(stages, exchange, incoming);
      exchange.decidedMs = performance.now();
      if (isDeny(passage)) {
        exchange.decision = passage;
        await stages.refuse(exchange, passage, incoming, response);
        return;
      }
      // An upstream failure is not a decision: the call was allowed, and could not be completed.
      exchange.lapMs = performance.now();
      exchange.failure = await stages.forward(passage, incoming, response);
      lap(exchange, 'upstream');
      if (exchange.failure !== null) await stages.refuse(exchange, exchange.failure, incoming, response);
    } catch (fault) {
      stages.onFault(exchange, fault);
      const refusal = deny('internal_error', { close: true });
      if (exchange.decision === null) exchange.decision = refusal;
      else exchange.failure = refusal;
      await stages.refuse(exchange, refusal, incoming, response);
    } finally {
      stages.record(exchange);
    }
  };
}

/** The decision and, on allow only, the credential to inject. */
async function judge<Context, Injection extends object>(
  stages: Stages<Context, Injection>,
  exchange: Exchange,
  incoming: IncomingMessage,
): Promise<Passage<Injection> | Deny> {
  const barrier = stages.admit();
  if (barrier !== null) return barrier;

  // What is asked, and where it would go.
  const request = stages.vet(incoming);
  if (isDeny(request)) return request;
  exchange.request = request;
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
  const statedReason = stages.readReason(request);
  if (statedReason !== null && typeof statedReason !== 'string') return statedReason;
  exchange.statedReason = statedReason;

  // Revoked? Used before? How often? One round trip.
  const context = stages.createContext(exchange);
  const hits = stages.measure(context);
  if (isDeny(hits)) return hits;
  exchange.lapMs = performance.now();
  const fallsInMs = await checkStore(stages, exchange, identity, hits);
  lap(exchange, 'store');
  if (isDeny(fallsInMs)) return fallsInMs;

  // The rules, and only then the credential.
  const decision = stages.decide(context, exchange, fallsInMs);
  lap(exchange, 'decide');
  if (isDeny(decision)) return decision;
  exchange.decision = decision;
  const injection = stages.inject(route);
  lap(exchange, 'credential');
  if (isDeny(injection)) return { ...injection, matches: decision.matches };
  const { nextNonce } = identity;
  return { request, route, injection, outcome: exchange.outcome, decisionId: exchange.id, nextNonce };
}

async function checkStore<Context, Injection extends object>(
  stages: Stages<Context, Injection>,
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
  if (answer.revokedIndex >= 0)
    return deny('token_revoked', { cause: 'a handle of the token is in the revocation set' });
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
