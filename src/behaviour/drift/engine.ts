/** The model with its secret, and what all agents share: the fleet, learned variables of paths, names of actions. */

import { hash, randomBytes } from 'node:crypto';
import type { DriftStore } from '../../store/drift-port.ts';
import { createLearnedActions, type LearnedActions } from '../actions/learned.ts';
import { formatVersion } from './codec.ts';
import { createFindDestinations, type FindDestinations } from './destinations.ts';
import { createDrift, type Drift } from './drift.ts';
import { createFleet, type Fleet, fleetCells, mergeFleet } from './fleet.ts';
import { decodeFleet, encodeFleet } from './fleet-codec.ts';
import type { Settings } from './judgement.ts';
import { createKeyedHash } from './keyed-hash.ts';
import { createResponseScan, type ResponseScan } from './response-scan.ts';

export type Engine = {
  readonly drift: Drift;
  readonly fleet: Fleet;
  readonly findDestinations: FindDestinations;
  readonly openScan: () => ResponseScan;
  readonly learned: LearnedActions;
  /** Tells baselines of one secret from those of another. */
  readonly fingerprint: string;
  /** Name of an agent's baseline in the store. */
  readonly nameOf: (agent: string) => string;
  /** Gives the store what all agents have brought, and takes what others have. Rejects with StoreFault. */
  readonly share: (store: DriftStore) => Promise<void>;
};

export type EngineOptions = {
  readonly secret: Uint8Array;
  readonly settings: Settings;
  readonly sessionsMax: number;
  readonly fields: readonly string[];
  /** Routes whose operations an OpenAPI document names. */
  readonly documented: Pick<ReadonlySet<string>, 'has'>;
};

const secretBytes = 32;
const keptMs = 90 * 86_400_000;
const attemptsMax = 8;
const namesMax = 2048;
const nameCharsMax = 512;

export function createEngine({ secret, settings, sessionsMax, fields, documented }: EngineOptions): Engine {
  const fleet = createFleet();
  const drift = createDrift({ secret, fleet, settings, sessionsMax });
  const hashOf = createKeyedHash(secret, 'destination');
  const learned = createLearnedActions({ documented });
  const fingerprint = createKeyedHash(secret, 'fingerprint')('').toString(16).padStart(8, '0');
  const root = `${formatVersion}.${fingerprint}`;
  const fleetShare = createFleetShare(fleet);
  let sharedActions = '';
  return {
    drift,
    fleet,
    findDestinations: createFindDestinations({ hash: hashOf, fields }),
    openScan: createResponseScan(hashOf, fields),
    learned,
    fingerprint,
    nameOf: (agent) => `${root}:agent:${hash('sha256', agent, 'base64url').slice(0, 22)}`,
    async share(store) {
      await update(store, `${root}:fleet`, fleetShare);
      await update(store, `${root}:actions`, (bytes) => {
        const { variables, names } = parseActions(bytes);
        learned.adopt(variables);
        drift.recallNames(names);
        const ours = actionsText(learned.variables(), drift.actionNames());
        const isNews = ours !== sharedActions || bytes === null;
        return {
          bytes: isNews ? Buffer.from(ours) : null,
          onWritten: () => {
            sharedActions = ours;
          },
        };
      });
    },
  };
}

/** Given what is stored, what is to be in its place; null for no change. */
type Change = (bytes: Uint8Array | null) => { readonly bytes: Uint8Array | null; readonly onWritten: () => void };

async function update(store: DriftStore, name: string, change: Change): Promise<void> {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const found = await store.read(name);
    const { bytes, onWritten } = change(found?.bytes ?? null);
    if (bytes !== null && (await store.write(name, found?.version ?? null, bytes, keptMs)) === null) continue;
    onWritten();
    return;
  }
}

/** The fleet in memory goes on being learned into while it is written, so what was given already is kept beside it. */
function createFleetShare(fleet: Fleet): Change {
  let given = createFleet();
  return (bytes) => {
    const stored = bytes === null ? null : decodeFleet(bytes);
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
  const result = createFleet();
  result.weight = Math.max(0, from.weight - less.weight);
  result.peers = Math.max(0, from.peers - less.peers);
  for (let index = 0; index < fleetCells; index++) {
    result.counts[index] = Math.max(0, (from.counts[index] ?? 0) - (less.counts[index] ?? 0));
    result.users[index] = Math.max(0, (from.users[index] ?? 0) - (less.users[index] ?? 0));
  }
  return result;
}

function copyOf({ weight, peers, counts, users }: Fleet): Fleet {
  return { weight, peers, counts: counts.slice(), users: users.slice() };
}

type Actions = { readonly variables: readonly string[]; readonly names: readonly string[] };

function actionsText(variables: readonly string[], names: readonly string[]): string {
  const short = names.filter((name) => name.length <= nameCharsMax).slice(-namesMax);
  return JSON.stringify({ variables: variables.toSorted(), names: short.toSorted() });
}

/** What the store holds is not trusted to be of that form. */
function parseActions(bytes: Uint8Array | null): Actions {
  const nothing = { variables: [], names: [] };
  if (bytes === null) return nothing;
  try {
    const { variables, names } = JSON.parse(Buffer.from(bytes).toString('utf8')) as Partial<Record<string, unknown>>;
    return { variables: texts(variables), names: texts(names) };
  } catch {
    return nothing;
  }
}

function texts(value: unknown): readonly string[] {
  const list = Array.isArray(value) ? value.slice(0, namesMax) : [];
  return list.filter((text): text is string => typeof text === 'string' && text.length <= nameCharsMax);
}

/** The secret that the sidecars of one store share where none is configured: the first one makes it. */
export async function obtainSecret(store: DriftStore): Promise<Uint8Array> {
  const found = await store.read('secret');
  if (found !== null) return found.bytes;
  const made = randomBytes(secretBytes);
  if ((await store.write('secret', null, made, null)) !== null) return made;
  return (await store.read('secret'))?.bytes ?? made;
}
