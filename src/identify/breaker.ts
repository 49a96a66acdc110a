/** Leaves a peer alone for a while that fails again and again, and then tries it with one question at a time. */

export type Breaker = {
  readonly succeeded: () => void;
  readonly failed: () => void;
  /** Whether another question may be asked, with this many under way. */
  readonly allows: (underWay: number) => boolean;
  /** Whether so many failures have come in a row that the peer is left alone, or tried with one question at a time. */
  readonly isOpen: () => boolean;
  /** How long nothing may be asked; 0 where nothing stands in the way. */
  readonly waitMs: () => number;
};

export type BreakerOptions = {
  readonly clock: () => number;
  /** A single failure may be the network's; this many in a row are the peer's. */
  readonly failuresMax: number;
  /** The wait doubles with every failed try. */
  readonly firstWaitMs: number;
  readonly longestWaitMs: number;
};

export function createBreaker({ clock, failuresMax, firstWaitMs, longestWaitMs }: BreakerOptions): Breaker {
  let failures = 0;
  let waits = 0;
  let notBeforeMs = Number.NEGATIVE_INFINITY;
  const waitMs = () => Math.max(0, notBeforeMs - clock());
  return {
    waitMs,
    isOpen: () => failures >= failuresMax,
    succeeded: () => {
      failures = 0;
      waits = 0;
    },
    failed: () => {
      failures += 1;
      // Failures of questions that were under way together count once for how long the wait is.
      if (failures < failuresMax || waitMs() > 0) return;
      notBeforeMs = clock() + Math.min(longestWaitMs, firstWaitMs * 2 ** waits);
      waits += 1;
    },
    allows: (underWay) => failures < failuresMax || (waitMs() === 0 && underWay === 0),
  };
}
