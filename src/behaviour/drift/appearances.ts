/**
 * Where the destinations of one session first appeared. A bounded table; what was met longest ago goes first. In typed
 * arrays, since there may be thousands of sessions: as a Map of objects 512 destinations take four times as much.
 */

/** Destinations of one session. */
export const appearancesMax = 512;
const placesAtFirst = 8;

/** Places are counted from 1; 0 stands for none. */
export type Appearances = {
  length: number;
  newest: number;
  oldest: number;
  hashes: Uint32Array;
  /** What the destination appeared in the response to; 0 for a request of the agent's own. */
  actions: Uint32Array;
  /** When it was last met. */
  atMs: Float64Array;
  /** The neighbours by time of meeting, and the next place with the same end of the hash. */
  later: Uint16Array;
  earlier: Uint16Array;
  next: Uint16Array;
  /** The first place of each end of a hash. */
  heads: Uint16Array;
};

export function createAppearances(): Appearances {
  return { length: 0, newest: 0, oldest: 0, ...createColumns(placesAtFirst) };
}

/** The place of a destination; 0 where it has none. */
export function findAppearance({ hashes, heads, next }: Appearances, hash: number): number {
  let place = heads[hash & (heads.length - 1)] ?? 0;
  while (place !== 0 && hashes[place - 1] !== hash) place = next[place - 1] ?? 0;
  return place;
}

/** Notes that a destination was met; `action` holds where it is new, or was met `lifetimeMs` ago or longer. */
export function noteAppearance(
  table: Appearances,
  hash: number,
  action: number,
  atMs: number,
  lifetimeMs: number,
): void {
  let place = findAppearance(table, hash);
  const isHeld = place !== 0;
  const isLive = isHeld && atMs - (table.atMs[place - 1] ?? 0) <= lifetimeMs;
  if (isHeld) detach(table, place);
  else place = openPlace(table, hash);
  if (!isLive) table.actions[place - 1] = action;
  table.atMs[place - 1] = atMs;
  append(table, place);
}

/** A place for a new destination: the next one, or that of the destination met longest ago. */
function openPlace(table: Appearances, hash: number): number {
  if (table.length === table.hashes.length && table.length < appearancesMax) grow(table);
  let place = table.oldest;
  if (table.length < table.hashes.length) place = ++table.length;
  else {
    detach(table, place);
    unlink(table, place);
  }
  table.hashes[place - 1] = hash;
  link(table, place);
  return place;
}

function grow(table: Appearances): void {
  const { hashes, actions, atMs, later, earlier } = table;
  const columns = createColumns(2 * hashes.length);
  columns.hashes.set(hashes);
  columns.actions.set(actions);
  columns.atMs.set(atMs);
  columns.later.set(later);
  columns.earlier.set(earlier);
  Object.assign(table, columns);
  for (let place = 1; place <= table.length; place++) link(table, place);
}

function link({ hashes, heads, next }: Appearances, place: number): void {
  const end = (hashes[place - 1] ?? 0) & (heads.length - 1);
  next[place - 1] = heads[end] ?? 0;
  heads[end] = place;
}

function unlink({ hashes, heads, next }: Appearances, place: number): void {
  const end = (hashes[place - 1] ?? 0) & (heads.length - 1);
  let at = heads[end] ?? 0;
  if (at === place) heads[end] = next[place - 1] ?? 0;
  while (at !== 0 && at !== place) {
    const following = next[at - 1] ?? 0;
    if (following === place) next[at - 1] = next[place - 1] ?? 0;
    at = following;
  }
}

function append(table: Appearances, place: number): void {
  const { later, earlier, newest } = table;
  earlier[place - 1] = newest;
  later[place - 1] = 0;
  if (newest === 0) table.oldest = place;
  else later[newest - 1] = place;
  table.newest = place;
}

function detach(table: Appearances, place: number): void {
  const { later, earlier } = table;
  const [before, after] = [earlier[place - 1] ?? 0, later[place - 1] ?? 0];
  if (before === 0) table.oldest = after;
  else later[before - 1] = after;
  if (after === 0) table.newest = before;
  else earlier[after - 1] = before;
}

/** `places` is a power of two, so that the end of a hash is a mask. One buffer holds all. */
function createColumns(places: number) {
  const memory = new ArrayBuffer(24 * places);
  const half = (column: number) => new Uint16Array(memory, (16 + 2 * column) * places, places);
  return {
    atMs: new Float64Array(memory, 0, places),
    hashes: new Uint32Array(memory, 8 * places, places),
    actions: new Uint32Array(memory, 12 * places, places),
    later: half(0),
    earlier: half(1),
    next: half(2),
    heads: half(3),
  };
}
