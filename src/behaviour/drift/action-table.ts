/** How often an agent takes each action: an open-addressed table of exact counts, bounded, that adds up. */

/** Slots; a power of two, so that a probe is a mask. */
export const slotCount = 256;
const mask = slotCount - 1;
/** Beyond this a purge forgets the rarest third: probes stay short and a slot stays free. */
export const actionsMax = 192;
const actionsKept = 128;

export type ActionTable = {
  used: number;
  /** 0 marks a free slot. */
  readonly keys: Uint32Array;
  /** In units of weight. */
  readonly counts: Uint32Array;
  /** Distinct actions that came after this one. */
  readonly followers: Uint16Array;
};

/** Two columns of 32 bits and one of 16. */
export const actionTableBytes = slotCount * (2 * 4 + 2);

/** A table at the start of `memory`, which must be all 0 there. */
export function createActionTable(memory: ArrayBuffer = new ArrayBuffer(actionTableBytes)): ActionTable {
  return {
    used: 0,
    keys: new Uint32Array(memory, 0, slotCount),
    counts: new Uint32Array(memory, 4 * slotCount, slotCount),
    followers: new Uint16Array(memory, 8 * slotCount, slotCount),
  };
}

/** The slot of a key, or -1. */
export function findAction(table: ActionTable, key: number): number {
  let slot = key & mask;
  for (;;) {
    const at = table.keys[slot];
    if (at === key) return slot;
    if (at === 0) return -1;
    slot = (slot + 1) & mask;
  }
}

/** The slot of a key, made where there is none. Slots of other keys may move. */
export function slotForAction(table: ActionTable, key: number): number {
  const found = findAction(table, key);
  if (found !== -1) return found;
  if (table.used >= actionsMax) purge(table, actionsKept);
  let slot = key & mask;
  while (table.keys[slot] !== 0) slot = (slot + 1) & mask;
  table.keys[slot] = key;
  table.used++;
  return slot;
}

/** Adds every count of `from`, in whatever order tables are added: equal unless a purge was needed. */
export function addActions(into: ActionTable, from: ActionTable): void {
  for (let slot = 0; slot < slotCount; slot++) {
    const key = from.keys[slot] ?? 0;
    if (key === 0) continue;
    const at = slotForAction(into, key);
    into.counts[at] = Math.min(0xffffffff, (into.counts[at] ?? 0) + (from.counts[slot] ?? 0));
    addBounded(into.followers, at, from.followers[slot] ?? 0);
  }
}

/** Halves the counts; an action that falls to nothing is forgotten. */
export function halveActions(table: ActionTable): void {
  for (let slot = 0; slot < slotCount; slot++) {
    table.counts[slot] = (table.counts[slot] ?? 0) >>> 1;
    // An action keeps its followers while it has a count: they are kinds, not events.
  }
  purge(table, table.used);
}

/** Adds to a 16-bit cell without wrapping. */
export function addBounded(cells: Uint16Array, index: number, amount: number): void {
  cells[index] = Math.min(0xffff, (cells[index] ?? 0) + amount);
}

/** Keeps the `kept` actions of the highest counts, ties by key, so that the outcome is the same on every replica. */
function purge(table: ActionTable, kept: number): void {
  const rows: { key: number; count: number; followers: number }[] = [];
  for (let slot = 0; slot < slotCount; slot++) {
    const key = table.keys[slot] ?? 0;
    const count = table.counts[slot] ?? 0;
    if (key === 0 || count === 0) continue;
    rows.push({ key, count, followers: table.followers[slot] ?? 0 });
  }
  rows.sort((left, right) => right.count - left.count || left.key - right.key);
  clearActions(table);
  for (const row of rows.slice(0, kept)) {
    let slot = row.key & mask;
    while (table.keys[slot] !== 0) slot = (slot + 1) & mask;
    table.keys[slot] = row.key;
    table.counts[slot] = row.count;
    table.followers[slot] = row.followers;
    table.used++;
  }
}

export function clearActions(table: ActionTable): void {
  table.keys.fill(0);
  table.counts.fill(0);
  table.followers.fill(0);
  table.used = 0;
}
