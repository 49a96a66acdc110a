import { Histogram, type Metric, Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { createHistogram } from '../../src/record/histogram.ts';

const options = { name: 'some_seconds', help: 'Some time', labelNames: ['route'], buckets: [0.1, 0.5, 1] };
const values = [0.05, 0.1, 0.100001, 0.5, 0.75, 1, 1.5, 100, 0];

async function exposed(metric: Metric): Promise<string> {
  const registry = new Registry();
  registry.registerMetric(metric);
  return registry.metrics();
}

describe('the histogram', () => {
  it('is exposed just as the one of the library', async () => {
    const ours = createHistogram(options);
    const theirs = new Histogram({ ...options, registers: [] });
    for (const route of ['api', 'a "quoted\\" one\n']) {
      const series = ours.series(route);
      for (const value of values) {
        series.observe(value);
        theirs.observe({ route }, value);
      }
    }
    // The order of labels says nothing.
    const bounds = /\{le="([^"]+)",(.*)\}/;
    const lines = (text: string) =>
      text
        .trim()
        .split('\n')
        .map((line) => line.replace(bounds, '{$2,le="$1"}'))
        .toSorted();
    expect(lines(await exposed(ours as unknown as Metric))).toEqual(lines(await exposed(theirs)));
  });

  it('counts a value at a bound below it, and cumulatively', async () => {
    const histogram = createHistogram({ ...options, labelNames: [] });
    const series = histogram.series();
    for (const value of values) series.observe(value);
    const text = await exposed(histogram as unknown as Metric);
    expect(text.match(/_bucket\{le="[^"]+"\} \d+/g)).toEqual([
      '_bucket{le="0.1"} 3',
      '_bucket{le="0.5"} 5',
      '_bucket{le="1"} 7',
      '_bucket{le="+Inf"} 9',
    ]);
    expect(text).toContain('some_seconds_count 9');
  });
});
