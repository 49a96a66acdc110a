/** Which keys to look at when, without a timer and without ordering them one by one. */

/** Keys expire in slots this wide, so a key may be looked at this much late, and never early. */
const slotMs = 250;

export type ExpiryQueue = {
  /** A key must be in the queue once at most. */
  add(key: string, expiresAtMs: number): void;
  /**
   * Hands every key whose time has come to `expire`, which forgets it and returns null, or returns the later time at
   * which to ask again. Each key is visited once a slot that it was added to, so the cost is constant a key.
   */
  sweep(nowMs: number, expire: (key: string) => number | null): void;
};

export function createExpiryQueue(): ExpiryQueue {
  const slots = new Map<number, string[]>();
  let sweptSlot = Number.NEGATIVE_INFINITY;

  function add(key: string, expiresAtMs: number): void {
    const slot = Math.max(Math.floor(expiresAtMs / slotMs), sweptSlot + 1);
    const keys = slots.get(slot);
    if (keys === undefined) slots.set(slot, [key]);
    else keys.push(key);
  }

  function sweepSlot(slot: number, expire: (key: string) => number | null): void {
    const keys = slots.get(slot);
    if (keys === undefined) return;
    slots.delete(slot);
    for (const key of keys) {
      const laterMs = expire(key);
      if (laterMs !== null) add(key, laterMs);
    }
  }

  function sweep(nowMs: number, expire: (key: string) => number | null): void {
    // A slot is due when its last millisecond is over. A clock that went back makes nothing due.
    const lastDue = Math.floor(nowMs / slotMs) - 1;
    if (lastDue <= sweptSlot) return;
    const from = sweptSlot + 1;
    sweptSlot = lastDue;
    // After a long pause there are fewer slots in use than slots gone by, so visit those instead.
    if (lastDue - from >= slots.size) {
      for (const slot of [...slots.keys()]) if (slot <= lastDue) sweepSlot(slot, expire);
      return;
    }
    for (let slot = from; slot <= lastDue; slot++) sweepSlot(slot, expire);
  }

  return { add, sweep };
}
