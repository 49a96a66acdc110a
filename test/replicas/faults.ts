/** What is done to a fleet under load, and when it is whole again. */

import { setTimeout } from 'node:timers/promises';
import type { Random } from '../support/random.ts';
import type { Fleet, Replica } from './fleet.ts';
import type { Ledger } from './ledger.ts';
import type { Load } from './load.ts';

/**
 * Sidecars and Redis are killed, and started again with what is on disk; Redis stands still; it starts again without
 * anything on disk; it is emptied while it runs.
 */
export const faultKinds = ['kill-sidecar', 'kill-redis', 'pause-redis', 'empty-redis', 'flush-redis'] as const;
export type FaultKind = (typeof faultKinds)[number];

/** What one fault waits for at most. */
const deadlineMs = 40_000;
const pollMs = 5;
/** Refusals that show that the load has met an outage. */
const metOutage = 20;

/** Resolves when the condition holds; rejects, naming it, after the deadline. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`);
    await setTimeout(pollMs);
  }
}

/** Inflicts these faults at once, revoking somebody before and while they last. Resolves when every sidecar serves again. */
export type Inflict = (kinds: readonly FaultKind[]) => Promise<void>;

/** `spared` sidecars, the last ones, are never killed. */
export function createInflict(fleet: Fleet, ledger: Ledger, load: Load, random: Random, spared = 0): Inflict {
  const { redis } = fleet;
  const refusals = () => load.counts.refused.store_unavailable ?? 0;

  async function whileOut(end: () => void | Promise<void>): Promise<void> {
    const from = refusals();
    await Promise.all([
      load.revokeOne(),
      until('calls are refused for want of the store', () => refusals() >= from + metOutage),
    ]);
    await end();
  }

  const faults: Readonly<Record<FaultKind, (takeReplica: () => Replica) => Promise<void>>> = {
    'kill-sidecar': async (takeReplica) => {
      const replica = takeReplica();
      await replica.kill();
      await load.revokeOne();
      await replica.start();
    },
    'kill-redis': async () => {
      await redis.kill();
      await whileOut(redis.restart);
    },
    'pause-redis': async () => {
      redis.pause();
      await whileOut(redis.resume);
    },
    'empty-redis': async () => {
      await redis.kill();
      ledger.loseCounts();
      await redis.restartEmpty();
    },
    'flush-redis': async () => {
      await fleet.flushRedis();
      ledger.loseCounts();
    },
  };

  return async (kinds) => {
    const mortal = fleet.replicas.slice(0, fleet.replicas.length - spared);
    const takeReplica = () => {
      const [replica] = mortal.splice(random.below(mortal.length), 1);
      if (replica === undefined) throw new RangeError('more sidecars to be killed at once than there are');
      return replica;
    };
    await Promise.all(kinds.map((kind) => load.revokeOne().then(() => faults[kind](takeReplica))));
    await Promise.all(fleet.replicas.map((replica) => serves(replica, load)));
  };
}

async function serves(replica: Replica, load: Load): Promise<void> {
  let reason: string | null = 'nothing yet';
  await until('a sidecar serves again', async () => {
    reason = await load.probe(replica);
    return reason === null;
  }).catch((fault: Error) => {
    throw new Error(`${fault.message}; its last answer was ${reason}, its log ends with\n${replica.log()}`);
  });
}
