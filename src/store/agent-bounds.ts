/** How much is kept of agents that have called. */

import type { AgentBounds, SeenList } from './agent-port.ts';

export const seenLists = ['issuers', 'keys', 'subjects', 'chains'] as const satisfies readonly SeenList[];

export const agentsKeptMs = 30 * 86_400_000;

export const agentBounds: AgentBounds = {
  agents: 10_000,
  issuers: 8,
  keys: 256,
  subjects: 64,
  chains: 32,
  tokens: 32,
};
