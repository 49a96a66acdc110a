/** The agents file: who answers for which agent. Read whole or not at all, and looked up on every request. */

import { stat } from 'node:fs/promises';
import { ConfigurationFault, type Problem } from '../errors.ts';
import { readYaml, vetYaml } from '../yaml-source.ts';
import { agentsFileSchema } from './registry-schema.ts';

export type RegisteredAgent = {
  readonly id: string;
  /** Null where the entry is for every issuer. */
  readonly issuer: string | null;
  readonly owner: string;
  readonly team: string | null;
  /** Whom its behaviour is compared with, where that is not the team. */
  readonly group: string | null;
  readonly contact: string | null;
  readonly isSuspended: boolean;
  /** Infinity for never. */
  readonly expiresAtMs: number;
};

export type Registry = {
  /** In file order. */
  readonly entries: readonly RegisteredAgent[];
  /** One an issuer at most. */
  readonly entriesOf: (id: string) => readonly RegisteredAgent[];
  /** The entry for this issuer, else the one for every issuer. */
  readonly find: (id: string, issuer: string) => RegisteredAgent | null;
  /** Changes whenever the file does. */
  readonly signature: string;
};

export const emptyRegistry: Registry = createRegistry([], '');

/** Throws a ConfigurationFault with every problem of the file. */
export async function loadRegistry(file: string): Promise<Registry> {
  // Taken before reading: what changes in between is read again at the next look.
  const signature = await signatureOf(file);
  const source = await readYaml(file);
  if (!('value' in source)) throw new ConfigurationFault(source);
  const vetted = vetYaml(source, agentsFileSchema);
  if (!('value' in vetted)) throw new ConfigurationFault(vetted);
  const places = new Map<string, number>();
  const problems: Problem[] = [];
  for (const [index, { id, issuer }] of vetted.value.agents.entries()) {
    const place = source.placeOf(['agents', index, 'id']);
    const key = JSON.stringify([id, issuer]);
    const earlier = places.get(key);
    if (earlier === undefined) places.set(key, place.line);
    else problems.push({ file, ...place, message: `agents[${index}] is registered already, on line ${earlier}` });
  }
  if (problems.length > 0) throw new ConfigurationFault(problems);
  const entries = vetted.value.agents.map(({ id, issuer, owner, team, group, contact, status, expires }) => ({
    id,
    issuer: issuer ?? null,
    owner,
    team: team ?? null,
    group: group ?? null,
    contact: contact ?? null,
    isSuspended: status === 'suspended',
    expiresAtMs: expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(expires),
  }));
  return createRegistry(entries, signature);
}

/** Differs between any two states of the file, also where a link was turned to another one (Kubernetes does so). */
export async function signatureOf(file: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = await stat(file);
    return [dev, ino, size, mtimeMs, ctimeMs].join(':');
  } catch {
    return 'absent';
  }
}

function createRegistry(entries: readonly RegisteredAgent[], signature: string): Registry {
  const byId = Map.groupBy(entries, ({ id }) => id);
  const entriesOf = (id: string) => byId.get(id) ?? [];
  return {
    entries,
    entriesOf,
    find: (id, issuer) => {
      const known = entriesOf(id);
      return known.find((entry) => entry.issuer === issuer) ?? known.find((entry) => entry.issuer === null) ?? null;
    },
    signature,
  };
}
