/** Prometheus metrics. Labels are bounded by configuration: never an agent, a path or a token. */

import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client';
import { type Exchange, stageNames } from '../exchange.ts';
import { createHistogram, type HistogramMetric, type HistogramOptions, type Series } from './histogram.ts';

const decisionBuckets = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];
const upstreamBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** What is read when Prometheus asks, not when it changes. */
export type MetricSources = {
  readonly version: string;
  /** Milliseconds since the secret was written, by credential; absent while it cannot be had. */
  readonly credentialAgesMs: () => Iterable<readonly [string, number]>;
  /** Milliseconds since the issuer's keys were last fetched well, by issuer; absent while there are none. */
  readonly keySetAgesMs: () => Iterable<readonly [string, number]>;
  readonly isStoreUp: () => Promise<boolean>;
  /** Null while the store cannot say. */
  readonly countRevocations: () => Promise<number | null>;
};

export type Metrics = {
  readonly observe: (exchange: Exchange) => void;
  readonly observeStore: (seconds: number) => void;
  readonly countRuleError: (rule: string) => void;
  /** A field that speaks of a client certificate, from a peer that is not believed. */
  readonly countSpoofedField: () => void;
  readonly countAuditRecords: (sink: string, outcome: 'written' | 'failed', count: number) => void;
  readonly contentType: string;
  readonly expose: () => Promise<string>;
};

/** A registry of its own for each sidecar, so that several can live in one process. */
export function createMetrics(sources: MetricSources): Metrics {
  const registers = [new Registry()];
  const [registry] = registers as [Registry];
  collectDefaultMetrics({ register: registry });
  const register = (options: HistogramOptions): HistogramMetric => {
    const histogram = createHistogram(options);
    registry.registerMetric(histogram as unknown as Metric);
    return histogram;
  };
  const requests = new Counter({
    name: 'postern_requests_total',
    help: 'Requests by decision, and by reason where Postern gave the answer',
    labelNames: ['route', 'decision', 'reason'],
    registers,
  });
  const decisionSeconds = register({
    name: 'postern_decision_seconds',
    help: 'From arrival to decision',
    labelNames: ['route'],
    buckets: decisionBuckets,
  });
  const stageSeconds = register({
    name: 'postern_stage_seconds',
    help: 'Time spent in each stage of the request path',
    labelNames: ['stage'],
    buckets: decisionBuckets,
  });
  const upstreamSeconds = register({
    name: 'postern_upstream_seconds',
    help: 'From forwarding to the end of the response, by status code of the upstream; none where it gave no answer',
    labelNames: ['route', 'code'],
    buckets: upstreamBuckets,
  });
  const decisionSeries = new Map<string, Series>();
  const upstreamSeries = new Map<string, Series>();
  const stageSeries = stageNames.map((stage) => [stage, stageSeconds.series(stage)] as const);
  const ruleMatches = new Counter({
    name: 'postern_rule_matches_total',
    help: 'Rules that matched, shadow rules included',
    labelNames: ['rule', 'effect', 'mode'],
    registers,
  });
  const ruleErrors = new Counter({
    name: 'postern_rule_errors_total',
    help: 'Rules whose evaluation failed; in an enforced rule each one denied a request',
    labelNames: ['rule'],
    registers,
  });
  new Gauge({
    name: 'postern_store_up',
    help: '1 if the store answered when this was read, else 0',
    registers,
    async collect() {
      this.set((await sources.isStoreUp()) ? 1 : 0);
    },
  });
  const storeSeconds = register({
    name: 'postern_store_seconds',
    help: 'Time of one store round trip',
    labelNames: [],
    buckets: decisionBuckets,
  }).series();
  const spoofedFields = new Counter({
    name: 'postern_spoofed_fields_total',
    help: 'Client certificate fields from peers that are not trusted proxies; dropped',
    registers,
  });
  const auditRecords = new Counter({
    name: 'postern_audit_records_total',
    help: 'Audit records by sink and outcome',
    labelNames: ['sink', 'outcome'],
    registers,
  });
  gaugeOnRead(
    registry,
    'postern_credential_age_seconds',
    'Since the file with the secret was written, or the environment was read',
    'credential',
    sources.credentialAgesMs,
  );
  gaugeOnRead(
    registry,
    'postern_jwks_age_seconds',
    'Since the key set was last fetched well',
    'issuer',
    sources.keySetAgesMs,
  );
  new Gauge({
    name: 'postern_revocations',
    help: 'Entries of the revocation set; absent while the store cannot say',
    registers,
    async collect() {
      const count = await sources.countRevocations();
      // A reset would leave the value 0 behind, which says that nothing is revoked.
      if (count === null) this.remove();
      else this.set(count);
    },
  });
  new Gauge({ name: 'postern_build_info', help: 'Always 1', labelNames: ['version', 'node'], registers }).set(
    { version: sources.version, node: process.versions.node },
    1,
  );

  return {
    observe(exchange) {
      const route = exchange.route?.name ?? 'none';
      const isAllowed = exchange.decision?.effect === 'allow';
      const refusal = exchange.decision?.effect === 'deny' ? exchange.decision : exchange.failure;
      requests.inc({ route, decision: isAllowed ? 'allow' : 'deny', reason: refusal?.reason ?? 'none' });
      const { decidedMs, startedMs, stageMs, outcome } = exchange;
      if (decidedMs !== null) seriesFor(decisionSeconds, decisionSeries, route).observe((decidedMs - startedMs) / 1000);
      for (const [stage, series] of stageSeries) {
        const elapsedMs = stageMs[stage];
        if (elapsedMs !== undefined) series.observe(elapsedMs / 1000);
      }
      if (stageMs.upstream !== undefined) {
        const code = outcome.upstreamStatus?.toString() ?? 'none';
        seriesFor(upstreamSeconds, upstreamSeries, route, code).observe(stageMs.upstream / 1000);
      }
      for (const { id, effect, mode, failed } of exchange.decision?.matches ?? []) {
        if (!failed) ruleMatches.inc({ rule: id, effect, mode });
      }
    },
    observeStore: (seconds) => storeSeconds.observe(seconds),
    countRuleError: (rule) => ruleErrors.inc({ rule }),
    countSpoofedField: () => spoofedFields.inc(),
    countAuditRecords: (sink, outcome, count) => auditRecords.inc({ sink, outcome }, count),
    contentType: registry.contentType,
    expose: () => registry.metrics(),
  };
}

/** Made at first sight, so that only routes and codes that occur are exposed. */
function seriesFor(
  histogram: HistogramMetric,
  known: Map<string, Series>,
  ...labels: readonly [string, string?]
): Series {
  const key = labels[1] === undefined ? labels[0] : `${labels[0]} ${labels[1]}`;
  let series = known.get(key);
  if (series === undefined) {
    series = histogram.series(...labels.filter((label) => label !== undefined));
    known.set(key, series);
  }
  return series;
}

function gaugeOnRead(
  registry: Registry,
  name: string,
  help: string,
  label: string,
  agesMs: () => Iterable<readonly [string, number]>,
): void {
  new Gauge({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      this.reset();
      for (const [key, ageMs] of agesMs()) this.set({ [label]: key }, ageMs / 1000);
    },
  });
}
