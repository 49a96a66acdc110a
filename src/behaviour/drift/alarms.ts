/** The newest alarms of an agent with their explanations, as an operator is shown them, whichever replica raised them. */

import { z } from 'zod';
import type { DriftStore } from '../../store/drift-port.ts';
import { type Explanation, familiarities, features } from './explain.ts';

export type Alarm = { readonly decision: string; readonly atMs: number; readonly explanation: Explanation };

export type Alarms = {
  /** Those up to then are void: a person has spoken, or the baseline was replaced. */
  sinceMs: number;
  /** The newest few, oldest first. */
  list: readonly Alarm[];
};

const alarmsMax = 5;
const bytesMax = 64 * 1024;
const attemptsMax = 8;

const text = z.string().max(4096);
const share = z.number().min(0).max(1);
const reasonSchema = z.strictObject({
  feature: z.enum(features),
  action: text,
  seen: z.enum(familiarities),
  share,
  value: z.exactOptional(text),
  field: z.exactOptional(text),
  newRate: z.exactOptional(share),
  fromResponseOf: z.exactOptional(text),
  previous: z.exactOptional(text),
  usual: z.exactOptional(z.array(text).max(8)),
  text,
});
const alarmsSchema = z.strictObject({
  sinceMs: z.number().min(0).max(8.64e15),
  list: z
    .array(
      z.strictObject({
        decision: z.string().max(64),
        atMs: z.number().min(0).max(8.64e15),
        explanation: z.strictObject({
          agent: text,
          score: share,
          p: share,
          samples: z.int().min(0),
          ready: z.boolean(),
          alarms: z.int().min(0),
          standing: z.enum(['learning', 'latched', 'frozen']),
          top: z.array(reasonSchema).max(features.length),
        }),
      }),
    )
    .max(alarmsMax),
});

/** The newest of both, each once, without those that are void by either. */
export function uniteAlarms(left: Alarms, right: Alarms): Alarms {
  const sinceMs = Math.max(left.sinceMs, right.sinceMs);
  const byDecision = new Map([...left.list, ...right.list].map((alarm) => [alarm.decision, alarm]));
  const list = [...byDecision.values()].filter(({ atMs }) => atMs > sinceMs);
  return { sinceMs, list: list.sort(inOrder).slice(-alarmsMax) };
}

/** Of time; the same everywhere for those of one millisecond. */
function inOrder(one: Alarm, other: Alarm): number {
  return one.atMs - other.atMs || (one.decision < other.decision ? -1 : 1);
}

/** Writes what is known here, united with what others have written; gives both together. Rejects with StoreFault. */
export async function shareAlarms(alarms: Alarms, store: DriftStore, name: string, lifetimeMs: number) {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const found = await store.read(name);
    const united = uniteAlarms(alarms, decodeAlarms(found?.bytes ?? null));
    if ((await store.write(name, found?.version ?? null, encodeAlarms(united), lifetimeMs)) !== null) return united;
  }
  return alarms;
}

/** Those of the store, united with what is known here. Rejects with StoreFault. */
export async function recallAlarms(alarms: Alarms, store: DriftStore, name: string): Promise<Alarms> {
  const found = await store.read(name);
  return uniteAlarms(alarms, decodeAlarms(found?.bytes ?? null));
}

export function encodeAlarms({ sinceMs, list }: Alarms): Uint8Array {
  for (let from = 0; ; from++) {
    const bytes = Buffer.from(JSON.stringify({ sinceMs, list: list.slice(from) }));
    // The newest is what an operator asks for first.
    if (bytes.length <= bytesMax || from >= list.length) return bytes;
  }
}

/** None where the store holds something else. */
export function decodeAlarms(bytes: Uint8Array | null): Alarms {
  const none = { sinceMs: 0, list: [] };
  if (bytes === null || bytes.length > bytesMax) return none;
  try {
    return alarmsSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch {
    return none;
  }
}
