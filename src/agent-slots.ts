/** How many exchanges one agent may have under way, so that a slow or busy one does not take what others need. */

import { type Deny, deny } from './decision.ts';
import type { Agent } from './exchange.ts';

/** Gives what makes room again, to be called once; a Deny where the agent has no room left. Counted in this process. */
export type TakeSlot = (agent: Pick<Agent, 'id' | 'issuer'>) => (() => void) | Deny;

/**
 * `taken` counts by agent. It holds agents with something under way only, so it is as large as that at most; whoever
 * changes `slotsMax` hands on the same one.
 */
export function createTakeSlot(slotsMax: number, taken = new Map<string, number>()): TakeSlot {
  return ({ id, issuer }) => {
    // Ids are unique within an issuer, and no issuer holds a blank.
    const key = `${issuer} ${id}`;
    const count = taken.get(key) ?? 0;
    if (count >= slotsMax) return tooMany;
    taken.set(key, count + 1);
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      const left = (taken.get(key) ?? 1) - 1;
      if (left === 0) taken.delete(key);
      else taken.set(key, left);
    };
  };
}

const tooMany = deny('rate_limited', {
  detail: 'This agent has too many calls under way at once. Let some end first.',
  cause: 'limits.agentConcurrency is used up',
  retryAfterSeconds: 1,
});
