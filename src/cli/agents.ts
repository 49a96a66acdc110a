/** `postern agents`: who calls, who answers for them, and how to be rid of them. */

import { Fault } from '../errors.ts';
import { type AdminAccess, type AdminAnswer, callAdmin } from './admin-client.ts';
import { type BaselineVerb, baseline, baselineMisuse } from './baseline.ts';
import { createPaint, type ExitCode, type Io, printableLine, reportFault } from './output.ts';
import { report } from './revoke.ts';

export const agentActions = ['list', 'show', 'offboard', 'baseline'] as const;
export type AgentAction = (typeof agentActions)[number];

export type AgentsOptions = AdminAccess & {
  readonly action: AgentAction;
  readonly id?: string | undefined;
  readonly owner?: string | undefined;
  readonly reason?: string | undefined;
  /** Of baseline: what to do with it, and from before when, or from or to which file. */
  readonly verb?: BaselineVerb | undefined;
  readonly before?: string | undefined;
  readonly file?: string | undefined;
  readonly json: boolean;
};

/** Pages that one list may have: what the registry and the store hold at most, and some more. */
const pagesMax = 100;

export async function agents(options: AgentsOptions, io: Io): Promise<ExitCode> {
  const misuse = misuseOf(options);
  if (misuse !== null) return reportFault(io, new Fault('usage', misuse), options);
  return report(io, options, () => perform(options, io));
}

/** What does not go together; null where everything does. */
function misuseOf(options: AgentsOptions): string | null {
  const { action, id, owner, reason, verb, before, file } = options;
  if (action === 'baseline') {
    if (id === undefined || owner !== undefined) return 'name the agent: postern agents baseline ID';
    return baselineMisuse({ id, verb: verb ?? 'show', reason, before, file });
  }
  if ((verb ?? before ?? file) !== undefined) return `agents ${action} takes nothing of what is about baselines`;
  if (action === 'list') return id === undefined && reason === undefined ? null : 'agents list takes --owner only';
  if (action === 'show') {
    if (id === undefined) return 'name the agent: postern agents show ID';
    return owner === undefined && reason === undefined ? null : 'agents show takes an id only';
  }
  if ((id === undefined) === (owner === undefined)) return 'name one agent, or one human with --owner';
  return reason === undefined ? 'say why with --reason' : null;
}

type Result = { readonly answer: AdminAnswer; readonly lines?: readonly string[] };

async function perform(options: AgentsOptions, io: Io): Promise<Result> {
  const { action, id = '', owner, reason } = options;
  if (action === 'baseline') return baseline({ ...options, id, verb: options.verb ?? 'show' });
  if (action === 'list') return list(options);
  if (action === 'show') {
    const answer = await callAdmin(options, 'GET', `/v1/agents/${encodeURIComponent(id)}`);
    return answer.status === 200 ? { answer, lines: describe(answer.body as ShownAgent) } : { answer };
  }
  const path = owner === undefined ? `agents/${encodeURIComponent(id)}` : `owners/${encodeURIComponent(owner)}`;
  const answer = await callAdmin(options, 'POST', `/v1/${path}/offboard`, { reason });
  if (answer.status !== 200) return { answer };
  const { entries } = answer.body as { entries: readonly Entry[] };
  const head = `${createPaint(io).good('offboarded')} ${printableLine(owner ?? id)}, effective now`;
  return { answer, lines: [head, ...entries.map((entry) => printableLine(`  ${entry.id}  ${handleText(entry)}`))] };
}

type Entry = Readonly<Record<string, string | null>>;
type ShownAgent = {
  readonly id: string;
  readonly registry: readonly Entry[];
  readonly seen: {
    readonly owner: string | null;
    readonly team: string | null;
    readonly calls: number;
    readonly first_seen: string;
    readonly last_seen: string;
    readonly issuers?: readonly string[];
    readonly keys?: readonly string[];
    readonly subjects?: readonly { readonly sub: string; readonly iss: string }[];
    readonly chains?: readonly (readonly string[])[];
    readonly live_tokens?: number;
  } | null;
  readonly revocations?: readonly Entry[];
};

async function list(options: AgentsOptions): Promise<Result> {
  const found: ShownAgent[] = [];
  let after: string | null = null;
  for (let page = 0; page < pagesMax; page++) {
    const query = new URLSearchParams({
      limit: '1000',
      ...(options.owner === undefined ? {} : { owner: options.owner }),
      ...(after === null ? {} : { after }),
    });
    const answer: AdminAnswer = await callAdmin(options, 'GET', `/v1/agents?${query}`);
    if (answer.status !== 200) return { answer };
    const { agents: shown, next } = answer.body as { agents: readonly ShownAgent[]; next: string | null };
    found.push(...shown);
    after = next;
    if (after === null) break;
  }
  const lines = found.length === 0 ? ['no agents'] : found.map(lineOf);
  return { answer: { status: 200, body: { agents: found, next: after } }, lines };
}

function lineOf({ id, registry, seen }: ShownAgent): string {
  const [entry] = registry;
  const owner = entry?.owner ?? seen?.owner ?? 'nobody';
  const status = entry?.status ?? 'unregistered';
  const last = seen === null ? 'not seen' : `last seen ${seen.last_seen}, ${callsText(seen.calls)}`;
  return printableLine(`${id}  ${status}  owner ${owner}  ${last}`);
}

function describe({ id, registry, seen, revocations = [] }: ShownAgent): readonly string[] {
  const rows: (readonly [string, string])[] = registry.map((entry) => ['registered', entryText(entry)]);
  if (registry.length === 0) rows.push(['registered', 'no']);
  if (seen === null) rows.push(['seen', 'not in 30 days']);
  else {
    rows.push(['seen', `${seen.first_seen} to ${seen.last_seen}, ${callsText(seen.calls)}`]);
    if (registry.length === 0 && seen.owner !== null) rows.push(['owner', `${seen.owner}, as its tokens say`]);
    for (const issuer of seen.issuers ?? []) rows.push(['issuer', issuer]);
    for (const key of seen.keys ?? []) rows.push(['key', key]);
    for (const { sub, iss } of seen.subjects ?? []) rows.push(['for', `${sub} of ${iss}`]);
    for (const chain of seen.chains ?? []) rows.push(['chain', chain.join(' for ')]);
    rows.push(['live tokens', String(seen.live_tokens ?? 0)]);
  }
  for (const entry of revocations) rows.push(['revoked by', `${handleText(entry)}: ${entry.reason}`]);
  return [id, ...rows.map(([name, text]) => `  ${name.padEnd(12)} ${text}`)].map(printableLine);
}

function entryText({ owner, team, group, status, contact, issuer, expires }: Entry): string {
  const more = [
    team === null ? null : `team ${team}`,
    group === null ? null : `group ${group}`,
    contact === null ? null : `contact ${contact}`,
    issuer === null ? null : `at ${issuer}`,
    expires === null ? null : `until ${expires}`,
  ];
  return [`${status}, owner ${owner}`, ...more.filter((part) => part !== null)].join(', ');
}

const callsText = (calls: number) => `${calls} ${calls === 1 ? 'call' : 'calls'}`;

/** The handle of a revocation, which stands under a key of its own. */
function handleText(entry: Entry): string {
  const kind = ['agent', 'owner', 'subject', 'jkt'].find((candidate) => candidate in entry) ?? 'entry';
  return `${kind} ${entry[kind] ?? entry.id}${entry.issuer === undefined ? '' : ` of ${entry.issuer}`}`;
}
