/** Destinations an agent has used: two generations of a Bloom filter, so that what is long unused is forgotten. */

import { mix } from './keyed-hash.ts';

const generationBits = 4096;
export const generationWords = generationBits / 32;
/** Bits set a generation before the next begins: about 1 in 150 of what was never added is then taken for known. */
const bitsSetMax = 1200;
const probes = 4;
const probeSeed = 0x7feb352d;

/** Stands for every generation that holds nothing; never written to. */
const emptyWords = new Uint32Array(generationWords);

export type DestinationMemory = {
  /** Number of the newer generation, and of the older. */
  generation: number;
  olderGeneration: number;
  newer: Uint32Array;
  older: Uint32Array;
};

export function createDestinationMemory(): DestinationMemory {
  return {
    generation: 0,
    olderGeneration: 0,
    newer: emptyWords,
    older: emptyWords,
  };
}

export function hasDestination(memory: DestinationMemory, hash: number): boolean {
  return isSet(memory.newer, hash) || isSet(memory.older, hash);
}

/** Marks a destination as used, in the newer generation even if the older knows it: use keeps it remembered. */
export function addDestination(memory: DestinationMemory, hash: number): void {
  const step = mix(hash, probeSeed) | 1;
  let place = hash;
  memory.newer = opened(memory.newer);
  for (let probe = 0; probe < probes; probe++) {
    const bit = (place >>> 0) % generationBits;
    memory.newer[bit >>> 5] = (memory.newer[bit >>> 5] ?? 0) | (1 << (bit & 31));
    place = (place + step) | 0;
  }
}

/** Begins a generation where the newer is full. Returns whether it did. */
export function turnGeneration(memory: DestinationMemory): boolean {
  if (bitsSet(memory.newer) <= bitsSetMax) return false;
  advance(memory, memory.generation + 1);
  return true;
}

/** Adds what was met on a day, which is then the newer generation; no more once that day's is full. */
export function addOnDay(memory: DestinationMemory, hash: number, day: number): void {
  if (day > memory.generation) advance(memory, day);
  if (!isSet(memory.newer, hash) && bitsSet(memory.newer) <= bitsSetMax) addDestination(memory, hash);
}

/** Whether it was met in the generation before the newer: on a day before the last, where generations are days. */
export function wasBefore(memory: DestinationMemory, hash: number, generation: number): boolean {
  return isSet(memory.older, hash) || (memory.generation < generation && isSet(memory.newer, hash));
}

/** Unites generation by generation and keeps the two newest of both: the same in whatever order memories meet. */
export function uniteDestinations(into: DestinationMemory, from: DestinationMemory): void {
  for (const [generation, words] of [
    [from.olderGeneration, from.older],
    [from.generation, from.newer],
  ] as const) {
    if (generation > into.generation) advance(into, generation);
    else if (generation < into.generation && generation > into.olderGeneration) {
      into.olderGeneration = generation;
      into.older = emptyWords;
    }
    const isNewer = generation === into.generation;
    if (words === emptyWords || (!isNewer && generation !== into.olderGeneration)) continue;
    const target = opened(isNewer ? into.newer : into.older);
    if (isNewer) into.newer = target;
    else into.older = target;
    for (let index = 0; index < generationWords; index++) target[index] = (target[index] ?? 0) | (words[index] ?? 0);
  }
}

/** Empties the memory and keeps its generations. */
export function clearDestinations(memory: DestinationMemory): void {
  memory.newer = emptyWords;
  memory.older = emptyWords;
}

/** Words that may be written to. */
function opened(words: Uint32Array): Uint32Array {
  return words === emptyWords ? new Uint32Array(generationWords) : words;
}

function advance(memory: DestinationMemory, generation: number): void {
  memory.older = memory.newer;
  memory.olderGeneration = memory.generation;
  memory.newer = emptyWords;
  memory.generation = generation;
}

function isSet(words: Uint32Array, hash: number): boolean {
  const step = mix(hash, probeSeed) | 1;
  let place = hash;
  for (let probe = 0; probe < probes; probe++) {
    const bit = (place >>> 0) % generationBits;
    if (((words[bit >>> 5] ?? 0) & (1 << (bit & 31))) === 0) return false;
    place = (place + step) | 0;
  }
  return true;
}

function bitsSet(words: Uint32Array): number {
  let count = 0;
  for (let word of words) {
    word -= (word >>> 1) & 0x55555555;
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
    count += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}
