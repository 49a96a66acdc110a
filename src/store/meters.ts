/**
 * The arithmetic of a sliding window, the same in the memory adapter and in the Redis script.
 *
 * A window is cut into 32 buckets, and a meter's count is the sum of every bucket that overlaps the last `windowMs`,
 * the oldest partial one included. So a count is never too low, and at most one bucket's worth (about 3 %) too high.
 * Buckets ahead of `nowMs` count as well: a sidecar whose clock runs behind must not overlook its neighbours' hits.
 */

import type { MeterHit } from './port.ts';

const bucketsInWindow = 32;

/** Counts stop here, the largest number of 14 digits, which is how many Lua writes exactly. */
export const countMax = 99_999_999_999_999;

export function bucketWidthMs(windowMs: number): number {
  return Math.ceil(windowMs / bucketsInWindow);
}

/** The buckets of one meter and identity, in no order. There are 34 at most while clocks agree. */
export type MeterBuckets = {
  readonly indexes: number[];
  readonly counts: number[];
  /** When the newest bucket has long left the window and the key may be forgotten. */
  expiresAtMs: number;
};

export type MeterReading = { readonly count: number; readonly fallsInMs: number };

const empty: MeterReading = { count: 0, fallsInMs: 0 };

/** Adds a hit to `buckets`, which it changes, and reads the count. A cost of 0 only reads. */
export function countHit(buckets: MeterBuckets | undefined, hit: MeterHit, nowMs: number): MeterReading {
  if (buckets === undefined) return empty;
  const widthMs = bucketWidthMs(hit.windowMs);
  const oldest = Math.floor((nowMs - hit.windowMs + 1) / widthMs);
  if (hit.cost > 0) addHit(buckets, hit, Math.floor(nowMs / widthMs), oldest);
  let count = 0;
  let first = Number.POSITIVE_INFINITY;
  for (let i = 0; i < buckets.indexes.length; i++) {
    const index = buckets.indexes[i] ?? 0;
    if (index < oldest) continue;
    count += buckets.counts[i] ?? 0;
    if (index < first) first = index;
  }
  if (count === 0) return empty;
  return { count: Math.min(count, countMax), fallsInMs: (first + 1) * widthMs + hit.windowMs - 1 - nowMs };
}

function addHit(buckets: MeterBuckets, hit: MeterHit, current: number, oldest: number): void {
  const { indexes, counts } = buckets;
  const at = indexes.indexOf(current);
  if (at >= 0) {
    counts[at] = (counts[at] ?? 0) + hit.cost;
    return;
  }
  // A new bucket pays for removing the old ones, so the arrays stay short without a sweep of their own.
  let kept = 0;
  for (let i = 0; i < indexes.length; i++) {
    const index = indexes[i] ?? 0;
    if (index < oldest) continue;
    indexes[kept] = index;
    counts[kept] = counts[i] ?? 0;
    kept++;
  }
  indexes.length = kept;
  counts.length = kept;
  indexes.push(current);
  counts.push(hit.cost);
  // One bucket of slack, so that a caller whose clock runs a little behind still finds the count.
  const leavesAtMs = (current + 2) * bucketWidthMs(hit.windowMs) + hit.windowMs;
  if (leavesAtMs > buckets.expiresAtMs) buckets.expiresAtMs = leavesAtMs;
}
