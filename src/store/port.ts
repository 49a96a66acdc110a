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
  /** The proof that may be used once; null without a proof. */
  readonly singleUse: { readonly key: string; readonly lifetimeMs: number } | null;
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

/** A revocation as it is kept. Times are milliseconds since the epoch. */
export type RevocationEntry = {
  readonly id: string;
  /** Canonical handle, see revocation/handles.ts. */
  readonly handle: string;
  readonly kind: string;
  readonly value: string;
  readonly issuer: string | null;
  readonly reason: string;
  readonly author: string;
  readonly createdAtMs: number;
  /** When the entry may be forgotten; null for never. */
  readonly expiresAtMs: number | null;
};

/** Every method rejects with StoreFault when the store can't answer within its timeout. */
export interface Store {
  check(request: CheckRequest): Promise<CheckAnswer>;
  /** Takes effect before the promise settles. Revoking a handle again replaces its entry. */
  revoke(entry: RevocationEntry): Promise<void>;
  /** The entry that was lifted, or null where there is none by this id. */
  lift(id: string): Promise<RevocationEntry | null>;
  /** Entries that have not expired, newest first. */
  revocations(nowMs: number): Promise<readonly RevocationEntry[]>;
  ping(): Promise<void>;
  close(): Promise<void>;
}
