/**
 * What is revoked, in the memory of this sidecar. It follows the store's feed of changes, so that streams under way are
 * cut, and goes on saying what it knows while the store is away. A store that has lost what it told gets it back.
 */

import { StoreFault } from '../errors.ts';
import type { FeedPosition, RevocationEntry, RevocationSet, Store } from '../store/port.ts';

export type MirrorOptions = {
  readonly store: Pick<Store, 'changes' | 'copy' | 'restore'>;
  /** Empty, without bounds of its own: the store has them. */
  readonly entries: RevocationSet;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly intervalMs?: number;
  /** Entries have come: what is under way may be revoked now. */
  readonly onAdded: () => void;
  /** The store was found without what it had told; this sidecar holds so many entries. */
  readonly onLost: (held: number) => void;
  readonly onRestored: (held: number) => void;
  /** A fault that is not the store's. */
  readonly onFault: (fault: unknown) => void;
};

export type Mirror = {
  /** Index of the first handle that is revoked for a token of this age; -1 for none. */
  readonly firstRevoked: (handles: readonly string[], issuedAtMs: number) => number;
  /** What the store's set was when this was all of it, which firstRevoked answers by. Null where it never was. */
  readonly knownAt: () => FeedPosition | null;
  readonly entriesOf: (handle: string) => readonly RevocationEntry[];
  /** Entries in force. */
  readonly ofHandle: (handle: string) => readonly RevocationEntry[];
  /** Entries, until an hour after their expiry; null until they have been read once. */
  readonly size: () => number | null;
  /** Since the store last confirmed that nothing is missing; since 1970 where it never has. */
  readonly ageMs: () => number;
  /**
   * For an entry that the store could not take: it holds here at once, and the store gets it when it is back. False where
   * too many wait for that already, and it does not hold.
   */
  readonly hold: (entry: RevocationEntry) => boolean;
  /** Catches up now. Rejects with StoreFault where that can't be done. */
  readonly sync: () => Promise<void>;
  /** Begins to follow the store. Settles when the first attempt to catch up is over. */
  readonly start: () => Promise<void>;
  readonly close: () => void;
};

/** A call to the store each time, whatever there is to tell. Well below the second within which streams are cut. */
const intervalUsualMs = 200;
const restoreCount = 200;
/** Ids of entries that must not come back, for a store that has forgotten that they were lifted. */
const liftedMax = 1000;
/** Answers taken in one go. A store that loses its set again and again is asked again at the next interval. */
const roundsMax = 1000;
const lossesMax = 3;
/** As in the store: an entry is forgotten this long after its time, so that a clock that was ahead forgets nothing. */
const graceMs = 3_600_000;
/** Entries that may wait for the store. */
const heldMax = 10_000;

