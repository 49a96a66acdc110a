/** Behaviour on the request path: an agent is recalled, its call judged, and when all is over learned from. */

import type { DriftScores, ReadAlong } from '../../drift-scores.ts';
import type { Exchange } from '../../exchange.ts';
import { defaultSettings } from './drift.ts';
import type { Engine } from './engine.ts';
import { type Judgement, toMillionths } from './judgement.ts';
import type { Keeper } from './keeper.ts';
import { addAlarm, type KeptAgent, wake } from './kept-agent.ts';
import type { KeyedHash } from './keyed-hash.ts';
import type { Outcome } from './learn.ts';
import { createReadAlong } from './read-along.ts';
import { createSessionOf, partsOf, type SessionOptions } from './request-parts.ts';
import type { Findings } from './response-scan.ts';
import type { Telling } from './telling.ts';

/** What there is once the secret is known. */
export type Running = {
  readonly engine: Engine;
  readonly keeper: Keeper;
  readonly telling: Telling;
  /** Sessions go by their hash: what they are made of is nobody's but the caller's. */
  readonly hashSession: KeyedHash;
};

export type DriftStageOptions = {
  /** Null while the secret cannot be had. */
  readonly running: () => Running | null;
  readonly clock: () => number;
  readonly session: SessionOptions;
  /** Whether destinations that responses show are noted. */
  readonly responses: boolean;
  readonly observe: (scores: DriftScores, isAlarm: boolean) => void;
  readonly onLatched: (agent: string, nowMs: number) => void;
  readonly onFault: (fault: unknown) => void;
};

export type DriftStage = {
  /** What has to be awaited before the call can be judged; null for nothing. Never rejects. */
  readonly recall: (exchange: Exchange) => Promise<void> | null;
  /** Puts the scores into the exchange. Never throws: where nothing can be said, the scores are stale. */
  readonly judge: (exchange: Exchange) => void;
  /** Learns from an exchange that has ended. Never throws. */
  readonly learn: (exchange: Exchange) => void;
  /** Looks at a response for destinations; null where nobody would care. */
  readonly readAlong: (exchange: Exchange) => ReadAlong | null;
};

/** A login that follows a challenge within this time answers it. */
const challengeMs = 15 * 60 * 1000;

/** Of a call about whose agent nothing can be known. */
const unknown: DriftScores = {
  score: 0,
  novelty: 0,
  sequence: 0,
  destination: 0,
  rate: 0,
  sustained: 0,
  tainted: false,
  ready: false,
  samples: 0,
  alarms: 0,
  peers: 0,
  latched: false,
  stale: true,
  top: () => ['what this agent has always done cannot be known now'],
};

/** The scores of one call, and what it takes to learn from it. */
class JudgedCall implements DriftScores {
  readonly score: number;
  readonly novelty: number;
  readonly sequence: number;
  readonly destination: number;
  readonly rate: number;
  readonly sustained: number;
  readonly tainted: boolean;
  readonly ready: boolean;
  readonly samples: number;
  readonly alarms: number;
  readonly peers: number;
  readonly latched: boolean;
  readonly stale: boolean;
  readonly top: () => readonly string[];
  readonly kept: KeptAgent;
  readonly judgement: Judgement;
  readonly session: string;
  readonly action: string;
  isLearned = false;

  constructor(
    kept: KeptAgent,
    judgement: Judgement,
    session: string,
    action: string,
    isStale: boolean,
    engine: Engine,
  ) {
    this.score = toMillionths(judgement.score);
    this.novelty = toMillionths(judgement.novelty);
    this.sequence = toMillionths(judgement.sequence);
    this.destination = toMillionths(judgement.destination);
    this.rate = toMillionths(judgement.rate);
    this.sustained = toMillionths(judgement.sustained);
    this.tainted = judgement.tainted;
    this.ready = judgement.ready;
    this.samples = judgement.samples;
    this.alarms = judgement.alarms;
    this.peers = judgement.peers;
    this.latched = kept.agent.view.standing === 'latched';
    this.stale = isStale;
    this.kept = kept;
    this.judgement = judgement;
    this.session = session;
    this.action = action;
    let top: readonly string[] | null = null;
    this.top = () => {
      top ??= engine.drift.explain(kept.agent, judgement).top.map(({ text }) => text);
      return top;
    };
  }
}

