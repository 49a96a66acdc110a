/** Metrics of security events that transmitters send. */

import { Counter, Gauge, type Registry } from 'prom-client';

export type SignalSources = {
  /** Names as configured. */
  readonly transmitters: readonly string[];
  /** Milliseconds since the transmitter was last heard of, and since its stream was last verified. */
  readonly contactAgesMs: () => Iterable<readonly [string, number]>;
  readonly verificationAgesMs: () => Iterable<readonly [string, number]>;
};

/** Gives what counts one event of a known type, or a token that had none. */
export function createSignalMetrics(registry: Registry, sources: SignalSources) {
  const registers = [registry];
  const signals = new Counter({
    name: 'postern_signals_total',
    help: 'Security events by transmitter, type and what came of them',
    labelNames: ['transmitter', 'event', 'outcome'],
    registers,
  });
  // There from the start, so that the first event is an increase.
  for (const transmitter of sources.transmitters) {
    signals.inc({ transmitter, event: 'verification', outcome: 'noted' }, 0);
  }
  const ages = (name: string, help: string, agesMs: SignalSources['contactAgesMs']) =>
    new Gauge({
      name,
      help,
      labelNames: ['transmitter'],
      registers,
      collect() {
        for (const [transmitter, ageMs] of agesMs()) this.set({ transmitter }, ageMs / 1000);
      },
    });
  ages(
    'postern_signals_last_contact_age_seconds',
    'Since the transmitter last pushed or answered a poll, or since the start',
    sources.contactAgesMs,
  );
  ages(
    'postern_signals_last_verification_age_seconds',
    'Since the last verification event of the transmitter, or since the start',
    sources.verificationAgesMs,
  );
  return (transmitter: string, event: string, outcome: string) => signals.inc({ transmitter, event, outcome });
}
