/** The groups of agents in memory: at most so many, those used longest ago go. The store has all of them. */

import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { DriftStore } from '../../store/drift-port.ts';
import { createGroupFleet } from './fleet.ts';
import { type Change, createFleetShare, update } from './fleet-share.ts';
import type { KeyedHash } from './keyed-hash.ts';
import type { PeerGroup } from './peer-group.ts';

export type Groups = {
  /** The group of that name. What other sidecars and earlier runs know of it comes with the next round. */
  readonly of: (name: string) => PeerGroup;
  /** Whether there are groups of which only this sidecar's part is known yet. */
  readonly hasNew: () => boolean;
  /** As Engine.share, for the groups that were asked for since the last round. */
  readonly share: (store: DriftStore) => Promise<void>;
};

export type GroupsOptions = {
  readonly keyOf: KeyedHash;
  /** What names in the store begin with. */
  readonly root: string;
};

type KeptGroup = { readonly group: PeerGroup; readonly storeName: string; readonly change: Change; isUsed: boolean };

/** 8 KB each, and as much again for what the store has been given. */
export const groupsMax = 256;
const sharedAtOnce = 8;

export function createGroups({ keyOf, root }: GroupsOptions): Groups {
  const groups = new LRUCache<string, KeptGroup>({ max: groupsMax });
  let hasNew = false;

  function create(name: string): KeptGroup {
    const fleet = createGroupFleet();
    return {
      group: { name, key: keyOf(name) || 1, fleet },
      // A name is whatever somebody wrote, at any length: the store gets its hash.
      storeName: `${root}:group:${hash('sha256', name, 'base64url').slice(0, 22)}`,
      change: createFleetShare(fleet, createGroupFleet),
      isUsed: true,
    };
  }

  async function shareOne(kept: KeptGroup, store: DriftStore): Promise<void> {
    kept.isUsed = false;
    try {
      await update(store, kept.storeName, kept.change);
    } catch (fault) {
      kept.isUsed = true;
      throw fault;
    }
  }

  return {
    of(name) {
      let kept = groups.get(name);
      if (kept === undefined) {
        kept = create(name);
        groups.set(name, kept);
        hasNew = true;
      }
      kept.isUsed = true;
      return kept.group;
    },
    hasNew: () => hasNew,
    async share(store) {
      hasNew = false;
      const used = [...groups.values()].filter(({ isUsed }) => isUsed).values();
      const worker = async () => {
        // The first fault ends the round: what is left has another.
        for (const kept of used) await shareOne(kept, store);
      };
      await Promise.all(Array.from({ length: sharedAtOnce }, worker));
    },
  };
}
