/** What a running sidecar exposes: metrics by name, each with the labels that its series carry. */

import { startPod } from './pod.ts';

export type ExposedMetrics = ReadonlyMap<string, ReadonlySet<string>>;

/** A rule that always fails to evaluate, so that its counter has a series. A shadow rule decides nothing. */
const failingRule = `rules:
  - id: fails-always
    description: No token carries this claim.
    when: token.claims["no-such-claim"] == "x"
    effect: deny
    mode: shadow
`;

/** Starts the pod of deploy/kubernetes with all its components, has it allow and deny a call, and reads its /metrics. */
export async function exposedMetrics(): Promise<ExposedMetrics> {
  const more = new Map([['/etc/postern-rules', new Map([['fails.yaml', failingRule]])]]);
  const pod = await startPod({ more, hasSignals: true });
  try {
    for (const scope of ['orders:read', 'orders:none']) {
      const headers = pod.authorize('/orders', scope);
      const response = await fetch(`${pod.dataOrigin}/orders`, { headers, signal: AbortSignal.timeout(5000) });
      await response.text();
    }
    const authorization = `Bearer ${pod.secrets.get('admin-token')}`;
    const response = await fetch(`${pod.adminOrigin}/metrics`, {
      headers: { authorization },
      signal: AbortSignal.timeout(5000),
    });
    return readExposition(await response.text());
  } finally {
    await pod.close();
  }
}

/** Reads the Prometheus text format. A metric without any series is not exposed: no query can find it. */
export function readExposition(text: string): ExposedMetrics {
  const metrics = new Map<string, Set<string>>();
  for (const line of text.split('\n')) {
    const series = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$/.exec(line);
    if (series === null || line.startsWith('#')) continue;
    const [, name = '', pairs = ''] = series;
    const labels = metrics.get(name) ?? new Set();
    for (const [, label = ''] of pairs.matchAll(/([a-zA-Z_]\w*)="(?:[^"\\]|\\.)*"/g)) labels.add(label);
    metrics.set(name, labels);
  }
  return metrics;
}
