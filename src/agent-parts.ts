/** What a sidecar knows of agents: the registry that it follows, and those that it has seen. */

import type { Logger } from 'pino';
import { boundHandles, createAnswerAgents } from './admin-agents.ts';
import type { AnswerBaseline } from './admin-baseline.ts';
import { followRegistry, type RegistryFile } from './agents/registry-file.ts';
import { createSeenAgents, markOf, type SeenAgents } from './agents/seen.ts';
import { createAgentViews } from './agents/views.ts';
import type { Config } from './config/schema.ts';
import { lineOfProblem, StoreFault } from './errors.ts';
import type { Closers } from './lifecycle.ts';
import type { Metrics } from './record/metrics.ts';
import { ownerHandle } from './revocation/handles.ts';
import { createOffboard } from './revocation/offboard.ts';
import { createPreview } from './revocation/preview.ts';
import type { RevocationParts } from './revocation-parts.ts';
import type { AgentStore } from './store/agent-port.ts';
import type { Vetted } from './vet-configuration.ts';

const registryPollMs = 2000;
const flushMs = 5000;
const pendingAgentsMax = 10_000;

export type AgentParts = {
  readonly registry: RegistryFile;
  readonly seen: SeenAgents;
  readonly store: AgentStore;
};

export function createAgentParts(options: {
  readonly config: Config['agents'];
  readonly vetted: Vetted;
  readonly store: AgentStore;
  readonly clock: () => number;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly closers: Closers;
}): AgentParts {
  const { config, vetted, store, clock, logger, metrics, closers } = options;
  const registry = followRegistry({
    file: config.file ?? null,
    registry: vetted.registry,
    pollMs: registryPollMs,
    onChange: (change) => {
      metrics.countReload(change.outcome);
      if (change.outcome === 'loaded') logger.info({ agents: change.agents }, 'the registry of agents was read again');
      else {
        const problems = change.problems.map(lineOfProblem);
        logger.error({ problems }, 'the registry of agents has changed and is no good; the last good one stays');
      }
    },
    onFault: (fault) => logger.error({ err: fault }, 'the registry of agents could not be looked at'),
  });
  closers.add(registry.close);
  let isTold = true;
  const seen = createSeenAgents({
    store,
    clock,
    flushMs,
    agentsMax: pendingAgentsMax,
    onFlush: (fault) => {
      const wasTold = isTold;
      isTold = fault === null;
      if (fault === null || !wasTold) return;
      if (fault instanceof StoreFault)
        logger.warn({ problem: fault.message }, 'the store is not told which agents call');
      else logger.error({ err: fault }, 'an unforeseen fault in telling the store which agents call');
    },
  });
  closers.add(seen.close);
  return { registry, seen, store };
}

/** What the admin API says of agents, and of what a revocation would hit. */
export function createAgentAdmin(options: {
  readonly agents: AgentParts;
  readonly revocation: Pick<RevocationParts, 'mirror' | 'revocations'>;
  readonly baseline: AnswerBaseline;
  readonly clock: () => number;
}) {
  const { agents, revocation, baseline, clock } = options;
  const { registry, seen, store } = agents;
  const views = createAgentViews({
    registry: registry.current,
    store,
    clock,
    flush: seen.flush,
    ownerKey: ownerHandle,
  });
  const offboard = createOffboard({
    create: revocation.revocations.create,
    boundTo: async (agent) => boundHandles((await views.find(agent))?.seen ?? null),
    agentsOf: views.ownedBy,
  });
  return {
    answer: createAnswerAgents({ views, offboard, baseline, revocationsOf: revocation.mirror.ofHandle }),
    preview: createPreview({ scan: views.scan, markOf, ownersOf: views.ownersOf }),
  };
}
