/** What can be wrong with a request, as far as it can be seen from outside. */

export type Flaw = {
  readonly what: string;
  readonly statuses: readonly number[];
  /** Whether nothing after this request may be answered. */
  readonly closes: 'must' | 'may';
  /** The request may be cut off without an answer: its head was good. */
  readonly isSilent?: boolean;
};

export const refusedAs = (what: string, statuses: readonly number[], closes: Flaw['closes']): Flaw => ({
  what,
  statuses,
  closes,
});
