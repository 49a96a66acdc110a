/**
 * Which agents call, with which keys, for whom and in which chains. Noted for every request whose token and key have
 * been verified, in memory, and told to the store every few seconds, off the request path. A known token costs a lookup
 * and two writes; everything else is done once a token and interval.
 */

import { hash } from 'node:crypto';
import type { AccessToken, Agent, Possession } from '../exchange.ts';
import type { AgentStore, SeenToken, Sighting } from '../store/agent-port.ts';

const idCharsMax = 4096;
/** Of one agent between two flushes. The store has bounds of its own. */
const valuesMax = 256;
/** Of 48 bits two differ well enough to count by. */
const markChars = 8;

export type SeenAgentsOptions = {
  readonly store: AgentStore;
  readonly clock: () => number;
  readonly flushMs: number;
  /** Agents remembered between two flushes; beyond it the one that came first goes. */
  readonly agentsMax: number;
  /** Told when the store takes nothing, and when it takes something again. */
  readonly onFlush: (fault: unknown) => void;
};

export type SeenAgents = {
  readonly note: (seen: Seen, nowMs: number) => void;
  /** Tells the store now. Rejects with StoreFault where it can't; what is not told is kept for the next time. */
  readonly flush: () => Promise<void>;
  readonly close: () => Promise<void>;
};

export type Seen = {
  readonly accessToken: AccessToken;
  readonly possession: Possession;
  readonly agent: Agent;
  /** Everything that the request can be revoked by. */
  readonly handles: readonly string[];
};

type Lists = { readonly [list in 'issuers' | 'keys' | 'subjects' | 'chains']: Set<string> };
type Pending = Lists & {
  readonly id: string;
  described: Agent | null;
  calls: number;
  firstMs: number;
  lastMs: number;
  readonly tokens: Map<AccessToken, readonly string[]>;
};

/** Where the calls of a token are counted, as long as it comes with this key and is described so. */
type Slot = { readonly pendingAgent: Pending; readonly agent: Agent; readonly jkt: string | null };

export function createSeenAgents(options: SeenAgentsOptions): SeenAgents {
  const { store, clock, flushMs, agentsMax, onFlush } = options;
  let pending = new Map<string, Pending>();
  let slots = new WeakMap<AccessToken, Slot>();
  let running: Promise<void> | null = null;

  const open: Open = (id, nowMs) => {
    const known = pending.get(id);
    if (known !== undefined) {
      known.lastMs = nowMs;
      return known;
    }
    if (pending.size >= agentsMax) {
      const [first] = pending.keys();
      if (first !== undefined) pending.delete(first);
    }
    const opened = emptyPending(id, nowMs);
    pending.set(id, opened);
    return opened;
  };

  async function tell(): Promise<void> {
    if (pending.size === 0) return;
    const told = pending;
    pending = new Map();
    slots = new WeakMap();
    try {
      await store.note([...told.values()].map(sightingOf), clock());
    } catch (fault) {
      keep(told);
      throw fault;
    }
  }

  /** What could not be told goes back, under what has come since. Lists stay bounded; the oldest agents go first. */
  function keep(told: ReadonlyMap<string, Pending>): void {
    const since = pending;
    const room = agentsMax - since.size;
    pending = new Map(room > 0 ? [...told].slice(-room) : []);
    slots = new WeakMap();
    for (const [id, later] of since) {
      const earlier = pending.get(id);
      pending.delete(id);
      pending.set(id, earlier === undefined ? later : joined(earlier, later));
    }
  }

  const flush = async () => {
    // What is being told does not hold what has come since.
    await running?.catch(() => {});
    running ??= tell().finally(() => {
      running = null;
    });
    await running;
  };
  const quietly = () => flush().then(() => onFlush(null), onFlush);
  const timer = setInterval(quietly, flushMs);
  timer.unref();

  return {
    note(seen, nowMs) {
      const slot = slots.get(seen.accessToken);
      if (slot === undefined || slot.jkt !== seen.possession.jkt || slot.agent !== seen.agent) {
        const pendingAgent = noteToken(seen, open, nowMs);
        const { agent, possession } = seen;
        if (pendingAgent !== null) slots.set(seen.accessToken, { pendingAgent, agent, jkt: possession.jkt });
        return;
      }
      slot.pendingAgent.calls++;
      slot.pendingAgent.lastMs = nowMs;
    },
    flush,
    async close() {
      clearInterval(timer);
      await flush().catch(onFlush);
    },
  };
}

