/** The model with its secret, and what agents share: fleet and groups, learned variables of paths, names of actions. */

import { hash, randomBytes } from 'node:crypto';
import type { DriftStore } from '../../store/drift-port.ts';
import { createLearnedActions, type LearnedActions } from '../actions/learned.ts';
import { formatVersion } from './codec.ts';
import { createFindDestinations, type FindDestinations } from './destinations.ts';
import { createDrift, type Drift } from './drift.ts';
import { createFleet, type Fleet } from './fleet.ts';
import { createFleetShare, update } from './fleet-share.ts';
import { createGroups } from './groups.ts';
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
  /** Gives the store what agents have brought, and takes what others have, a round at a time. Rejects with StoreFault. */
  readonly share: (store: DriftStore) => Promise<void>;
  /** Whether that should not wait: agents call whose group has yet to be read. */
  readonly wantsShare: () => boolean;
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
const namesMax = 2048;
const nameCharsMax = 512;

export function createEngine({ secret, settings, sessionsMax, fields, documented }: EngineOptions): Engine {
  const fleet = createFleet();
  const hashOf = createKeyedHash(secret, 'destination');
  const learned = createLearnedActions({ documented });
  const fingerprint = createKeyedHash(secret, 'fingerprint')('').toString(16).padStart(8, '0');
  const root = `${formatVersion}.${fingerprint}`;
  const groups = createGroups({ keyOf: createKeyedHash(secret, 'group'), root });
  const drift = createDrift({ secret, fleet, groupOf: groups.of, settings, sessionsMax });
  const fleetShare = createFleetShare(fleet, createFleet);
  let sharedActions = '';
  let sharing: Promise<void> | null = null;

  async function shareAll(store: DriftStore): Promise<void> {
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
    await groups.share(store);
  }

  return {
    drift,
    fleet,
    findDestinations: createFindDestinations({ hash: hashOf, fields }),
    openScan: createResponseScan(hashOf, fields),
    learned,
    fingerprint,
    nameOf: (agent) => `${root}:agent:${hash('sha256', agent, 'base64url').slice(0, 22)}`,
    wantsShare: groups.hasNew,
    share(store) {
      // What one round gives, another at the same time would give again.
      sharing ??= shareAll(store).finally(() => {
        sharing = null;
      });
      return sharing;
    },
  };
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
