/**
 * What Postern asks of a store about agents that have called. Both adapters pass test/store/agents.contract.ts. Written
 * off the request path, a few seconds late, and bounded: it tells who was there, and decides about nobody.
 */

/** A token that an agent presented. */
export type SeenToken = {
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** Digests of the revocation handles that it can be revoked by. */
  readonly marks: readonly string[];
};

/** Lists of an agent, each bounded; what was seen longest ago is forgotten first. */
export type SeenList = 'issuers' | 'keys' | 'subjects' | 'chains';
export type SeenLists = { readonly [list in SeenList]: readonly string[] };

/** What one sidecar has seen of an agent since it last told. */
export type Sighting = SeenLists & {
  readonly id: string;
  /** Null where nothing was said about either, as of an agent that only occurs in the chain of another. */
  readonly described: { readonly owner: string | null; readonly team: string | null } | null;
  readonly calls: number;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly tokens: readonly SeenToken[];
};

export type SeenSummary = {
  readonly id: string;
  readonly owner: string | null;
  readonly team: string | null;
  readonly calls: number;
  readonly firstMs: number;
  readonly lastMs: number;
};

/** Lists are newest first; tokens are those that have not expired. */
export type SeenAgent = SeenSummary & SeenLists & { readonly tokens: readonly SeenToken[] };

export type AgentBounds = { readonly [bound in SeenList | 'agents' | 'tokens']: number };

/** Every method rejects with StoreFault when the store can't answer. */
export interface AgentStore {
  /** Adds to what is known. */
  note(sightings: readonly Sighting[], nowMs: number): Promise<void>;
  /** Agents seen in the last 30 days, in no order. */
  summaries(nowMs: number): Promise<readonly SeenSummary[]>;
  find(id: string, nowMs: number): Promise<SeenAgent | null>;
  /** All of them, in pieces. */
  scan(nowMs: number): AsyncIterable<readonly SeenAgent[]>;
  /** How many were seen at this time or later. */
  countSince(sinceMs: number): Promise<number>;
}
