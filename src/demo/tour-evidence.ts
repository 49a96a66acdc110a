/** The end of the tour: what the metrics and the audit log say about everything that happened before. */

import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Verdict } from '../agent-verdict.ts';
import type { Tour } from './tour-calls.ts';
import type { TourStep } from './tour-step.ts';

/** Records are written when a response has ended, so the last one may still be on its way. */
const patienceMs = 3000;
const pauseMs = 20;

export const evidenceSteps: readonly TourStep[] = [
  {
    title: 'What the SRE sees: /metrics',
    expected: 'postern_requests_total has counted each of these answers by its reason; no secret, token or proof',
    async run(tour) {
      const exposition = await poll(
        () => readMetrics(tour),
        (text) => differences(tour, text).length === 0,
      );
      const wrong = differences(tour, exposition);
      const leaks = leaksIn(tour, exposition);
      const counts = [...countReasons(tour.verdicts)].map(([reason, count]) => `${reason} ${count}`).join(', ');
      const seen = wrong.length === 0 ? counts : wrong.join('; ');
      return { seen: `${seen}${leakText(leaks)}`, isAsTold: wrong.length === 0 && leaks === 0 };
    },
  },
  {
    title: 'What the security team sees: the audit log',
    expected:
      'one line for each decision, with its id and reason, each revocation and the reload; no secret, token or proof',
    async run(tour) {
      const log = await poll(
        () => readAudit(tour),
        (text) => unrecorded(tour, text).length === 0,
      );
      const missing = unrecorded(tour, log);
      const leaks = leaksIn(tour, log);
      const [decisions, revocations, reloads] = ['decision', 'revocation', 'reload'].map(
        (type) => log.split('\n').filter((line) => line.startsWith(`{"type":"${type}"`)).length,
      );
      const seen =
        missing.length === 0
          ? `${decisions} decisions, none missing, ${revocations} revocations and ${reloads} reload`
          : `not as answered: ${missing.join(', ')}`;
      const isComplete = decisions === tour.verdicts.length && revocations === tour.revocations() && reloads === 1;
      return { seen: `${seen}${leakText(leaks)}`, isAsTold: missing.length === 0 && isComplete && leaks === 0 };
    },
  },
];

/** The audit lines of some decisions, for people to look at. */
export async function auditLines(tour: Tour, ids: readonly string[]): Promise<readonly AuditLine[]> {
  const lines = parseAudit(await readAudit(tour));
  return ids.flatMap((id) => lines.get(id) ?? []);
}

export type AuditLine = Readonly<Record<string, unknown>> & { readonly id: string };

async function readMetrics({ parts }: Tour): Promise<string> {
  const response = await fetch(new URL('/metrics', parts.adminOrigin), { signal: AbortSignal.timeout(patienceMs) });
  return response.text();
}

function readAudit({ parts }: Tour): Promise<string> {
  return readFile(parts.auditFile, 'utf8');
}

/** The answers that have been seen, as the label of postern_requests_total has them. */
function countReasons(verdicts: readonly Verdict[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { reason } of verdicts) counts.set(reason ?? 'none', (counts.get(reason ?? 'none') ?? 0) + 1);
  return counts;
}

/** Reasons whose counter differs from what was seen. Nobody else calls this sidecar, so the numbers must be equal. */
function differences({ verdicts }: Tour, exposition: string): readonly string[] {
  const counted = new Map<string, number>();
  for (const [, labels = '', value = ''] of exposition.matchAll(/^postern_requests_total\{([^}\n]*)\} (\S+)$/gm)) {
    const reason = /(?:^|,)reason="([^"]*)"/.exec(labels)?.[1] ?? '';
    counted.set(reason, (counted.get(reason) ?? 0) + Number(value));
  }
  const seen = countReasons(verdicts);
  return [...new Set([...counted.keys(), ...seen.keys()])]
    .filter((reason) => (counted.get(reason) ?? 0) !== (seen.get(reason) ?? 0))
    .map((reason) => `${reason}: counted ${counted.get(reason) ?? 0}, seen ${seen.get(reason) ?? 0}`);
}

/** Decisions that the log lacks, or explains in another way than the agent was told. */
function unrecorded({ verdicts }: Tour, log: string): readonly string[] {
  const lines = parseAudit(log);
  return verdicts.flatMap(({ decisionId, reason, outcome, status }) => {
    const line = lines.get(decisionId ?? '');
    // What the upstream could not answer had been allowed.
    const effect = outcome === 'denied' ? 'deny' : 'allow';
    const isSame = line?.reason === reason && line.decision === effect && line.status === status;
    return isSame ? [] : [`${decisionId} (${reason ?? outcome})`];
  });
}

function parseAudit(log: string): ReadonlyMap<string, AuditLine> {
  const lines = new Map<string, AuditLine>();
  for (const text of log.split('\n')) {
    const line = parseLine(text);
    if (line !== null) lines.set(line.id, line);
  }
  return lines;
}

/** Null for an empty line, and for one that is still being written. */
function parseLine(text: string): AuditLine | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || !('id' in value) || typeof value.id !== 'string') return null;
    return { ...value, id: value.id };
  } catch {
    return null;
  }
}

/** How many secrets, known tokens and proofs, and things that look like one (a compact JWS) a text holds. */
function leaksIn({ parts, sent }: Tour, text: string): number {
  const secrets = [parts.apiKey, ...[...parts.clients.values()].map(({ secret }) => secret), ...sent];
  const known = secrets.filter((secret) => text.includes(secret)).length;
  return known + (text.match(/eyJ[\w-]{8,}\.[\w-]{8,}/g)?.length ?? 0);
}

function leakText(leaks: number): string {
  return leaks === 0 ? '' : `; HOLDS ${leaks} SECRETS, TOKENS OR PROOFS`;
}

async function poll(read: () => Promise<string>, isDone: (text: string) => boolean): Promise<string> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    const text = await read();
    if (isDone(text) || performance.now() > endMs) return text;
    await delay(pauseMs);
  }
}
