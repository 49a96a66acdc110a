/** What the requests of a batch name, until the batch is learned. */

import { type FieldSketch, fieldCellOf } from './field-sketch.ts';
import type { Destination } from './judgement.ts';

/** Destinations of one request that are looked at. */
export const destinationsMax = 16;
/** Of one batch that wait; for more there is no room, and they are not learned. */
const waitingMax = 384;
const waitingAtFirst = 16;
/** The action, the hash, and details: the request's place in the batch, its field's cell and what it is. */
const entryWords = 3;
const fresh = 1;
const plain = 2;

export type WaitingDestinations = { length: number; entries: Uint32Array };

const nothing = new Uint32Array(0);

export function createWaitingDestinations(): WaitingDestinations {
  return { length: 0, entries: nothing };
}

/** Adds what the request at a place of the batch names; `freshBits` tells which of it is new. */
export function addWaitingDestinations(
  waiting: WaitingDestinations,
  place: number,
  action: number,
  destinations: readonly Destination[],
  freshBits: number,
): void {
  for (let index = 0; index < destinations.length && index < destinationsMax; index++) {
    const destination = destinations[index];
    if (destination === undefined || waiting.length === waitingMax) return;
    const at = waiting.length * entryWords;
    if (at === waiting.entries.length) {
      const longer = new Uint32Array(entryWords * Math.min(waitingMax, Math.max(waitingAtFirst, 2 * waiting.length)));
      longer.set(waiting.entries);
      waiting.entries = longer;
    }
    const { hash, fieldHash, kind } = destination;
    const bits = (((freshBits >>> index) & 1) === 1 ? fresh : 0) | (kind === 'plain' ? plain : 0);
    waiting.entries[at] = action;
    waiting.entries[at + 1] = kind === 'text' ? 0 : hash;
    waiting.entries[at + 2] = (place << 16) | (fieldCellOf(action, fieldHash) << 8) | bits;
    waiting.length++;
  }
}

/** Whether a request that waits named this destination of this action. */
export function isDestinationWaiting({ length, entries }: WaitingDestinations, action: number, hash: number): boolean {
  for (let at = 0; at < length * entryWords; at += entryWords) {
    if (entries[at + 1] === hash && entries[at] === action) return true;
  }
  return false;
}

/**
 * The hashes that the request at a place of the batch named, and that may come again: what a field holds that hardly
 * ever holds the same twice, a text or a time, would only crowd out the others.
 */
export function waitingHashes({ length, entries }: WaitingDestinations, place: number, known: FieldSketch): number[] {
  const hashes: number[] = [];
  for (let at = 0; at < length * entryWords; at += entryWords) {
    const hash = entries[at + 1] ?? 0;
    const details = entries[at + 2] ?? 0;
    if (details >>> 16 !== place || hash === 0) continue;
    const cell = (details >>> 8) & 0xff;
    if ((details & plain) !== 0 && isFree(known, cell)) continue;
    hashes.push(hash);
  }
  return hashes;
}

/** Counts each field of the request at a place of the batch once, as new if any of its values was. */
export function countFields({ length, entries }: WaitingDestinations, place: number, into: FieldSketch): void {
  const end = length * entryWords;
  for (let at = 0; at < end; at += entryWords) {
    const details = entries[at + 2] ?? 0;
    if (details >>> 16 !== place) continue;
    const isOfField = (other: number) => (entries[other + 2] ?? 0) >>> 8 === details >>> 8;
    let isFirst = true;
    for (let other = at - entryWords; other >= 0 && isFirst; other -= entryWords) isFirst = !isOfField(other);
    if (!isFirst) continue;
    let isFresh = false;
    for (let other = at; other < end; other += entryWords) {
      if (isOfField(other) && ((entries[other + 2] ?? 0) & fresh) !== 0) isFresh = true;
    }
    const cell = (details >>> 8) & 0xff;
    if (into.named[cell] === 0xff) continue;
    into.named[cell] = (into.named[cell] ?? 0) + 1;
    if (isFresh) into.fresh[cell] = (into.fresh[cell] ?? 0) + 1;
  }
}

export function clearWaitingDestinations(waiting: WaitingDestinations): void {
  waiting.length = 0;
  waiting.entries = nothing;
}

function isFree({ named, fresh: freshCounts }: FieldSketch, cell: number): boolean {
  const count = named[cell] ?? 0;
  return count >= 8 && 2 * (freshCounts[cell] ?? 0) > count;
}
