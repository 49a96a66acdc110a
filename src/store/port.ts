/** What Postern asks of a store. The memory and Redis adapters both pass test/store/store.contract.ts. */

/** One counted dimension of a request. */
export type MeterHit = {
  /** Unique per meter and counted identity; hashed by the caller, safe as part of a key. */
  readonly key: string;
  readonly windowMs: number;
  /** Not negative, whole. */
  readonly cost: number;
};

/** Everything a request needs to know, asked at once: one round trip on the request path. */
export type CheckRequest = {
  readonly nowMs: number;
  /** Canonical revocation handles of the token and its presenter (revocation/handles.ts). */
  readonly handles: readonly string[];
  /** When the token was issued: some entries cover only what is older than they say. */
  readonly issuedAtMs: number;
  /**
   * The caller has looked the handles up itself, in a copy of the set as it was then. Where that is what the set still is,
   * nobody looks again. Null, or left out, for a caller that has not.
   */
  readonly knownAt?: FeedPosition | null;
  /** The proof that may be used once, and when it was made by its own account; null without a proof. */
  readonly singleUse: { readonly key: string; readonly lifetimeMs: number; readonly madeAtMs: number } | null;
  readonly meters: readonly MeterHit[];
};

/** A revoked request uses up no proof, and neither a revoked nor a replayed one is counted by meters. */
export type CheckAnswer = {
  /** Index into `handles` of the first that is revoked; -1 for none. */
  readonly revokedIndex: number;
  readonly isReplay: boolean;
  /** One count a meter, this request included. Empty after a revocation or replay. */
  readonly counts: readonly number[];
  /** One a meter: milliseconds until its count falls, if nothing more is counted. */
  readonly fallsInMs: readonly number[];
};

/** A revocation as it is kept. Times are whole milliseconds since the epoch. */
export type RevocationEntry = {
  /** Letters, digits, dash and underscore. */
  readonly id: string;
  /** Canonical handle, see revocation/handles.ts. */
  readonly handle: string;
  readonly kind: string;
  readonly value: string;
  readonly issuer: string | null;
  /** Only tokens issued before this are revoked; null for all. */
  readonly issuedBeforeMs: number | null;
  readonly reason: string;
  readonly author: string;
  readonly createdAtMs: number;
  /** When the entry may be forgotten; null for never. */
  readonly expiresAtMs: number | null;
};

/** `next` is where the next page begins; null after the last. */
export type RevocationPage = { readonly entries: readonly RevocationEntry[]; readonly next: string | null };

/** One change to the revocation set: ids of entries that are no longer in it, and the one that came. */
export type RevocationChange = { readonly removed: readonly string[]; readonly added: RevocationEntry | null };

/** How far somebody has followed the changes. Opaque to all but the store. */
export type FeedPosition = { readonly generation: string; readonly sequence: number; readonly head: string };

export type FeedAnswer = {
  /**
   * `followed`: `changes` is what came after. `gap`: the feed no longer goes back that far; copy the set. `lost`: the
   * store no longer holds what it once told, because it was emptied, replaced by one that lags behind, or evicts keys.
   */
  readonly outcome: 'followed' | 'gap' | 'lost';
  /** The one to ask with next time. */
  readonly position: FeedPosition;
  readonly changes: readonly RevocationChange[];
  /** Whether there are more changes already. */
  readonly isMore: boolean;
};

/** Every method rejects with StoreFault when the store can't answer within its timeout. */
export interface Store {
  /** Rejects also while the store is not what `changes` has told of: it was emptied, and can't tell any more. */
  check(request: CheckRequest): Promise<CheckAnswer>;
  /**
   * Takes effect before the promise settles. Replaces the entries of the same handle that the new one makes superfluous:
   * those by the same author that revoke no more tokens and last no longer, all of them or all of older tokens.
   */
  revoke(entry: RevocationEntry): Promise<void>;
  /** The entry that was lifted, or null where there is none by this id. */
  lift(id: string): Promise<RevocationEntry | null>;
  /** One page of the entries that have not expired, newest first. May be short of `limit` without being the last. */
  revocations(page: {
    readonly nowMs: number;
    readonly limit: number;
    readonly cursor: string | null;
  }): Promise<RevocationPage>;
  /** What has changed in the revocation set since; `gap` for null. */
  changes(since: FeedPosition | null): Promise<FeedAnswer>;
  /** Every entry, in no order; one may come twice, and some may have expired. Null for the first page. */
  copy(cursor: string | null): Promise<RevocationPage>;
  /**
   * Gives back to the store what it has lost. Ids of entries that it did not take, because they were lifted or others
   * cover them. `lifted` are ids that must not come back.
   */
  restore(entries: readonly RevocationEntry[], lifted: readonly string[]): Promise<readonly string[]>;
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Revocation entries in memory: what the memory store and every mirror look things up in, at once and in no time. */
export type RevocationSet = {
  /** Index of the first handle that is revoked for a token of this age; -1 for none. */
  readonly firstRevoked: (handles: readonly string[], issuedAtMs: number, nowMs: number) => number;
  /** Adds the entry and gives the ids that it replaces; null where there is no room. */
  readonly put: (entry: RevocationEntry) => readonly string[] | null;
  readonly ofHandle: (handle: string) => readonly RevocationEntry[];
  readonly find: (id: string) => RevocationEntry | null;
  readonly remove: (id: string) => RevocationEntry | null;
  /** Forgets what has expired. */
  readonly sweep: (nowMs: number, onForgotten?: (entry: RevocationEntry) => void) => void;
  readonly entries: () => Iterable<RevocationEntry>;
  readonly size: () => number;
};
