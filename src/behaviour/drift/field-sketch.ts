/** How often each field of each action names something, and something new: counts in shared cells, which add up. */

import { mix } from './keyed-hash.ts';

export const fieldCells = 256;
/** Requests that tell how often a field names something new: beyond them both counts are halved. */
const namedMax = 128;

export type FieldSketch = {
  /** By cell: requests that gave the field, and those in which it held something new; recent ones count more. */
  readonly named: Uint8Array;
  readonly fresh: Uint8Array;
};

export const fieldSketchBytes = 2 * fieldCells;

/** A sketch at a place of `memory`, which must be all 0 there. */
export function createFieldSketch(memory = new ArrayBuffer(fieldSketchBytes), at = 0): FieldSketch {
  return {
    named: new Uint8Array(memory, at, fieldCells),
    fresh: new Uint8Array(memory, at + fieldCells, fieldCells),
  };
}

export function fieldCellOf(action: number, fieldHash: number): number {
  return mix(action, fieldHash) % fieldCells;
}

/** Adds up to what a cell holds; one that would overflow takes both counts in proportion. */
export function addFields(into: FieldSketch, from: FieldSketch): void {
  for (let cell = 0; cell < fieldCells; cell++) {
    const named = (into.named[cell] ?? 0) + (from.named[cell] ?? 0);
    const fresh = (into.fresh[cell] ?? 0) + (from.fresh[cell] ?? 0);
    const shift = named > 255 ? 1 : 0;
    into.named[cell] = named >>> shift;
    into.fresh[cell] = fresh >>> shift;
  }
}

export function ageFields({ named, fresh }: FieldSketch): void {
  for (let cell = 0; cell < fieldCells; cell++) {
    if ((named[cell] ?? 0) <= namedMax) continue;
    named[cell] = (named[cell] ?? 0) >>> 1;
    fresh[cell] = (fresh[cell] ?? 0) >>> 1;
  }
}
