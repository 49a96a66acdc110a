/** How often one action follows another: a count-min sketch of two rows, which adds up cell by cell. */

import { mix } from './keyed-hash.ts';

export const pairRowCells = 640;
export const pairCells = 2 * pairRowCells;

const secondSeed = 0x9e3779b9;

/** Cells of a pair; found once a request, used to look up and to learn. */
export function pairCellsOf(previous: number, action: number): { readonly first: number; readonly second: number } {
  const hash = mix(previous, action);
  return { first: hash % pairRowCells, second: pairRowCells + (mix(hash, secondSeed) % pairRowCells) };
}

/** Never less than what was counted. */
export function countOfPair(cells: Uint32Array, first: number, second: number): number {
  return Math.min(cells[first] ?? 0, cells[second] ?? 0);
}