/** What is pending of an agent, new where there is nothing yet. */
type Open = (id: string, nowMs: number) => Pending;

function emptyPending(id: string, nowMs: number): Pending {
  return {
    id,
    described: null,
    calls: 0,
    firstMs: nowMs,
    lastMs: nowMs,
    issuers: new Set(),
    keys: new Set(),
    subjects: new Set(),
    chains: new Set(),
    tokens: new Map(),
  };
}

/** The agent that presents the token; null where its id is too long to be revoked by. */
function noteToken({ accessToken, possession, agent, handles }: Seen, open: Open, nowMs: number): Pending | null {
  const { subject, issuer, actors } = accessToken;
  if (agent.id.length > idCharsMax) return null;
  const presenter = open(agent.id, nowMs);
  presenter.calls++;
  presenter.described = agent;
  add(presenter.issuers, agent.issuer);
  add(presenter.subjects, JSON.stringify([subject, issuer]));
  for (const key of [possession.jkt, accessToken.confirmation.jkt]) if (key !== null) add(presenter.keys, key);
  if (presenter.tokens.size < valuesMax) presenter.tokens.set(accessToken, handles);
  if (actors.length > 0) noteChain(accessToken, open, nowMs);
  return presenter;
}

/** RFC 8693 §4.1: inner actors are what the token says, and informational. Here they only tell who was part of it. */
function noteChain({ subject, issuer, actors, subjectType }: AccessToken, open: Open, nowMs: number): void {
  const chain = JSON.stringify([...actors.map(({ sub }) => sub), subject]);
  for (const { sub, iss } of actors) {
    if (sub.length > idCharsMax) continue;
    const link = open(sub, nowMs);
    add(link.chains, chain);
    add(link.issuers, iss);
  }
  if (subjectType === 'user' || subjectType === 'unknown' || subject.length > idCharsMax) return;
  const origin = open(subject, nowMs);
  add(origin.chains, chain);
  add(origin.subjects, JSON.stringify([subject, issuer]));
}

function add(list: Set<string>, value: string): void {
  if (list.size < valuesMax) list.add(value);
}

function joined(earlier: Pending, later: Pending): Pending {
  for (const list of ['issuers', 'keys', 'subjects', 'chains'] as const) {
    for (const value of later[list]) add(earlier[list], value);
  }
  for (const [token, handles] of later.tokens) if (earlier.tokens.size < valuesMax) earlier.tokens.set(token, handles);
  const { described, calls, lastMs } = later;
  return { ...earlier, described: described ?? earlier.described, calls: earlier.calls + calls, lastMs };
}

const marksOfToken = new WeakMap<AccessToken, { readonly handles: readonly string[]; readonly seen: SeenToken }>();

function sightingOf(pending: Pending): Sighting {
  const { id, described, calls, firstMs, lastMs, issuers, keys, subjects, chains, tokens } = pending;
  return {
    id,
    described: described === null ? null : { owner: described.owner, team: described.team },
    calls,
    firstMs,
    lastMs,
    issuers: [...issuers],
    keys: [...keys],
    subjects: [...subjects],
    chains: [...chains],
    tokens: [...tokens].map(([token, handles]) => seenToken(token, handles)),
  };
}

function seenToken(accessToken: AccessToken, handles: readonly string[]): SeenToken {
  const known = marksOfToken.get(accessToken);
  if (known !== undefined && known.handles === handles) return known.seen;
  const { issuedAtMs, expiresAtMs } = accessToken;
  const seen = { issuedAtMs, expiresAtMs, marks: handles.map(markOf) };
  marksOfToken.set(accessToken, { handles, seen });
  return seen;
}

/** What stands for a revocation handle in the store. */
export function markOf(handle: string): string {
  return hash('sha256', handle, 'base64url').slice(0, markChars);
}
