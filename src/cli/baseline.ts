/** `postern agents baseline`: what an agent has always done, and what a person decides about it. */

import { readFile, writeFile } from 'node:fs/promises';
import { Fault } from '../errors.ts';
import { type AdminAccess, type AdminAnswer, callAdmin } from './admin-client.ts';
import { printable } from './output.ts';

export const baselineVerbs = [
  ...(['show', 'explain', 'freeze', 'unfreeze', 'confirm-safe', 'confirm-compromise'] as const),
  ...(['reset', 'rollback', 'export', 'import'] as const),
];
export type BaselineVerb = (typeof baselineVerbs)[number];

export type BaselineOptions = AdminAccess & {
  readonly id: string;
  readonly verb: BaselineVerb;
  readonly reason?: string | undefined;
  /** Of rollback; RFC 3339. */
  readonly before?: string | undefined;
  /** Of export and import. */
  readonly file?: string | undefined;
};

type Alarm = {
  readonly decision: string;
  readonly time: string;
  readonly score: number;
  readonly top: readonly { readonly text: string; readonly seen: string; readonly share: number }[];
};
type Baseline = {
  readonly agent: string;
  readonly standing: string;
  readonly since: string | null;
  readonly ready: boolean;
  readonly samples: number;
  readonly learned: number;
  readonly quarantined: number;
  readonly alarms: number;
  readonly first_seen: string | null;
  readonly last_seen: string | null;
  readonly verdict: { readonly verdict: string; readonly at: string } | null;
  readonly operations: readonly { readonly operation: string; readonly share: number }[];
  readonly latest_alarms: readonly Alarm[];
  readonly snapshots: readonly string[];
  readonly stale: boolean;
};

/** What does not go together; null where everything does. */
export function baselineMisuse({
  verb,
  reason,
  before,
  file,
}: Omit<BaselineOptions, keyof AdminAccess>): string | null {
  if ((before !== undefined) !== (verb === 'rollback')) return 'rollback needs --before, and nothing else takes it';
  if (verb === 'import' && file === undefined) return 'import needs --file';
  if (file !== undefined && verb !== 'import' && verb !== 'export') return '--file is for import and export';
  const isLooking = verb === 'show' || verb === 'explain' || verb === 'export';
  return isLooking && reason !== undefined ? `${verb} takes no --reason` : null;
}

export async function baseline(
  options: BaselineOptions,
): Promise<{ readonly answer: AdminAnswer; readonly lines?: readonly string[] }> {
  const { id, verb, reason, before, file } = options;
  const path = `/v1/agents/${encodeURIComponent(id)}/baseline`;
  if (verb === 'export') return exportTo(await callAdmin(options, 'GET', `${path}?export=true`), file);
  if (verb === 'show' || verb === 'explain') {
    const answer = await callAdmin(options, 'GET', path);
    if (answer.status !== 200) return { answer };
    const shown = answer.body as Baseline;
    return { answer, lines: verb === 'show' ? describe(shown) : explain(shown) };
  }
  const answer = await callAdmin(options, 'POST', path, {
    action: verb,
    ...(reason === undefined ? {} : { reason }),
    ...(before === undefined ? {} : { before }),
    ...(file === undefined ? {} : { baseline: await readExport(file) }),
  });
  return answer.status === 200 ? { answer, lines: describe(answer.body as Baseline) } : { answer };
}

async function exportTo(answer: AdminAnswer, file: string | undefined) {
  if (answer.status !== 200) return { answer };
  const text = `${JSON.stringify(answer.body, null, 2)}\n`;
  if (file === undefined) return { answer, lines: [text.trimEnd()] };
  try {
    // What an agent does is nobody's business who has not asked for it.
    await writeFile(file, text, { mode: 0o600 });
  } catch (cause) {
    throw new Fault('usage', `${file} cannot be written`, cause);
  }
  return { answer, lines: [`exported to ${file}`] };
}

async function readExport(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new Fault('usage', `${file} cannot be read, or holds no JSON`, cause);
  }
}

function describe(shown: Baseline): readonly string[] {
  const { agent, standing, since, samples, learned, quarantined, alarms, verdict } = shown;
  const rows: (readonly [string, string])[] = [
    ['standing', `${standing}${since === null ? '' : ` since ${since}`}`],
    ...(standing === 'latched' ? ([['next', 'explain, then confirm-safe or confirm-compromise']] as const) : []),
    ['ready', shown.ready ? 'yes' : 'no, not enough history'],
    ['calls', `${samples} judged, ${learned} learned, ${quarantined} in quarantine`],
    ['seen', `${shown.first_seen ?? 'never'} to ${shown.last_seen ?? 'never'}`],
    ['alarms', `${alarms} among its newest 200 calls`],
  ];
  if (verdict !== null) rows.push(['verdict', `${verdict.verdict}, ${verdict.at}`]);
  if (shown.stale) rows.push(['stale', 'yes: the store could not be asked']);
  for (const { operation, share } of shown.operations) rows.push([`${(100 * share).toFixed(1)}%`, operation]);
  rows.push(['snapshots', shown.snapshots.length === 0 ? 'none yet' : shown.snapshots.join(', ')]);
  return [agent, ...rows.map(([name, text]) => `  ${name.padEnd(10)} ${text}`)].map(printable);
}

function explain({ agent, latest_alarms }: Baseline): readonly string[] {
  if (latest_alarms.length === 0) {
    const text = 'no alarm, or none since a person last spoke; earlier ones are in the audit records, under drift';
    return [printable(`${agent}: ${text}`)];
  }
  return latest_alarms
    .flatMap(({ decision, time, score, top }) => [
      `${time}  ${decision}  score ${score}`,
      ...top.map(({ text, share }) => `  ${(share === 0 ? '' : `${Math.round(100 * share)}%`).padStart(4)}  ${text}`),
    ])
    .map(printable);
}
