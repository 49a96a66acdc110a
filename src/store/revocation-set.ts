/** What the adapters share about revocation entries, and the set that is kept in memory. */

import { StoreFault } from '../errors.ts';
import { createExpiryQueue } from './expiry-queue.ts';
import type { RevocationEntry, RevocationSet } from './port.ts';

/** Entries of one handle that none of the others covers, of all authors. Two or three are many. */
export const entriesOfHandleMax = 16;

/** Stands for never, and for all tokens. */
export const endOfTime = Number.MAX_SAFE_INTEGER;

export function isLive(entry: RevocationEntry, nowMs: number): boolean {
  return entry.expiresAtMs === null || entry.expiresAtMs > nowMs;
}

/**
 * Whether `one` makes `other` superfluous: it is by the same author, revokes as many tokens or more, and lasts as long.
 * What revokes all tokens does not replace what revokes older ones: once it is lifted, that must still hold, and so must
 * whatever somebody else has revoked.
 */
export function covers(one: RevocationEntry, other: RevocationEntry): boolean {
  return (
    one.author === other.author &&
    (one.issuedBeforeMs === null) === (other.issuedBeforeMs === null) &&
    (one.issuedBeforeMs ?? 0) >= (other.issuedBeforeMs ?? 0) &&
    (one.expiresAtMs ?? endOfTime) >= (other.expiresAtMs ?? endOfTime)
  );
}

/** Sorts by time, and by id where two were made in the same millisecond. Also the cursor of a listing. */
export function orderOf(entry: RevocationEntry): string {
  return `${String(entry.createdAtMs).padStart(16, '0')}:${entry.id}`;
}

export function revocationSetFull(maxRevocations: number): StoreFault {
  return new StoreFault(
    `the revocation set holds ${maxRevocations} entries, or ${entriesOfHandleMax} of this handle, all in force; ` +
      'lift some, give new ones an expiry, or raise store.maxRevocations',
  );
}

/** Some 400 bytes an entry with what it holds. */
export function createRevocationSet(maxRevocations: number, ofHandleMax = entriesOfHandleMax): RevocationSet {
  /** Nearly every handle has one entry only, which then needs no list. */
  const byHandle = new Map<string, RevocationEntry | readonly RevocationEntry[]>();
  const byId = new Map<string, RevocationEntry>();
  const expiries = createExpiryQueue();

  function firstRevoked(handles: readonly string[], issuedAtMs: number, nowMs: number): number {
    if (byHandle.size === 0) return -1;
    for (let i = 0; i < handles.length; i++) {
      const found = byHandle.get(handles[i] ?? '');
      if (found === undefined) continue;
      for (const entry of listOf(found)) {
        if (isLive(entry, nowMs) && (entry.issuedBeforeMs === null || issuedAtMs < entry.issuedBeforeMs)) return i;
      }
    }
    return -1;
  }

  function unlink(entry: RevocationEntry): void {
    byId.delete(entry.id);
    const rest = listOf(byHandle.get(entry.handle)).filter(({ id }) => id !== entry.id);
    const [first] = rest;
    if (first === undefined) byHandle.delete(entry.handle);
    else byHandle.set(entry.handle, rest.length === 1 ? first : rest);
  }

  function put(entry: RevocationEntry): readonly string[] | null {
    const listed = listOf(byHandle.get(entry.handle));
    const kept = listed.filter((other) => other.id !== entry.id && !covers(entry, other));
    if (kept.length >= ofHandleMax) return null;
    const replaced = listed.filter((other) => !kept.includes(other));
    if (byId.size - replaced.length >= maxRevocations) return null;
    for (const other of replaced) byId.delete(other.id);
    const isQueued = replaced.some((other) => other.id === entry.id);
    byHandle.set(entry.handle, kept.length === 0 ? entry : [...kept, entry]);
    byId.set(entry.id, entry);
    if (entry.expiresAtMs !== null && !isQueued) expiries.add(entry.id, entry.expiresAtMs);
    return replaced.filter((other) => other.id !== entry.id).map(({ id }) => id);
  }

  function remove(id: string): RevocationEntry | null {
    const entry = byId.get(id);
    if (entry === undefined) return null;
    unlink(entry);
    return entry;
  }

  function sweep(nowMs: number, onForgotten?: (entry: RevocationEntry) => void): void {
    expiries.sweep(nowMs, (id) => {
      const entry = byId.get(id);
      if (entry === undefined) return null;
      if (isLive(entry, nowMs)) return entry.expiresAtMs;
      unlink(entry);
      onForgotten?.(entry);
      return null;
    });
  }

  return {
    firstRevoked,
    put,
    ofHandle: (handle) => listOf(byHandle.get(handle)),
    find: (id) => byId.get(id) ?? null,
    remove,
    sweep,
    entries: () => byId.values(),
    size: () => byId.size,
  };
}

function listOf(found: RevocationEntry | readonly RevocationEntry[] | undefined): readonly RevocationEntry[] {
  if (found === undefined) return [];
  return 'id' in found ? [found] : found;
}
