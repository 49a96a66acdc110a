/** `postern revoke` and `postern revocations`: pull the plug on an agent, and see or lift what was pulled. */

import {
  type AdminAccess,
  type AdminAnswer,
  accessOptions,
  askedText,
  callAdmin,
  problemText,
} from './admin-client.ts';
import {
  createPaint,
  type ExitCode,
  exitCodes,
  type Io,
  printableLine,
  reportFault,
  writeJson,
  writeLine,
} from './output.ts';

/** Kinds of handle that this version revokes by. */
export const revocationKinds = ['agent', 'subject', 'owner', 'jkt', 'jti', 'issuer', 'delegation'] as const;
export type RevocationKind = (typeof revocationKinds)[number];

export type RevokeOptions = AdminAccess & {
  readonly kind: RevocationKind;
  readonly value: string;
  readonly issuer?: string | undefined;
  /** RFC 3339; only tokens issued before it are revoked. */
  readonly issuedBefore?: string | undefined;
  readonly reason: string;
  /** RFC 3339; the entry is forgotten then. */
  readonly until?: string | undefined;
  /** Says what it would hit, and revokes nothing. */
  readonly dryRun: boolean;
  readonly json: boolean;
};

export async function revoke(options: RevokeOptions, io: Io): Promise<ExitCode> {
  const body = {
    [options.kind]: options.value,
    ...(options.issuer === undefined ? {} : { issuer: options.issuer }),
    ...(options.issuedBefore === undefined ? {} : { issued_before: options.issuedBefore }),
    reason: options.reason,
    ...(options.until === undefined ? {} : { expires_at: options.until }),
  };
  return report(io, options, async () => {
    if (options.dryRun) return previewOf(await callAdmin(options, 'POST', '/v1/revocations?dry_run=true', body));
    const answer = await callAdmin(options, 'POST', '/v1/revocations', body);
    if (answer.status !== 201) return { answer };
    const id = identifier(answer.body);
    const paint = createPaint(io);
    return {
      answer,
      lines: [
        `${paint.good('revoked')} ${options.kind} ${printableLine(options.value)}, effective now${untilOf(answer.body)}`,
        paint.faint(`lift it with: postern revocations --lift ${id}${printableLine(accessOptions(options))}`),
      ],
    };
  });
}

/** An entry that hits no more than certain tokens is forgotten by itself once none of them can be left. */
function untilOf(body: unknown): string {
  const until = typeof body === 'object' && body !== null && 'expires_at' in body ? body.expires_at : null;
  return typeof until === 'string' ? ` until ${printableLine(until)}` : '';
}

function previewOf(answer: AdminAnswer): Result {
  const { body } = answer;
  if (answer.status !== 200 || typeof body !== 'object' || body === null) return { answer };
  const { agents, tokens, examples } = body as { agents: number; tokens: number; examples: readonly string[] };
  const named = examples.length === 0 ? '' : `: ${examples.join(', ')}${agents > examples.length ? ', …' : ''}`;
  return {
    answer,
    lines: [
      printableLine(`would hit ${agents} ${agents === 1 ? 'agent' : 'agents'} seen in the last 30 days${named}`),
      `and ${tokens} live ${tokens === 1 ? 'token' : 'tokens'} that they presented; nothing was revoked`,
    ],
  };
}

export type RevocationsOptions = AdminAccess & {
  readonly lift?: string | undefined;
  /** How many to list, newest first. */
  readonly limit: number;
  readonly json: boolean;
};

/** What the admin API gives at once. */
const pageMax = 1000;

export async function revocations(options: RevocationsOptions, io: Io): Promise<ExitCode> {
  const { lift, limit } = options;
  return report(io, options, async () => {
    if (lift !== undefined) {
      const answer = await callAdmin(options, 'DELETE', `/v1/revocations/${encodeURIComponent(lift)}`);
      return answer.status === 200 ? { answer, lines: [`lifted ${printableLine(lift)}`] } : { answer };
    }
    const entries: Entry[] = [];
    for (let cursor = ''; ; ) {
      const query = `limit=${Math.min(limit - entries.length, pageMax)}${cursor === '' ? '' : `&cursor=${cursor}`}`;
      const answer = await callAdmin(options, 'GET', `/v1/revocations?${query}`);
      if (answer.status !== 200) return { answer };
      const page = answer.body as { readonly revocations: readonly Entry[]; readonly next: string | null };
      entries.push(...page.revocations);
      cursor = page.next ?? '';
      if (cursor !== '' && entries.length < limit) continue;
      const body = { revocations: entries, next: page.next };
      return { answer: { status: 200, body }, lines: listing(entries, cursor !== '') };
    }
  });
}

type Entry = Readonly<Record<string, unknown>>;

type Result = {
  readonly answer: { readonly status: number; readonly body: unknown };
  readonly lines?: readonly string[];
};

/** Shows what the admin API answered, or what kept it from answering. `lines` are there where it did as told. */
export async function report(
  io: Io,
  options: AdminAccess & { readonly json: boolean },
  work: () => Promise<Result>,
): Promise<ExitCode> {
  try {
    const { answer, lines } = await work();
    if (options.json) writeJson(io.stdout, answer.body);
    else if (lines === undefined)
      writeLine(io.stderr, printableLine(`postern: ${problemText(answer)} (${askedText(options)})`));
    else for (const line of lines) writeLine(io.stdout, line);
    if (lines !== undefined) return exitCodes.done;
    if (answer.status >= 500) return exitCodes.dependency;
    return answer.status === 404 ? exitCodes.no : exitCodes.usage;
  } catch (fault) {
    return reportFault(io, fault, options);
  }
}

function listing(entries: readonly Entry[], hasMore: boolean): readonly string[] {
  if (entries.length === 0) return ['nothing is revoked'];
  const lines = entries.map((entry) => {
    // An issuer beside another kind says whose it is.
    const kind = revocationKinds.find((candidate) => candidate !== 'issuer' && candidate in entry) ?? 'issuer';
    const before = entry.issued_before === undefined ? '' : ` issued before ${entry.issued_before}`;
    const until = entry.expires_at ?? 'lifted';
    return printableLine(`${entry.id}  ${kind} ${entry[kind]}${before}  until ${until}  ${entry.reason}`);
  });
  return hasMore ? [...lines, 'there are more; see --limit'] : lines;
}

function identifier(body: unknown): string {
  return typeof body === 'object' && body !== null && 'id' in body ? String(body.id) : '';
}
