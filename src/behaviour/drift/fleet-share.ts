/** How sidecars bring what many agents do together in the store. */

import type { DriftStore } from '../../store/drift-port.ts';
import { type Fleet, mergeFleet } from './fleet.ts';
import { decodeFleet, encodeFleet } from './fleet-codec.ts';

/** What all agents have brought is forgotten when no sidecar has written to it for so long. */
export const keptMs = 90 * 86_400_000;
const attemptsMax = 8;

/** Given what is stored, what is to be in its place; null for no change. */
export type Change = (bytes: Uint8Array | null) => {
  readonly bytes: Uint8Array | null;
  readonly onWritten: () => void;
};

export async function update(store: DriftStore, name: string, change: Change): Promise<void> {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const found = await store.read(name);
    const { bytes, onWritten } = change(found?.bytes ?? null);
    if (bytes !== null && (await store.write(name, found?.version ?? null, bytes, keptMs)) === null) continue;
    onWritten();
    return;
  }
}

/** The fleet in memory goes on being learned into while it is written, so what was given already is kept beside it. */
export function createFleetShare(fleet: Fleet, createEmpty: () => Fleet): Change {
  let given = createEmpty();
  return (bytes) => {
    const stored = bytes === null ? null : decodeFleet(bytes, createEmpty());
    const own = difference(fleet, given);
    // A store that has lost the fleet gets all that is known here.
    const merged = stored ?? copyOf(given);
    mergeFleet(merged, own);
    const isNews = own.weight > 0 || own.peers > 0 || stored === null;
    return {
      bytes: isNews && merged.weight > 0 ? encodeFleet(merged) : null,
      onWritten: () => {
        // Of what came while it was written nothing has been given.
        const since = difference(difference(fleet, given), own);
        given = copyOf(merged);
        mergeFleet(merged, since);
        fleet.weight = merged.weight;
        fleet.peers = merged.peers;
        fleet.counts.set(merged.counts);
        fleet.users.set(merged.users);
      },
    };
  };
}

function difference(from: Fleet, less: Fleet): Fleet {
  return {
    weight: Math.max(0, from.weight - less.weight),
    peers: Math.max(0, from.peers - less.peers),
    counts: from.counts.map((count, index) => Math.max(0, count - (less.counts[index] ?? 0))),
    users: from.users.map((count, index) => Math.max(0, count - (less.users[index] ?? 0))),
  };
}

function copyOf({ weight, peers, counts, users }: Fleet): Fleet {
  return { weight, peers, counts: counts.slice(), users: users.slice() };
}
