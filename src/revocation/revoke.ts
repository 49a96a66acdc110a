/** Taking and giving back permission: what the admin API and the command line ask for, vetted and put in the store. */

import { z } from 'zod';
import type { RevocationEntry, Store } from '../store/port.ts';
import { agentHandle, jktHandle, jtiHandle, type RevocableKind, revocableKinds, subjectHandle } from './handles.ts';

/** Why a revocation was not made: a mistake in what was asked, told to the caller. Never quotes a value. */
export type RevocationProblem = { readonly problems: readonly string[] };

export type Revocations = {
  /** `body` is what the caller sent, unvetted. Rejects with StoreFault where the store can't take the entry. */
  create(body: unknown, author: string): Promise<RevocationEntry | RevocationProblem>;
  /** The entry that was lifted, or null where none in force has this id. */
  lift(id: string): Promise<RevocationEntry | null>;
  /** Entries in force, newest first. */
  list(): Promise<readonly RevocationEntry[]>;
};

export type RevocationsOptions = {
  readonly store: Pick<Store, 'revoke' | 'lift' | 'revocations'>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly newId: () => string;
};

const valueCharsMax = 4096;
const reasonCharsMax = 512;

/** Handles that a later version will take. Naming one gets a plain answer instead of "unknown key". */
const laterKinds = ['owner', 'delegation', 'sub_id', 'issued_before'] as const;
const supported = 'this version revokes by jti (with issuer), agent, subject and jkt';

const value = z
  .string('must be a string')
  .min(1, 'must not be empty')
  .max(valueCharsMax, `must have ${valueCharsMax} characters at most`);

const bodySchema = z.strictObject(
  {
    jti: value.optional(),
    issuer: value.optional(),
    agent: value.optional(),
    subject: value.optional(),
    jkt: value.regex(/^[A-Za-z0-9_-]{43}$/, 'must be a SHA-256 thumbprint: 43 base64url characters').optional(),
    reason: z
      .string({ error: (issue) => (issue.input === undefined ? 'is required: say why' : 'must be a string') })
      .max(reasonCharsMax, `must have ${reasonCharsMax} characters at most`)
      .refine((text) => text.trim() !== '', 'must not be empty')
      .refine((text) => !/\p{Cc}/u.test(text), 'must have no control characters'),
    expires_at: z
      .string('must be a string')
      .refine(isDateTime, 'must be an RFC 3339 date and time such as 2027-01-31T12:00:00Z')
      .optional(),
  },
  { error: (issue) => (issue.code === 'unrecognized_keys' ? unknownKeys(issue.keys) : 'must be a JSON object') },
);

type Body = z.output<typeof bodySchema>;

export function createRevocations(options: RevocationsOptions): Revocations {
  const { store, clock, newId } = options;

  async function create(body: unknown, author: string): Promise<RevocationEntry | RevocationProblem> {
    const later = laterKinds.filter((key) => isRecord(body) && Object.hasOwn(body, key));
    if (later.length > 0) return { problems: later.map((key) => `${key} is not supported: ${supported}`) };
    const parsed = bodySchema.safeParse(body);
    if (!parsed.success) return { problems: parsed.error.issues.map(describeIssue) };
    const nowMs = clock();
    const vetted = vet(parsed.data, nowMs);
    if ('problems' in vetted) return vetted;
    const entry: RevocationEntry = {
      id: newId(),
      ...vetted,
      reason: parsed.data.reason,
      author,
      createdAtMs: nowMs,
    };
    await store.revoke(entry);
    return entry;
  }

  return { create, lift: (id) => store.lift(id), list: () => store.revocations(clock()) };
}

/** Tells what create could not do from what it did. */
export function isRevocationProblem(result: RevocationEntry | RevocationProblem): result is RevocationProblem {
  return 'problems' in result;
}

/** An entry as the admin API shows it: the handle under its own key, times in RFC 3339. */
export function revocationView(entry: RevocationEntry): Readonly<Record<string, string | null>> {
  return {
    id: entry.id,
    [entry.kind]: entry.value,
    ...(entry.issuer === null ? {} : { issuer: entry.issuer }),
    reason: entry.reason,
    author: entry.author,
    created_at: new Date(entry.createdAtMs).toISOString(),
    expires_at: entry.expiresAtMs === null ? null : new Date(entry.expiresAtMs).toISOString(),
  };
}

type Vetted = Pick<RevocationEntry, 'handle' | 'kind' | 'value' | 'issuer' | 'expiresAtMs'>;

/** What no single key shows: that there is exactly one handle, that it is complete, and that it has a future. */
function vet(body: Body, nowMs: number): Vetted | RevocationProblem {
  const kinds = revocableKinds.filter((kind) => body[kind] !== undefined);
  const [kind, ...more] = kinds;
  if (kind === undefined) {
    const about = body.issuer === undefined ? '' : 'issuer alone is not a handle; ';
    return { problems: [`name what to revoke: ${about}${supported}`] };
  }
  if (more.length > 0) return { problems: [`name exactly one of ${kinds.join(', ')}: one entry revokes one handle`] };
  const issuer = body.issuer ?? null;
  if (kind === 'jti' && issuer === null)
    return { problems: ['issuer is required with jti, which is unique within it'] };
  if ((kind === 'agent' || kind === 'jkt') && issuer !== null) {
    return { problems: [`issuer has no meaning with ${kind}; it goes with jti or subject`] };
  }
  // Without expires_at an entry stays in force until it is lifted: to forget must be somebody's decision.
  const expiresAtMs = body.expires_at === undefined ? null : Date.parse(body.expires_at);
  if (expiresAtMs !== null && expiresAtMs <= nowMs) return { problems: ['expires_at must be in the future'] };
  const named = body[kind] ?? '';
  return { handle: handleFor(kind, named, issuer), kind, value: named, issuer, expiresAtMs };
}

function handleFor(kind: RevocableKind, named: string, issuer: string | null): string {
  switch (kind) {
    case 'jti':
      return jtiHandle(issuer ?? '', named);
    case 'agent':
      return agentHandle(named);
    case 'subject':
      return subjectHandle(named, issuer);
    case 'jkt':
      return jktHandle(named);
  }
}

const dateTimeShape = z.iso.datetime({ offset: true });

/** RFC 3339 §5.6 with upper-case T and Z, and with the seconds that zod would let one leave out. */
function isDateTime(text: string): boolean {
  return /^.{10}T\d\d:\d\d:\d\d/.test(text) && dateTimeShape.safeParse(text).success && !Number.isNaN(Date.parse(text));
}

function isRecord(body: unknown): body is Record<string, unknown> {
  return typeof body === 'object' && body !== null && !Array.isArray(body);
}

function unknownKeys(keys: readonly string[]): string {
  const shown = keys.slice(0, 5).map((key) => JSON.stringify(key.slice(0, 64)));
  return `unknown ${keys.length === 1 ? 'key' : 'keys'} ${shown.join(', ')}; ${supported}, with reason and expires_at`;
}

function describeIssue(issue: z.core.$ZodIssue): string {
  return issue.path.length === 0 ? issue.message : `${issue.path.join('.')} ${issue.message}`;
}