export function createMirror(options: MirrorOptions): Mirror {
  const { store, entries, clock, intervalMs = intervalUsualMs } = options;
  const lifted = createLifted();
  /** Ids of entries that the store does not have yet. */
  const held = new Set<string>();
  let position: FeedPosition | null = null;
  let confirmedMs: number | null = null;
  let isRestoreDue = false;
  let isCopyDue = false;
  let running: Promise<void> | null = null;
  let queued: Promise<void> | null = null;
  let timer: NodeJS.Timeout | null = null;
  let isClosed = false;

  /** True where the entry is new here. */
  function add(entry: RevocationEntry): boolean {
    if (entries.find(entry.id) !== null) return false;
    entries.put(entry);
    return true;
  }

  async function catchUp(): Promise<void> {
    let losses = 0;
    for (let round = 0; round < roundsMax; round++) {
      const askedMs = performance.now();
      if (isRestoreDue) await restore();
      if (held.size > 0) await handOver();
      const { outcome, position: next, changes, isMore } = await store.changes(position);
      if (outcome === 'lost') {
        isRestoreDue = true;
        options.onLost(entries.size());
        losses += 1;
        if (losses === lossesMax) return;
        continue;
      }
      let hasAdded = false;
      for (const { removed, added } of changes) {
        for (const id of removed) {
          entries.remove(id);
          lifted.add(id);
        }
        if (added !== null && add(added)) hasAdded = true;
      }
      if (hasAdded) options.onAdded();
      const isCopied = outcome === 'gap' || isCopyDue;
      if (isCopied) await copyAll(next);
      if (isClosed) return;
      isCopyDue = false;
      position = next;
      if (!isCopied && !isMore) {
        confirmedMs = askedMs;
        return;
      }
    }
  }

  /**
   * What the feed tells from `start` on, which was before the copy, is told again after it, and does no harm twice. What
   * the copy does not have is forgotten only where the store is still the one that was copied: it may have been emptied
   * halfway, and then this is where its revocations are.
   */
  async function copyAll(start: FeedPosition): Promise<void> {
    const seen = new Set<string>();
    let cursor: string | null = null;
    do {
      const page = await store.copy(cursor);
      let hasAdded = false;
      for (const entry of page.entries) {
        seen.add(entry.id);
        if ((entry.expiresAtMs === null || entry.expiresAtMs > clock() - graceMs) && add(entry)) hasAdded = true;
      }
      if (hasAdded) options.onAdded();
      cursor = page.next;
    } while (cursor !== null && !isClosed);
    const { outcome } = await store.changes(start);
    if (isClosed || outcome !== 'followed') return;
    for (const { id } of entries.entries()) if (!seen.has(id) && !held.has(id)) entries.remove(id);
  }

  async function restore(): Promise<void> {
    // Whether it is lost once more from here on is found out by this, whatever else has become of it.
    const { position: start } = await store.changes(null);
    entries.sweep(clock() - graceMs);
    const known = [...entries.entries()];
    // What the store does not take goes with the copy that follows, and not before: it may be lost once more.
    await giveBack(known, lifted.ids());
    isRestoreDue = false;
    isCopyDue = true;
    position = start;
    options.onRestored(known.length);
  }

  /** Ids of those that the store did not take. */
  async function giveBack(known: readonly RevocationEntry[], ids: readonly string[]): Promise<readonly string[]> {
    const refused: string[] = [];
    for (let from = 0; from === 0 || from < known.length; from += restoreCount) {
      refused.push(...(await store.restore(known.slice(from, from + restoreCount), from === 0 ? ids : [])));
    }
    return refused;
  }

  async function handOver(): Promise<void> {
    const ids = [...held];
    const known = ids.flatMap((id) => entries.find(id) ?? []);
    for (const id of await giveBack(known, [])) entries.remove(id);
    for (const id of ids) held.delete(id);
  }

  function hold(entry: RevocationEntry): boolean {
    if (held.size >= heldMax) return false;
    // Whoever tries again and again while the store is away needs one place only.
    for (const id of entries.put(entry) ?? []) held.delete(id);
    held.add(entry.id);
    options.onAdded();
    return true;
  }

  function sync(): Promise<void> {
    if (running === null) {
      running = catchUp().finally(() => {
        running = null;
      });
      return running;
    }
    // What is under way may have been answered before the change that the caller has in mind.
    queued ??= running
      .catch(() => {})
      .then(() => {
        queued = null;
        return sync();
      });
    return queued;
  }

  async function turn(): Promise<void> {
    entries.sweep(clock() - graceMs);
    try {
      await sync();
    } catch (fault) {
      if (!(fault instanceof StoreFault)) options.onFault(fault);
    }
    if (!isClosed) timer = setTimeout(turn, intervalMs).unref();
  }

  return {
    firstRevoked: (handles, issuedAtMs) =>
      entries.size() === 0 ? -1 : entries.firstRevoked(handles, issuedAtMs, clock()),
    knownAt: () => position,
    entriesOf: entries.ofHandle,
    ofHandle: (handle) =>
      entries.ofHandle(handle).filter(({ expiresAtMs }) => expiresAtMs === null || expiresAtMs > clock()),
    size: () => (confirmedMs === null ? null : entries.size()),
    ageMs: () => (confirmedMs === null ? clock() : performance.now() - confirmedMs),
    hold,
    sync,
    start: turn,
    close: () => {
      isClosed = true;
      if (timer !== null) clearTimeout(timer);
    },
  };
}

/** The latest ids that were lifted or replaced, oldest forgotten first. */
function createLifted() {
  const ids = new Set<string>();
  return {
    add(id: string) {
      ids.add(id);
      const [oldest] = ids;
      if (ids.size > liftedMax && oldest !== undefined) ids.delete(oldest);
    },
    ids: () => [...ids],
  };
}
