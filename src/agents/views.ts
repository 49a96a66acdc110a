/** Agents as the admin API shows them: what the registry says, and what was seen. */

import type { AgentStore, SeenAgent, SeenSummary } from '../store/agent-port.ts';
import { statusOf } from './describe.ts';
import type { RegisteredAgent, Registry } from './registry.ts';

const limitUsual = 100;
const limitMax = 1000;

export type AgentViewsOptions = {
  readonly registry: () => Registry;
  readonly store: AgentStore;
  readonly clock: () => number;
  /** Tells the store what this sidecar has not told yet. */
  readonly flush: () => Promise<void>;
  /** What the names of one owner have in common, however each is written. */
  readonly ownerKey: (owner: string) => string;
};

export type AgentPage = { readonly agents: readonly object[]; readonly next: string | null };

export type AgentViews = {
  /** `query` is what follows the question mark. */
  readonly list: (query: string) => Promise<AgentPage | { readonly problem: string }>;
  readonly find: (id: string) => Promise<FoundAgent | null>;
  /** Ids of agents that this human answers for, by the registry or, for those not in it, by what was seen. */
  readonly ownedBy: (owner: string) => Promise<readonly string[]>;
  readonly ownersOf: (agent: Pick<SeenSummary, 'id' | 'owner'>) => readonly string[];
  /** What was seen of all agents of the last 30 days, that of this sidecar included. */
  readonly scan: () => AsyncIterable<readonly SeenAgent[]>;
};

export type FoundAgent = { readonly view: object; readonly seen: SeenAgent | null; readonly owners: readonly string[] };

export function createAgentViews({ registry, store, clock, flush, ownerKey }: AgentViewsOptions): AgentViews {
  async function read<Read>(ask: () => Promise<Read>): Promise<Read> {
    await flush();
    return ask();
  }

  function ownersOf({ id, owner }: Pick<SeenSummary, 'id' | 'owner'>): readonly string[] {
    const registered = registry()
      .entriesOf(id)
      .map((entry) => entry.owner);
    return registered.length > 0 ? registered : owner === null ? [] : [owner];
  }

  const isOwned = (agent: Pick<SeenSummary, 'id' | 'owner'>, key: string) =>
    ownersOf(agent).some((owner) => ownerKey(owner) === key);

  return {
    async list(query) {
      const page = readPage(new URLSearchParams(query));
      if ('problem' in page) return page;
      const nowMs = clock();
      const seen = new Map((await read(() => store.summaries(nowMs))).map((summary) => [summary.id, summary]));
      const { entries, entriesOf } = registry();
      const owner = page.owner === null ? null : ownerKey(page.owner);
      const known = new Set([...entries.map(({ id }) => id), ...seen.keys()]);
      const owned = [...known].filter((id) => {
        if (page.after !== null && id <= page.after) return false;
        return owner === null || isOwned({ id, owner: seen.get(id)?.owner ?? null }, owner);
      });
      const ids = owned.toSorted(byCodeUnit);
      const shown = ids.slice(0, page.limit);
      const agents = shown.map((id) => ({
        id,
        registry: entriesOf(id).map((entry) => entryView(entry, nowMs)),
        seen: summaryView(seen.get(id) ?? null),
      }));
      return { agents, next: ids.length > page.limit ? (shown.at(-1) ?? null) : null };
    },

    async find(id) {
      const nowMs = clock();
      const entries = registry().entriesOf(id);
      const seen = await read(() => store.find(id, nowMs));
      if (entries.length === 0 && seen === null) return null;
      const owners = ownersOf({ id, owner: seen?.owner ?? null });
      const registered = entries.map((entry) => entryView(entry, nowMs));
      return { view: { id, registry: registered, seen: seenView(seen) }, seen, owners };
    },

    async ownedBy(owner) {
      const key = ownerKey(owner);
      const registered = registry().entries.filter((entry) => ownerKey(entry.owner) === key);
      const seen = (await read(() => store.summaries(clock()))).filter((agent) => isOwned(agent, key));
      return [...new Set([...registered, ...seen].map(({ id }) => id))].toSorted(byCodeUnit);
    },

    ownersOf,

    async *scan() {
      await flush();
      yield* store.scan(clock());
    },
  };
}

/** The order that pages go by. */
function byCodeUnit(one: string, other: string): number {
  return one < other ? -1 : 1;
}

function entryView(entry: RegisteredAgent, nowMs: number) {
  const { issuer, owner, team, group, contact, expiresAtMs } = entry;
  const expires = Number.isFinite(expiresAtMs) ? timeView(expiresAtMs) : null;
  return { issuer, owner, team, group, contact, status: statusOf(entry, nowMs), expires };
}

function summaryView(seen: SeenSummary | null) {
  if (seen === null) return null;
  const { owner, team, calls, firstMs, lastMs } = seen;
  return { owner, team, calls, first_seen: timeView(firstMs), last_seen: timeView(lastMs) };
}

function seenView(seen: SeenAgent | null) {
  if (seen === null) return null;
  const { issuers, keys, subjects, chains, tokens } = seen;
  return {
    ...summaryView(seen),
    issuers,
    keys,
    subjects: subjects.map((json) => {
      const [sub, iss]: unknown[] = JSON.parse(json);
      return { sub, iss };
    }),
    chains: chains.map((json): unknown => JSON.parse(json)),
    live_tokens: tokens.length,
  };
}

const timeView = (ms: number) => new Date(ms).toISOString();

type Page = { readonly owner: string | null; readonly after: string | null; readonly limit: number };

function readPage(query: URLSearchParams): Page | { readonly problem: string } {
  const unknown = [...query.keys()].find((key) => key !== 'owner' && key !== 'after' && key !== 'limit');
  if (unknown !== undefined) return { problem: 'the query takes owner, after and limit only' };
  const limit = Number(query.get('limit') ?? limitUsual);
  if (!Number.isInteger(limit) || limit < 1 || limit > limitMax) return { problem: `limit must be 1 to ${limitMax}` };
  return { owner: query.get('owner'), after: query.get('after'), limit };
}
