/** The figures that detectors are compared by. */

export type Row = { readonly score: number; readonly isHit: boolean };

export type Curve = {
  readonly auc: number;
  /** Percent found at 1, 5 and 10 percent false alarms. */
  readonly hitAt: readonly number[];
  /** Least percent missed + 6 x percent false alarms, and where. */
  readonly cost: number;
  readonly hit: number;
  readonly falseAlarms: number;
};

const falseAlarmPercents = [1, 5, 10] as const;

/** Rows of equal score stand or fall together. Without any that are hits, or any that are not, nothing is a number. */
export function curveOf(rows: readonly Row[]): Curve {
  const sorted = rows.toSorted((left, right) => right.score - left.score);
  const positives = rows.filter(({ isHit }) => isHit).length;
  const negatives = rows.length - positives;
  if (positives === 0 || negatives === 0) {
    const { NaN: none } = Number;
    return { auc: none, hitAt: falseAlarmPercents.map(() => none), cost: none, hit: none, falseAlarms: none };
  }
  const hitAt = falseAlarmPercents.map(() => 0);
  let best = { cost: 100, hit: 0, falseAlarms: 0 };
  let [hits, alarms, area] = [0, 0, 0];
  for (let index = 0; index < sorted.length; ) {
    const score = sorted[index]?.score;
    let [tiedHits, tiedAlarms] = [0, 0];
    for (; index < sorted.length && sorted[index]?.score === score; index++) {
      if (sorted[index]?.isHit) tiedHits++;
      else tiedAlarms++;
    }
    area += tiedAlarms * (hits + tiedHits / 2);
    hits += tiedHits;
    alarms += tiedAlarms;
    const hit = (100 * hits) / positives;
    const falseAlarms = (100 * alarms) / negatives;
    for (const [at, percent] of falseAlarmPercents.entries()) if (falseAlarms <= percent) hitAt[at] = hit;
    const cost = 100 - hit + 6 * falseAlarms;
    if (cost < best.cost) best = { cost, hit, falseAlarms };
  }
  return { auc: area / positives / negatives, hitAt, ...best };
}

export function percent(part: number, whole: number): number {
  return whole === 0 ? 0 : (100 * part) / whole;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** A repeatable generator of numbers in [0, 1). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}
