/** What is under way, so that it can be ended when it is revoked. Costs a request one small object. */

import type { Standing } from '../exchange.ts';

export type Live = {
  /** Takes an exchange in. Whoever asks must call `end` when it is over. */
  readonly watch: (handles: readonly string[], issuedAtMs: number) => Standing;
  /** Looks at everything under way, after revocations have come. */
  readonly review: () => void;
};

/** `firstRevoked` is the mirror's. */
export function createLive(firstRevoked: (handles: readonly string[], issuedAtMs: number) => number): Live {
  const standings = new Set<LiveStanding>();

  function judge(standing: LiveStanding): void {
    const index = firstRevoked(standing.handles, standing.issuedAtMs);
    if (index >= 0) standing.revokedBy = standing.handles[index] ?? '';
  }

  return {
    watch(handles, issuedAtMs) {
      const standing = new LiveStanding(handles, issuedAtMs, standings);
      judge(standing);
      standings.add(standing);
      return standing;
    },
    review() {
      for (const standing of standings) {
        if (standing.revokedBy !== null) continue;
        judge(standing);
        if (standing.revokedBy !== null) standing.onRevoked?.();
      }
    },
  };
}

class LiveStanding implements Standing {
  readonly handles: readonly string[];
  readonly issuedAtMs: number;
  revokedBy: string | null = null;
  onRevoked: (() => void) | null = null;
  readonly #standings: Set<LiveStanding>;

  constructor(handles: readonly string[], issuedAtMs: number, standings: Set<LiveStanding>) {
    this.handles = handles;
    this.issuedAtMs = issuedAtMs;
    this.#standings = standings;
  }

  end(): void {
    this.onRevoked = null;
    this.#standings.delete(this);
  }
}
