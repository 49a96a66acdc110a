/** Prometheus metrics. Labels are bounded by configuration: never an agent, a path or a token. */

import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client';
import { type Exchange, stageNames } from '../exchange.ts';
import { createDriftMetrics, type DriftMetrics, type DriftSources } from './drift-metrics.ts';
import { createHistogram, type HistogramMetric, type HistogramOptions, type Series } from './histogram.ts';
import { createRuleMetrics, type RuleMetrics } from './rule-metrics.ts';
import { createSignalMetrics, type SignalSources } from './signal-metrics.ts';

const decisionBuckets = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];
const upstreamBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** What is read when Prometheus asks, not when it changes. */
export type MetricSources = {
  readonly version: string;
  /** As configured. */
  readonly issuers: readonly string[];
  /** Milliseconds since the secret was written, by credential; absent while it cannot be had. */
  readonly credentialAgesMs: () => Iterable<readonly [string, number]>;
  /** Milliseconds since the issuer's keys were last fetched well, by issuer; absent while there are none. */
  readonly keySetAgesMs: () => Iterable<readonly [string, number]>;
  readonly signals: SignalSources;
  readonly drift: DriftSources;
  readonly isStoreUp: () => Promise<boolean>;
  /** Null until they have been read once. */
  readonly countRevocations: () => number | null;
  /** Since the store last confirmed that this sidecar knows every revocation. */
  readonly mirrorAgeMs: () => number;
  /** When what runs was last taken from the files, in milliseconds, and whether it is what they hold. */
  readonly reload: () => { readonly loadedAtMs: number; readonly isCurrent: boolean };
  /** Whether rules are enforced at all: false where enforcement is shadow. */
  readonly isEnforcing: () => boolean;
  /** Agents that called within a day; null while the store cannot say. */
  readonly countAgents: () => Promise<number | null>;
};

export type Metrics = DriftMetrics & {
  readonly observe: (exchange: Exchange) => void;
  readonly observeStore: (seconds: number) => void;
  readonly countRuleError: RuleMetrics['countError'];
  readonly retainRules: RuleMetrics['retain'];
  /** The store was found without what it had held. */
  readonly countStoreLoss: () => void;
  /** Of a file that is read again while the sidecar runs. */
  readonly countReload: (outcome: 'loaded' | 'refused') => void;
  /** A request with fields that speak for a proxy, from a peer that is not believed. */
  readonly countSpoofedField: () => void;
  /** A security event, or a token that was not taken. All labels are bounded. */
  readonly countSignal: (transmitter: string, event: string, outcome: string) => void;
  readonly countStatusListFetch: (issuer: string, outcome: 'fetched' | 'failed') => void;
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
  const rules = createRuleMetrics(registry);
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
    help: 'Requests with client address or certificate fields of peers that are not trusted proxies; dropped',
    registers,
  });
  const countSignal = createSignalMetrics(registry, sources.signals);
  const driftMetrics = createDriftMetrics(registry, register, sources.drift);
  const leaksBlocked = new Counter({
    name: 'postern_credential_leaks_blocked_total',
    help: 'Responses that were held back or cut because they held the credential',
    registers,
  });
  const statusListFetches = new Counter({
    name: 'postern_status_list_fetches_total',
    help: 'Fetches of Token Status Lists, by issuer of the tokens',
    labelNames: ['issuer', 'outcome'],
    registers,
  });
  for (const issuer of sources.issuers) {
    for (const outcome of ['fetched', 'failed']) statusListFetches.inc({ issuer, outcome }, 0);
  }
  const reloads = new Counter({
    name: 'postern_reload_total',
    help: 'Files read again because they had changed; after refused, what was good before stays in use',
    labelNames: ['outcome'],
    registers,
  });
  for (const outcome of ['loaded', 'refused']) reloads.inc({ outcome }, 0);
  new Gauge({
    name: 'postern_reload_last_successful',
    help: '1 while the configuration and rules in use are those of the files, 0 while the files were refused',
    registers,
    collect() {
      this.set(sources.reload().isCurrent ? 1 : 0);
    },
  });
  new Gauge({
    name: 'postern_reload_last_success_timestamp_seconds',
    help: 'When the configuration and rules in use were loaded',
    registers,
    collect() {
      this.set(sources.reload().loadedAtMs / 1000);
    },
  });
  new Gauge({
    name: 'postern_enforcement',
    help: '1 while rules are enforced, 0 while enforcement is shadow',
    registers,
    collect() {
      this.set(sources.isEnforcing() ? 1 : 0);
    },
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
    help: 'Revocations in force; absent until they have been read once',
    registers,
    collect() {
      const count = sources.countRevocations();
      // A reset would leave the value 0 behind, which says that nothing is revoked.
      if (count === null) this.remove();
      else this.set(count);
    },
  });
  new Gauge({
    name: 'postern_revocation_mirror_age_seconds',
    help: 'Since the store last confirmed that this sidecar knows every revocation',
    registers,
    collect() {
      this.set(sources.mirrorAgeMs() / 1000);
    },
  });
  const streamsCut = new Counter({
    name: 'postern_streams_cut_total',
    help: 'Responses, transfers and WebSockets that were cut because they were revoked',
    registers,
  });
  const storeLosses = new Counter({
    name: 'postern_store_losses_total',
    help: 'Times that the store was found without the revocations that it had held',
    registers,
  });
  new Gauge({
    name: 'postern_agents',
    help: 'Agents that called within a day; absent while the store cannot say',
    registers,
    async collect() {
      const count = await sources.countAgents();
      if (count === null) this.remove();
      else this.set(count);
    },
  });
  new Gauge({ name: 'postern_build_info', help: 'Always 1', labelNames: ['version', 'node'], registers }).set(
    { version: sources.version, node: process.versions.node },
    1,
  );

  return {
    ...driftMetrics,
    observe(exchange) {
      const route = exchange.route?.name ?? 'none';
      const isAllowed = exchange.decision?.effect === 'allow';
      const refusal = exchange.decision?.effect === 'deny' ? exchange.decision : exchange.failure;
      if (refusal?.reason === 'credential_leak_blocked') leaksBlocked.inc();
      requests.inc({ route, decision: isAllowed ? 'allow' : 'deny', reason: refusal?.reason ?? 'none' });
      const { decidedMs, startedMs, stageMs, outcome } = exchange;
      if (outcome.end === 'revoked') streamsCut.inc();
      if (decidedMs !== null) seriesFor(decisionSeconds, decisionSeries, route).observe((decidedMs - startedMs) / 1000);
      for (const [stage, series] of stageSeries) {
        const elapsedMs = stageMs[stage];
        if (elapsedMs !== undefined) series.observe(elapsedMs / 1000);
      }
      if (stageMs.upstream !== undefined) {
        const code = outcome.upstreamStatus?.toString() ?? 'none';
        seriesFor(upstreamSeconds, upstreamSeries, route, code).observe(stageMs.upstream / 1000);
      }
      rules.countMatches(exchange.decision?.matches ?? []);
    },
    observeStore: (seconds) => storeSeconds.observe(seconds),
    countRuleError: rules.countError,
    retainRules: rules.retain,
    countStoreLoss: () => storeLosses.inc(),
    countReload: (outcome) => reloads.inc({ outcome }),
    countSpoofedField: () => spoofedFields.inc(),
    countSignal,
    countStatusListFetch: (issuer, outcome) => statusListFetches.inc({ issuer, outcome }),
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
