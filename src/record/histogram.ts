/**
 * A histogram whose series are looked up once and then only counted. The library's own hashes its labels at every
 * observation; with seven of them a request that was 3 % of the whole path. The registry and the text format remain the
 * library's.
 */

export type HistogramOptions = {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  /** Upper bounds in ascending order, without infinity. */
  readonly buckets: readonly number[];
};

/** One combination of label values. */
export type Series = { readonly observe: (value: number) => void };

type Tally = {
  readonly labels: Readonly<Record<string, string>>;
  /** Not cumulative; one more than there are bounds, for what exceeds them all. */
  readonly counts: Float64Array;
  sum: number;
};

type Sample = {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
};

/** As the registry of prom-client reads it. */
export type HistogramMetric = {
  readonly name: string;
  readonly series: (...labelValues: readonly string[]) => Series;
  readonly get: () => Promise<{ name: string; help: string; type: 'histogram'; aggregator: 'sum'; values: Sample[] }>;
};

export function createHistogram({ name, help, labelNames, buckets }: HistogramOptions): HistogramMetric {
  const bounds = Float64Array.from(buckets);
  const tallies: Tally[] = [];
  return {
    name,
    series(...labelValues) {
      const labels = Object.fromEntries(labelNames.map((label, index) => [label, labelValues[index] ?? '']));
      const tally: Tally = { labels, counts: new Float64Array(bounds.length + 1), sum: 0 };
      tallies.push(tally);
      return {
        observe(value) {
          let index = 0;
          while (index < bounds.length && value > (bounds[index] as number)) index += 1;
          tally.counts[index] = (tally.counts[index] as number) + 1;
          tally.sum += value;
        },
      };
    },
    get: async () => ({
      name,
      help,
      type: 'histogram',
      aggregator: 'sum',
      values: tallies.flatMap((tally) => samplesOf(name, bounds, tally)),
    }),
  };
}

function samplesOf(name: string, bounds: Float64Array, { labels, counts, sum }: Tally): Sample[] {
  let total = 0;
  const samples: Sample[] = [...counts].map((count, index) => {
    total += count;
    return { metricName: `${name}_bucket`, labels: { ...labels, le: bounds[index] ?? '+Inf' }, value: total };
  });
  return [
    ...samples,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: total },
  ];
}
