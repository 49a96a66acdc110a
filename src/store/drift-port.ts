/**
 * What Postern asks of a store about behaviour: pieces of state that several sidecars read, merge and write back. Both
 * adapters pass test/store/drift.contract.ts. Written off the request path.
 */

/** A piece of state as it is stored. Versions are opaque, and never come again. */
export type Stored = { readonly version: string; readonly bytes: Uint8Array };

/** Every method rejects with StoreFault when the store can't answer. Names are of letters, digits, `.:_-`. */
export interface DriftStore {
  read(name: string): Promise<Stored | null>;
  /**
   * Writes where the stored version still is the expected one, null for nothing stored, and gives the new version; null
   * where it is another. Forgotten when it was not written for so long; null for never.
   */
  write(name: string, expected: string | null, bytes: Uint8Array, lifetimeMs: number | null): Promise<string | null>;
  /** Which of these there are. */
  has(names: readonly string[]): Promise<readonly boolean[]>;
}
