import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ExposedMetrics, exposedMetrics, readExposition } from './exposed-metrics.ts';
import { deployFolder, readDocument } from './manifests.ts';
import { readPromql } from './promql.ts';

type Rule = { readonly record?: string; readonly alert?: string; readonly expr: string };
type Panel = {
  readonly title: string;
  readonly type: string;
  readonly id: number;
  readonly targets?: readonly { readonly expr: string }[];
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
};
type Dashboard = {
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
};
type Query = { readonly where: string; readonly expression: string };

const rulesOf = (file: string) =>
  readDocument<{ groups: { rules: Rule[] }[] }>(join(deployFolder, 'prometheus', file)).groups.flatMap(
    ({ rules }) => rules,
  );
const recordings = rulesOf('recording-rules.yaml');
const dashboard = JSON.parse(readFileSync(join(deployFolder, 'grafana/postern.json'), 'utf8')) as Dashboard;

/** label_values(selector, label) is Grafana's; as PromQL it is a grouping of the selector by that label. */
const variableQueries = dashboard.templating.list.flatMap(({ name, definition }) => {
  const call = /^label_values\((.*), (\w+)\)$/.exec(definition ?? '');
  return call === null ? [] : [{ where: `variable ${name}`, expression: `count by (${call[2]}) (${call[1]})` }];
});
const queries: readonly Query[] = [
  ...recordings.map(({ record, expr }) => ({ where: `recording rule ${record}`, expression: expr })),
  ...rulesOf('alert-rules.yaml').map(({ alert, expr }) => ({ where: `alert ${alert}`, expression: expr })),
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ where: `panel ${title}`, expression: expr })),
  ),
  ...variableQueries,
];

/** What Prometheus itself adds: labels of the target (deploy/prometheus/*.yml), and its own metric about it. */
const targetLabels = ['job', 'instance', 'namespace', 'pod'];

/** What queries may name: metrics of a sidecar, `up`, and what the recording rules make of them. */
function namesInPrometheus(exposed: ExposedMetrics): ExposedMetrics {
  const known = new Map<string, ReadonlySet<string>>([['up', new Set(targetLabels)]]);
  for (const [name, labels] of exposed) known.set(name, new Set([...labels, ...targetLabels]));
  for (const { record = '', expr } of recordings) known.set(record, new Set(readPromql(expr).groupingLabels));
  // A recording rule built on others keeps their labels.
  for (const { record = '', expr } of recordings) {
    const { selectors } = readPromql(expr);
    const inherited = selectors.flatMap(({ metric }) => (metric.includes(':') ? [...(known.get(metric) ?? [])] : []));
    known.set(record, new Set([...(known.get(record) ?? []), ...inherited]));
  }
  return known;
}

/** What is wrong with a query, in words; empty where nothing is. */
function faultsOf(expression: string, known: ExposedMetrics): readonly string[] {
  const { errors, selectors, groupingLabels } = readPromql(expression);
  const unknown = selectors.filter(({ metric }) => !known.has(metric)).map(({ metric }) => `unknown metric ${metric}`);
  const labelsOf = (metric: string) => known.get(metric) ?? new Set<string>();
  const matched = selectors.flatMap(({ metric, labels }) =>
    labels.filter((label) => !labelsOf(metric).has(label)).map((label) => `${metric} has no label ${label}`),
  );
  const grouped = groupingLabels
    .filter((label) => !selectors.some(({ metric }) => labelsOf(metric).has(label)))
    .map((label) => `nothing here has the label ${label}`);
  return [...errors.map((error) => `no PromQL: ${error}`), ...unknown, ...matched, ...grouped];
}

describe('queries of the dashboard, the recording rules and the alerts', () => {
  let known: ExposedMetrics;
  beforeAll(async () => {
    known = namesInPrometheus(await exposedMetrics());
  });

  it('finds queries of every kind', () => {
    for (const kind of ['recording rule', 'alert', 'panel', 'variable']) {
      expect(queries.filter(({ where }) => where.startsWith(kind)).length).toBeGreaterThan(2);
    }
  });

  it.each(queries)('$where names only what a running sidecar exposes: $expression', ({ expression }) => {
    expect(faultsOf(expression, known)).toEqual([]);
  });

  it('covers every metric of ours that a running sidecar exposes', () => {
    const named = new Set(queries.flatMap(({ expression }) => readPromql(expression).selectors.map((s) => s.metric)));
    const family = (name: string) => name.replace(/_(bucket|sum|count)$/, '');
    const families = new Set([...named].map(family));
    const ours = [...known.keys()].filter((name) => name.startsWith('postern_'));
    expect(ours.map(family).filter((name) => !families.has(name))).toEqual([]);
  });
});

describe('the judge of queries', () => {
  const known = new Map([['postern_requests_total', new Set(['route'])]]);

  it.each([
    ['sum(rate(postern_requests_total[5m])', 'no PromQL'],
    ['postern_requests', 'unknown metric'],
    ['postern_requests_total{agent="a"}', 'has no label agent'],
    ['sum by (agent) (postern_requests_total)', 'nothing here has the label agent'],
  ])('finds the fault in %s', (expression, fault) => {
    expect(faultsOf(expression, known).join()).toContain(fault);
  });

  it('reads names and labels from an exposition, and none from a metric without series', () => {
    const text =
      '# HELP a_total A.\n# TYPE a_total counter\na_total{x="1,y=\\"2\\"",z="3"} 4\n# TYPE b_total counter\nc 1e-9\n';
    expect([...readExposition(text)]).toEqual([
      ['a_total', new Set(['x', 'z'])],
      ['c', new Set()],
    ]);
  });
});

describe('the dashboard', () => {
  it('gives every panel an id of its own and a place that no other takes', () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...panels.map(({ gridPos: { x, w } }) => x + w))).toBe(24);
  });

  it('asks nothing of a panel that is not a row or a query', () => {
    const silent = dashboard.panels.filter(({ type, targets = [] }) => type !== 'row' && targets.length === 0);
    expect(silent.map(({ title }) => title)).toEqual([]);
  });

  it('reads from whatever data source is chosen', () => {
    expect(dashboard.templating.list.map(({ name }) => name)).toEqual(['datasource', 'namespace', 'pod', 'route']);
    const text = JSON.stringify(dashboard);
    expect(new Set([...text.matchAll(/"uid":"([^"]*)"/g)].map((match) => match[1]))).toEqual(
      new Set([`${'$'}{datasource}`, 'postern']),
    );
  });
});
