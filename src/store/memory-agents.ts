/** Agents that have called, for a single process. Forgotten when it ends. */

import { agentBounds, agentsKeptMs, seenLists } from './agent-bounds.ts';
import type { AgentBounds, AgentStore, SeenAgent, SeenList, SeenSummary, SeenToken, Sighting } from './agent-port.ts';

const scanPiece = 100;

type Kept = {
  readonly id: string;
  owner: string | null;
  team: string | null;
  calls: number;
  firstMs: number;
  lastMs: number;
  /** Values in the order in which they were last seen. */
  readonly lists: Readonly<Record<SeenList, Set<string>>>;
  readonly tokens: Map<string, SeenToken>;
};

export function createMemoryAgents(bounds: AgentBounds = agentBounds): AgentStore {
  /** In the order in which they were last seen. */
  const agents = new Map<string, Kept>();

  function note(sighting: Sighting, nowMs: number): void {
    const kept = agents.get(sighting.id) ?? openAgent(sighting);
    agents.delete(sighting.id);
    agents.set(sighting.id, kept);
    kept.calls += sighting.calls;
    kept.firstMs = Math.min(kept.firstMs, sighting.firstMs);
    kept.lastMs = Math.max(kept.lastMs, sighting.lastMs);
    if (sighting.described !== null) {
      kept.owner = sighting.described.owner;
      kept.team = sighting.described.team;
    }
    for (const list of seenLists) remember(kept.lists[list], sighting[list], bounds[list]);
    for (const token of sighting.tokens) kept.tokens.set(JSON.stringify(token), token);
    trimTokens(kept.tokens, nowMs, bounds.tokens);
  }

  function live(nowMs: number): readonly Kept[] {
    return [...agents.values()].filter((kept) => kept.lastMs > nowMs - agentsKeptMs);
  }

  return {
    async note(sightings, nowMs) {
      for (const sighting of sightings) note(sighting, nowMs);
      for (const [id, { lastMs }] of agents) {
        if (agents.size <= bounds.agents && lastMs > nowMs - agentsKeptMs) break;
        agents.delete(id);
      }
    },
    async summaries(nowMs) {
      return live(nowMs).map(summaryOf);
    },
    async find(id, nowMs) {
      const kept = live(nowMs).find((agent) => agent.id === id);
      return kept === undefined ? null : showAgent(kept, nowMs);
    },
    async *scan(nowMs) {
      const all = live(nowMs);
      for (let from = 0; from < all.length; from += scanPiece) {
        yield all.slice(from, from + scanPiece).map((kept) => showAgent(kept, nowMs));
      }
    },
    async countSince(sinceMs) {
      return [...agents.values()].filter(({ lastMs }) => lastMs >= sinceMs).length;
    },
  };
}

function openAgent({ id, firstMs, lastMs }: Sighting): Kept {
  return {
    id,
    owner: null,
    team: null,
    calls: 0,
    firstMs,
    lastMs,
    lists: { issuers: new Set(), keys: new Set(), subjects: new Set(), chains: new Set() },
    tokens: new Map(),
  };
}

function remember(list: Set<string>, values: readonly string[], most: number): void {
  for (const value of values) {
    list.delete(value);
    list.add(value);
  }
  dropFirst(list, list.size - most);
}

function trimTokens(tokens: Map<string, SeenToken>, nowMs: number, most: number): void {
  for (const [key, { expiresAtMs }] of tokens) if (expiresAtMs <= nowMs) tokens.delete(key);
  if (tokens.size <= most) return;
  const soonest = [...tokens].toSorted(([, one], [, other]) => one.expiresAtMs - other.expiresAtMs);
  for (const [key] of soonest.slice(0, tokens.size - most)) tokens.delete(key);
}

function dropFirst(list: Set<string>, count: number): void {
  let left = count;
  for (const value of list) {
    if (left-- <= 0) return;
    list.delete(value);
  }
}

function summaryOf({ id, owner, team, calls, firstMs, lastMs }: Kept): SeenSummary {
  return { id, owner, team, calls, firstMs, lastMs };
}

function showAgent(kept: Kept, nowMs: number): SeenAgent {
  const { lists, tokens } = kept;
  return {
    ...summaryOf(kept),
    issuers: [...lists.issuers].reverse(),
    keys: [...lists.keys].reverse(),
    subjects: [...lists.subjects].reverse(),
    chains: [...lists.chains].reverse(),
    tokens: [...tokens.values()].filter(({ expiresAtMs }) => expiresAtMs > nowMs),
  };
}
