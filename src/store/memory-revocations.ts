/** The revocation set of the memory store, with its order and the feed of its changes. */

import type { FeedAnswer, FeedPosition, RevocationChange, RevocationEntry, RevocationPage } from './port.ts';
import { createRevocationSet, isLive, orderOf, revocationSetFull } from './revocation-set.ts';

/** Changes that a follower may be behind. */
const feedMax = 10_000;

export function createMemoryRevocations(maxRevocations: number) {
  const set = createRevocationSet(maxRevocations);
  /** In order of time. What is new goes to the end, so inserting costs nothing. */
  const order: string[] = [];
  const feed: RevocationChange[] = [];
  let sequence = 0;

  function tell(change: RevocationChange): void {
    sequence += 1;
    feed.push(change);
    // Cut rarely, as what is cut costs as much as what stays.
    if (feed.length > 2 * feedMax) feed.splice(0, feed.length - feedMax);
  }

  function unlist(entry: RevocationEntry): void {
    const at = placeOf(order, orderOf(entry));
    if (order[at] === orderOf(entry)) order.splice(at, 1);
  }

  function revoke(entry: RevocationEntry, nowMs: number): void {
    if (set.size() >= maxRevocations) sweep(nowMs);
    const known = new Map([...set.ofHandle(entry.handle)].map((other) => [other.id, other]));
    const replaced = set.put(entry);
    if (replaced === null) throw revocationSetFull(maxRevocations);
    for (const id of [...replaced, entry.id]) {
      const old = known.get(id);
      if (old !== undefined) unlist(old);
    }
    const key = orderOf(entry);
    order.splice(placeOf(order, key), 0, key);
    tell({ removed: replaced, added: entry });
  }

  function sweep(nowMs: number): void {
    set.sweep(nowMs, unlist);
  }

  function lift(id: string, nowMs: number): RevocationEntry | null {
    const entry = set.remove(id);
    if (entry === null) return null;
    unlist(entry);
    tell({ removed: [id], added: null });
    return isLive(entry, nowMs) ? entry : null;
  }

  function list(page: { nowMs: number; limit: number; cursor: string | null }): RevocationPage {
    const { nowMs, limit, cursor } = page;
    const end = cursor === null ? order.length : placeOf(order, cursor);
    const start = Math.max(0, end - limit);
    const entries = order
      .slice(start, end)
      .reverse()
      .flatMap((key) => set.find(key.slice(key.indexOf(':') + 1)) ?? [])
      .filter((entry) => isLive(entry, nowMs));
    return { entries, next: start === 0 ? null : (order[start] ?? null) };
  }

  function changes(since: FeedPosition | null): FeedAnswer {
    const position = { generation: 'memory', sequence, head: '' };
    const behind = since === null ? Number.POSITIVE_INFINITY : sequence - since.sequence;
    if (behind > feed.length) return { outcome: 'gap', position, changes: [], isMore: false };
    return { outcome: 'followed', position, changes: feed.slice(feed.length - behind), isMore: false };
  }

  return {
    firstRevoked: set.firstRevoked,
    revoke,
    lift,
    list,
    changes,
    all: (nowMs: number) => [...set.entries()].filter((entry) => isLive(entry, nowMs)),
    has: (id: string) => set.find(id) !== null,
    size: set.size,
  };
}

/** Where the key is in the sorted list, or would be. */
function placeOf(order: readonly string[], key: string): number {
  let low = 0;
  let high = order.length;
  // The usual case: later than everything.
  if (high > 0 && key > (order[high - 1] ?? '')) return high;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((order[middle] ?? '') < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
