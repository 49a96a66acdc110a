/** Calibration: an agent's own past values of one statistic, in 64 bins, and the share at least as extreme. */

export const binBits = 6;
export const binCount = 1 << binBits;

/** The statistics that are calibrated, by their place in the baseline's histograms. */
export const histogramNames = ['action', 'sequence', 'combined', 'rate', 'sustained'] as const;
export const histogramCells = histogramNames.length * binCount;

export type Scale = {
  /** First cell of its histogram. */
  readonly offset: number;
  readonly low: number;
  readonly binsPerUnit: number;
};

export const scales = {
  action: scale(0, 0, 16),
  sequence: scale(1, 0, 16),
  combined: scale(2, 0, 12),
  rate: scale(3, -4, 12),
  sustained: scale(4, -6, 6),
} as const;

function scale(index: number, low: number, high: number): Scale {
  return { offset: index * binCount, low, binsPerUnit: binCount / (high - low) };
}

/** The bin a value falls into; values beyond either end fall into the last. */
export function binOf({ low, binsPerUnit }: Scale, value: number): number {
  const bin = (value - low) * binsPerUnit;
  return bin >= binCount - 1 ? binCount - 1 : bin > 0 ? bin | 0 : 0;
}

/**
 * The share of past values at least as extreme as this one, never 0: the value itself counts as one more of them.
 * Within its own bin the past is taken as spread evenly. `unit` is the weight of one value.
 */
export function tailShare(histograms: Uint32Array, { offset, low, binsPerUnit }: Scale, value: number, unit: number) {
  const place = (value - low) * binsPerUnit;
  const bin = place >= binCount - 1 ? binCount - 1 : place > 0 ? place | 0 : 0;
  let above = 0;
  for (let index = bin + 1; index < binCount; index++) above += histograms[offset + index] ?? 0;
  const inBin = histograms[offset + bin] ?? 0;
  let total = above + inBin;
  for (let index = 0; index < bin; index++) total += histograms[offset + index] ?? 0;
  const into = Math.min(1, Math.max(0, place - bin));
  return (above + inBin * (1 - into) + unit) / (total + unit);
}
