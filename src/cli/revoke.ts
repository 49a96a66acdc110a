/** `postern revoke` and `postern revocations`: pull the plug on an agent, and see or lift what was pulled. */

import { type AdminAccess, callAdmin, problemText } from './admin-client.ts';
import {
  createPaint,
  type ExitCode,
  exitCodes,
  type Io,
  printable,
  reportFault,
  writeJson,
  writeLine,
} from './output.ts';

/** Kinds of handle that this version revokes by. */
export const revocationKinds = ['agent', 'subject', 'jkt', 'jti'] as const;
export type RevocationKind = (typeof revocationKinds)[number];

export type RevokeOptions = AdminAccess & {
  readonly kind: RevocationKind;
  readonly value: string;
  readonly issuer?: string | undefined;
  readonly reason: string;
  /** RFC 3339; the entry is forgotten then. */
  readonly until?: string | undefined;
  readonly json: boolean;
};

export async function revoke(options: RevokeOptions, io: Io): Promise<ExitCode> {
  const body = {
    [options.kind]: options.value,
    ...(options.issuer === undefined ? {} : { issuer: options.issuer }),
    reason: options.reason,
    ...(options.until === undefined ? {} : { expires_at: options.until }),
  };
  return report(io, options, async () => {
    const answer = await callAdmin(options, 'POST', '/v1/revocations', body);
    if (answer.status !== 201) return { answer };
    const id = identifier(answer.body);
    const paint = createPaint(io);
    return {
      answer,
      lines: [
        `${paint.good('revoked')} ${options.kind} ${printable(options.value)}, effective now`,
        paint.faint(`lift it with: postern revocations --lift ${id}`),
      ],
    };
  });
}

export type RevocationsOptions = AdminAccess & { readonly lift?: string | undefined; readonly json: boolean };

export async function revocations(options: RevocationsOptions, io: Io): Promise<ExitCode> {
  const { lift } = options;
  return report(io, options, async () => {
    if (lift !== undefined) {
      const answer = await callAdmin(options, 'DELETE', `/v1/revocations/${encodeURIComponent(lift)}`);
      return answer.status === 200 ? { answer, lines: [`lifted ${printable(lift)}`] } : { answer };
    }
    const answer = await callAdmin(options, 'GET', '/v1/revocations');
    return answer.status === 200 ? { answer, lines: listing(answer.body) } : { answer };
  });
}

type Result = {
  readonly answer: { readonly status: number; readonly body: unknown };
  readonly lines?: readonly string[];
};

async function report(io: Io, options: { readonly json: boolean }, work: () => Promise<Result>): Promise<ExitCode> {
  try {
    const { answer, lines } = await work();
    if (options.json) writeJson(io.stdout, answer.body);
    else if (lines === undefined) writeLine(io.stderr, `postern: ${printable(problemText(answer))}`);
    else for (const line of lines) writeLine(io.stdout, line);
    if (lines !== undefined) return exitCodes.done;
    if (answer.status >= 500) return exitCodes.dependency;
    return answer.status === 404 ? exitCodes.no : exitCodes.usage;
  } catch (fault) {
    return reportFault(io, fault, options);
  }
}

function listing(body: unknown): readonly string[] {
  const entries = typeof body === 'object' && body !== null && 'revocations' in body ? body.revocations : [];
  if (!Array.isArray(entries) || entries.length === 0) return ['nothing is revoked'];
  return entries.map((entry: Record<string, unknown>) => {
    const kind = revocationKinds.find((candidate) => candidate in entry) ?? 'unknown';
    const until = entry.expires_at ?? 'lifted';
    return printable(`${entry.id}  ${kind} ${entry[kind]}  until ${until}  ${entry.reason}`);
  });
}

function identifier(body: unknown): string {
  return typeof body === 'object' && body !== null && 'id' in body ? String(body.id) : '';
}
