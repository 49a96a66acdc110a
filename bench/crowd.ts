/**
 * A crowd of agents that call through what production has for behaviour, without HTTP around it: recalled from the store,
 * judged, learned from, listed as seen.
 */

import { pino } from 'pino';
import { createSeenAgents, type SeenAgents } from '../src/agents/seen.ts';
import { drift as driftSection } from '../src/config/schema-drift.ts';
import { createDriftParts, type DriftParts } from '../src/drift-parts.ts';
import type { AccessToken, Agent, Exchange, Possession } from '../src/exchange.ts';
import { createClosers } from '../src/lifecycle.ts';
import type { AgentStore } from '../src/store/agent-port.ts';
import type { DriftStore } from '../src/store/drift-port.ts';

export type CrowdOptions = {
  readonly store: DriftStore;
  readonly agentStore: AgentStore;
  /** Those of the section drift that are not the default. */
  readonly drift?: object;
};

export type Crowd = {
  /** One call; resolves to the calls that the agent was known for before. */
  readonly call: (agent: string, path: string) => Promise<number>;
  readonly parts: DriftParts;
  readonly seen: SeenAgents;
  /** Agents whose learning was lost because the store did not take it in time. */
  readonly lost: () => number;
  readonly stale: () => number;
  readonly close: () => Promise<void>;
};

const pendingAgentsMax = 10_000;
const seenFlushMs = 5000;
const tokenMs = 300_000;

export async function openCrowd({ store, agentStore, drift = {} }: CrowdOptions): Promise<Crowd> {
  const closers = createClosers((fault) => {
    throw fault;
  });
  let [lost, stale] = [0, 0];
  const parts = createDriftParts({
    config: driftSection.parse(drift),
    store,
    clock: Date.now,
    logger: pino({ level: 'silent' }),
    metrics: {
      observeDrift: (scores) => {
        if (scores.stale) stale++;
      },
      countDriftLost: () => {
        lost++;
      },
    },
    sinks: { write: () => {} },
    documented: new Set<string>(),
    closers,
  });
  const seen = createSeenAgents({
    store: agentStore,
    clock: Date.now,
    flushMs: seenFlushMs,
    agentsMax: pendingAgentsMax,
    onFlush: () => {},
  });
  closers.add(seen.close);
  await parts.start();
  return {
    parts,
    seen,
    lost: () => lost,
    stale: () => stale,
    close: closers.closeAll,
    async call(agent, path) {
      const exchange = exchangeOf(agent, path);
      const { identity } = exchange;
      if (identity !== null && exchange.agent !== null) {
        const { accessToken, possession } = identity;
        seen.note({ accessToken, possession, agent: exchange.agent, handles: [`jti:${agent}`] }, exchange.arrivedAtMs);
      }
      await parts.stage.recall(exchange);
      parts.stage.judge(exchange);
      parts.stage.learn(exchange);
      return exchange.drift?.samples ?? 0;
    },
  };
}

/** As much of an allowed exchange that has ended as behaviour looks at. */
function exchangeOf(id: string, path: string): Exchange {
  const nowMs = Date.now();
  const unknown = { owner: null, team: null, group: null, owners: [], registered: false, status: 'unknown' } as const;
  const agent: Agent = { id, issuer: '', ...unknown };
  const accessToken: Partial<AccessToken> = {
    issuer: 'https://login.example.com',
    subject: id,
    jti: id,
    issuedAtMs: nowMs,
    expiresAtMs: nowMs + tokenMs,
    confirmation: { jkt: id, x5t: null },
    actors: [],
    authTimeMs: null,
  };
  const possession: Partial<Possession> = { jkt: id, x5t: null };
  const target = { path, query: null };
  // The other members belong to stages that are not here.
  return {
    id,
    arrivedAtMs: nowMs,
    request: { method: 'GET', target, fields: new Map() },
    route: { name: 'api' },
    identity: { accessToken, possession },
    agent,
    operation: `GET ${path}`,
    heldBody: null,
    decision: { effect: 'allow' },
    failure: null,
    outcome: { status: 200, upstreamStatus: 200, bytesIn: 0, bytesOut: 0, end: 'complete' },
  } as unknown as Exchange;
}
