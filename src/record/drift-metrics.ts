/** Metrics of behaviour. */

import { Counter, Gauge, type Registry } from 'prom-client';
import type { DriftScores } from '../drift-scores.ts';
import type { HistogramMetric, HistogramOptions } from './histogram.ts';

const scoreBuckets = [0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999];

export type DriftSources = {
  /** Agents in memory, and those of them that are latched. */
  readonly countAgents: () => number;
  readonly countLatched: () => number;
  /** Whether what was learned can be shared. */
  readonly isStoreReached: () => boolean;
};

export type DriftMetrics = {
  readonly observeDrift: (scores: DriftScores, isAlarm: boolean) => void;
  readonly countDriftLost: () => void;
};

export function createDriftMetrics(
  registry: Registry,
  register: (options: HistogramOptions) => HistogramMetric,
  sources: DriftSources,
): DriftMetrics {
  const registers = [registry];
  const scores = register({
    name: 'postern_drift_score',
    help: 'Drift scores of calls whose agents are ready',
    labelNames: [],
    buckets: scoreBuckets,
  }).series();
  const alarms = new Counter({
    name: 'postern_drift_alarms_total',
    help: 'Calls that were an alarm: of a score of at least drift.alarm.score',
    registers,
  });
  const stale = new Counter({
    name: 'postern_drift_stale_total',
    help: 'Calls judged without what other replicas, or this one before a restart, have learned',
    registers,
  });
  const lost = new Counter({
    name: 'postern_drift_lost_total',
    help: 'Agents that left memory before the store took what was last learned of them',
    registers,
  });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge('postern_drift_agents', 'Agents whose baseline is in memory', sources.countAgents);
  gauge('postern_drift_latched', 'Agents in memory that are latched until a person has spoken', sources.countLatched);
  gauge('postern_drift_store_reached', '1 while what is learned gets to the store, else 0', () =>
    sources.isStoreReached() ? 1 : 0,
  );
  return {
    observeDrift(drift, isAlarm) {
      if (drift.ready) scores.observe(drift.score);
      if (isAlarm) alarms.inc();
      if (drift.stale) stale.inc();
    },
    countDriftLost: () => lost.inc(),
  };
}