export function createDriftStage(options: DriftStageOptions): DriftStage {
  const { running, clock, responses, observe, onLatched, onFault } = options;
  const sessionOf = createSessionOf(options.session);

  function judge(exchange: Exchange, { engine, keeper, telling, hashSession }: Running): JudgedCall | null {
    const { request, route, identity, agent, operation, heldBody, arrivedAtMs } = exchange;
    if (request === null || route === null || identity === null || agent === null || operation === null) return null;
    const kept = keeper.get(agent.id);
    const session = hashSession(sessionOf(request, identity.accessToken, identity.possession)).toString(36);
    const action = `${route.name} ${engine.learned.actionOf(route.name, operation)}`;
    const destinations = engine.findDestinations(partsOf(request, heldBody));
    const event = { action, session, atMs: arrivedAtMs, destinations, group: agent.group };
    const judgement = engine.drift.judge(wake(kept), event);
    const judged = new JudgedCall(kept, judgement, session, action, keeper.isStale(kept), engine);
    keeper.note(kept);
    telling.judged(agent.id, session, judgement);
    if (judgement.isAlarm) {
      const explanation = engine.drift.explain(kept.agent, judgement);
      addAlarm(kept, { decision: exchange.id, atMs: arrivedAtMs, explanation });
    }
    observe(judged, judgement.isAlarm);
    return judged;
  }

  function learn(exchange: Exchange, judged: JudgedCall, { engine, keeper, telling }: Running): void {
    const { kept, judgement } = judged;
    const { agent } = kept;
    const outcome = outcomeOf(exchange, kept, judged);
    const wasLearning = agent.view.standing === 'learning';
    engine.drift.learn(
      wake(kept),
      judgement,
      outcome,
      outcome === 'denied' ? undefined : learnedAction(exchange, engine),
    );
    if (isRefused(exchange.outcome.status)) engine.drift.noteRefusal(agent);
    kept.isDirty = true;
    if (!wasLearning || agent.view.standing !== 'latched') return;
    onLatched(agent.id, exchange.arrivedAtMs);
    // Every replica is to know at once.
    keeper.write(kept).then(
      () => telling.changed(agent.id),
      () => {},
    );
  }

  return {
    recall: ({ agent }) => {
      const { keeper } = running() ?? {};
      return keeper === undefined || agent === null ? null : keeper.recall(keeper.get(agent.id));
    },
    judge(exchange) {
      const current = running();
      try {
        exchange.drift = (current === null ? null : judge(exchange, current)) ?? unknown;
      } catch (fault) {
        exchange.drift = unknown;
        onFault(fault);
      }
    },
    learn(exchange) {
      const { drift } = exchange;
      const current = running();
      if (!(drift instanceof JudgedCall) || drift.isLearned || current === null) return;
      drift.isLearned = true;
      try {
        learn(exchange, drift, current);
      } catch (fault) {
        onFault(fault);
      }
    },
    readAlong({ drift }) {
      const current = running();
      if (!responses || !(drift instanceof JudgedCall) || current === null) return null;
      const { engine, telling } = current;
      const { kept, session, action } = drift;
      const onFound = (findings: Findings) => {
        const nowMs = clock();
        engine.drift.seenInResponse(wake(kept), session, action, findings, nowMs);
        if (findings.hashes.length === 0) return;
        telling.shown(kept.agent.id, session, action, findings.hashes, nowMs);
        kept.isDirty = true;
      };
      return createReadAlong(engine.openScan, onFound, onFault);
    },
  };
}

/** A denied call says nothing of what the agent may do; one that a fresh login has vouched for is the agent's own. */
function outcomeOf(
  { decision, failure, identity, arrivedAtMs }: Exchange,
  kept: KeptAgent,
  judged: JudgedCall,
): Outcome {
  if (decision?.effect !== 'allow' || failure?.reason === 'internal_error') {
    if (decision?.effect === 'deny' && decision.reason === 'step_up_required') kept.challengedAtMs = arrivedAtMs;
    return 'denied';
  }
  const { challengedAtMs } = kept;
  const isUnusual = judged.score >= defaultSettings.discountScore || judged.tainted;
  if (challengedAtMs === 0 || !isUnusual) return 'allowed';
  // OpenID Connect Core §2: auth_time is in whole seconds.
  const isAnswered = (identity?.accessToken.authTimeMs ?? 0) > challengedAtMs - 1000;
  if (!isAnswered || arrivedAtMs - challengedAtMs > challengeMs) return 'allowed';
  // A person has vouched for this call, and not for all that come after it.
  kept.challengedAtMs = 0;
  return 'confirmed';
}

/** Not where the client is to do the same again: after a login (401), later, or slower. */
const isRefused = (status: number) => status >= 400 && status < 500 && ![401, 408, 425, 429].includes(status);

/** What stands in the baseline for the call: not the path of something that is not there. */
function learnedAction({ route, operation, agent, outcome }: Exchange, { learned }: Engine): string | undefined {
  if (route === null || operation === null || agent === null || outcome.upstreamStatus === null) return undefined;
  return `${route.name} ${learned.learn({ route: route.name, operation, agent: agent.id, status: outcome.upstreamStatus })}`;
}
