/**
 * What Postern asks of a store about behaviour: pieces of state that several sidecars read, merge and write back, and
 * what they tell each other. Both adapters pass test/store/drift.contract.ts. Used off the request path.
 */

/** A piece of state as it is stored. Versions are opaque, and never come again. */
export type Stored = { readonly version: string; readonly bytes: Uint8Array };

/** A member of a channel. What is told there reaches those who hear it at that moment, and is kept nowhere. */
export type Channel = {
  /** Tells the other members, and gives how many of them heard it as far as is known. Rejects with StoreFault. */
  readonly tell: (text: string) => Promise<number>;
  readonly close: () => void;
};

export type ChannelListener = {
  /** What another member has told, whoever that is. Must not throw. */
  readonly onTold: (text: string) => void;
  /** Why nobody is heard at the moment; null where they are again. Told of changes only. */
  readonly onFault: (fault: Error | null) => void;
};

/** A longer text is not told, and not heard. */
export const toldCharsMax = 262_144;

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
  /** Joins a channel, and joins it again by itself whenever the store was away. */
  join(name: string, listener: ChannelListener): Channel;
}
