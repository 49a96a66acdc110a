/** Chance that can be repeated: the same seed gives the same draws, whatever machine or run it is. */

export type Random = {
  readonly seed: number;
  /** A whole number from 0 up to, and not including, the bound. */
  readonly below: (bound: number) => number;
  /** From the first to the last, both included. */
  readonly between: (first: number, last: number) => number;
  readonly pick: <T>(items: readonly T[]) => T;
  /** True in so many of a hundred cases. */
  readonly percent: (share: number) => boolean;
  readonly text: (alphabet: string, length: number) => string;
};

/** Mulberry32: 32 bits of state, good enough to spread cases, and nothing more. */
export function createRandom(seed: number): Random {
  let state = seed | 0;
  const below = (bound: number) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * bound);
  };
  return {
    seed,
    below,
    between: (first, last) => first + below(last - first + 1),
    pick: <T>(items: readonly T[]) => {
      if (items.length === 0) throw new RangeError('nothing to pick from');
      return items[below(items.length)] as T;
    },
    percent: (share) => below(100) < share,
    text: (alphabet, length) => {
      let text = '';
      for (let index = 0; index < length; index++) text += alphabet[below(alphabet.length)] ?? '';
      return text;
    },
  };
}

/** The seed that a variable names, else a new one. Throws on one that is no whole number. */
export function seedFrom(written: string | undefined): number {
  if (written === undefined || written === '') return Math.floor(Math.random() * 0x1_0000_0000);
  const seed = Number(written);
  if (!Number.isSafeInteger(seed) || seed < 0) throw new RangeError(`a seed is a whole number, not ${written}`);
  return seed;
}
