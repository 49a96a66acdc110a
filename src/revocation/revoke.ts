/** Taking and giving back permission: what the admin API and the command line ask for, vetted and put in the store. */

import { z } from 'zod';
import { StoreFault } from '../errors.ts';
import type { RevocationEntry, RevocationPage, Store } from '../store/port.ts';
import {
  agentHandle,
  delegationHandle,
  issuerHandle,
  jktHandle,
  jtiHandle,
  ownerHandle,
  type RevocableKind,
  subjectHandle,
} from './handles.ts';
import { createHorizon, type TokenIssuer } from './horizon.ts';
import { type Named, readSubId } from './sub-id.ts';

/** Why a revocation was not made: a mistake in what was asked, told to the caller. Never quotes a value. */
export type RevocationProblem = { readonly problems: readonly string[] };

export type Revocations = {
  /** What create would put in the store. */
  prepare(body: unknown, author: string): readonly RevocationEntry[] | RevocationProblem;
  /**
   * `body` is what the caller sent, unvetted. One entry, or one for each alias of a subject. Rejects with StoreFault
   * where the store can't take an entry.
   */
  create(body: unknown, author: string): Promise<readonly RevocationEntry[] | RevocationProblem>;
  /** The entry that was lifted, or null where none in force has this id. `author` is who lifts it. */
  lift(id: string, author: string): Promise<RevocationEntry | null>;
  /** One page of the entries in force, newest first. */
  list(page: { readonly limit: number; readonly cursor: string | null }): Promise<RevocationPage>;
};

export type RevocationsOptions = {
  readonly store: Pick<Store, 'revoke' | 'lift' | 'revocations'>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly newId: () => string;
  /** Configured ones. What another issuer might have issued is accepted nowhere, so its name must be a mistake. */
  readonly issuers: readonly TokenIssuer[];
  /** Told what was done, and by whom: revoking is itself on the record. */
  readonly onChange: (action: 'revoked' | 'lifted', entry: RevocationEntry, author: string) => void;
  /** Awaited after each change, so that this sidecar acts on it before the caller is answered. */
  readonly sync: () => Promise<void>;
  /** Whether this sidecar has it. */
  readonly isKnown: (entry: RevocationEntry) => boolean;
  /** Takes an entry that the store could not take, so that it holds in this sidecar at least. False where it can't. */
  readonly hold: (entry: RevocationEntry) => boolean;
};

const valueCharsMax = 4096;
const reasonCharsMax = 512;

/** Handles that have a key of their own. An issuer is one only together with a time. */
const ownKeys = ['jti', 'agent', 'subject', 'owner', 'jkt', 'delegation'] as const;
const supported =
  'one of jti (with issuer), agent, subject, owner, jkt, delegation, issuer (with issued_before) and sub_id';

const value = z
  .string('must be a string')
  .min(1, 'must not be empty')
  .max(valueCharsMax, `must have ${valueCharsMax} characters at most`);

const dateTimeShape = z.iso.datetime({ offset: true });
const dateTime = z
  .string('must be a string')
  .refine(isDateTime, 'must be an RFC 3339 date and time such as 2027-01-31T12:00:00Z')
  .transform((text) => Date.parse(text));

const bodySchema = z.strictObject(
  {
    jti: value.optional(),
    issuer: value.optional(),
    agent: value.optional(),
    subject: value.optional(),
    owner: value.optional(),
    jkt: value.regex(/^[A-Za-z0-9_-]{43}$/, 'must be a SHA-256 thumbprint: 43 base64url characters').optional(),
    delegation: value.optional(),
    sub_id: z.unknown().optional(),
    issued_before: dateTime.optional(),
    reason: z
      .string({ error: (issue) => (issue.input === undefined ? 'is required: say why' : 'must be a string') })
      .max(reasonCharsMax, `must have ${reasonCharsMax} characters at most`)
      .refine((text) => text.trim() !== '', 'must not be empty')
      .refine((text) => !/\p{Cc}/u.test(text), 'must have no control characters'),
    expires_at: dateTime.optional(),
  },
  { error: (issue) => (issue.code === 'unrecognized_keys' ? unknownKeys(issue.keys) : 'must be a JSON object') },
);

type Body = z.output<typeof bodySchema>;

export function createRevocations(options: RevocationsOptions): Revocations {
  const { store, clock, newId, onChange, sync, isKnown, hold } = options;
  const issuers = options.issuers.map(({ issuer }) => issuer);
  const horizonOf = createHorizon(options.issuers);

  function prepare(body: unknown, author: string): readonly RevocationEntry[] | RevocationProblem {
    const parsed = bodySchema.safeParse(body);
    if (!parsed.success) return { problems: parsed.error.issues.map(describeIssue) };
    const nowMs = clock();
    const named = nameHandles(parsed.data);
    if (typeof named === 'string') return { problems: [named] };
    const problem = findProblem(parsed.data, named, issuers, nowMs);
    if (problem !== null) return { problems: [problem] };
    const { reason, issued_before: issuedBeforeMs = null, expires_at: statedMs } = parsed.data;
    const times = { issuedBeforeMs, createdAtMs: nowMs };
    return named.map((one) => {
      // Without expires_at an entry stays in force until it is lifted, or until no token that it could hit is left: to
      // forget earlier must be somebody's decision.
      const expiresAtMs = statedMs ?? horizonOf(one, times);
      return { id: newId(), handle: handleFor(one), ...one, ...times, expiresAtMs, reason, author };
    });
  }

  async function create(body: unknown, author: string): Promise<readonly RevocationEntry[] | RevocationProblem> {
    const entries = prepare(body, author);
    if (isRevocationProblem(entries)) return entries;
    for (const [index, entry] of entries.entries()) {
      try {
        await store.revoke(entry);
      } catch (fault) {
        throw isAway(fault) ? holdAll(entries.slice(index), fault) : fault;
      }
      onChange('revoked', entry, author);
    }
    await sync();
    // The store may have been emptied before this sidecar saw the entry there: then nobody else knows of it.
    for (const entry of entries) if (!isKnown(entry)) hold(entry);
    return entries;
  }

  /** The plug can be pulled here though the store is away. Still a fault: whoever asked must know how far it reaches. */
  function holdAll(entries: readonly RevocationEntry[], fault: StoreFault): StoreFault {
    for (const entry of entries) {
      if (!hold(entry)) return fault;
      onChange('revoked', entry, entry.author);
    }
    const reach =
      'this sidecar cuts and refuses what is revoked from now on, and tells the others when the store is back';
    return new StoreFault(`${fault.message}; ${reach}`, fault.cause);
  }

  async function lift(id: string, author: string): Promise<RevocationEntry | null> {
    const entry = await store.lift(id);
    if (entry !== null) onChange('lifted', entry, author);
    await sync();
    return entry;
  }

  return { prepare, create, lift, list: (page) => store.revocations({ ...page, nowMs: clock() }) };
}

/** A full set is a fault without a cause: the store is there, and says no. */
function isAway(fault: unknown): fault is StoreFault {
  return fault instanceof StoreFault && fault.cause !== undefined;
}

/** Tells what create could not do from what it did. */
export function isRevocationProblem(
  result: readonly RevocationEntry[] | RevocationProblem,
): result is RevocationProblem {
  return 'problems' in result;
}

/** An entry as the admin API shows it: the handle under its own key, times in RFC 3339. */
export function revocationView(entry: RevocationEntry): Readonly<Record<string, string | null>> {
  return {
    id: entry.id,
    [entry.kind]: entry.value,
    ...(entry.issuer === null ? {} : { issuer: entry.issuer }),
    ...(entry.issuedBeforeMs === null ? {} : { issued_before: new Date(entry.issuedBeforeMs).toISOString() }),
    reason: entry.reason,
    author: entry.author,
    created_at: new Date(entry.createdAtMs).toISOString(),
    expires_at: entry.expiresAtMs === null ? null : new Date(entry.expiresAtMs).toISOString(),
  };
}

/** What is to be revoked; a text where that is none, or more than one. */
function nameHandles(body: Body): readonly Named[] | string {
  const keys = [...ownKeys, 'sub_id' as const].filter((key) => body[key] !== undefined);
  const [key, ...more] = keys;
  const issuer = body.issuer ?? null;
  if (more.length > 0) return `name exactly one of ${keys.join(', ')}: one entry revokes one handle`;
  if (key === 'sub_id') {
    return issuer === null ? readSubId(body.sub_id) : 'issuer has no meaning with sub_id, which names its own';
  }
  if (key !== undefined) return [{ kind: key, value: body[key] ?? '', issuer }];
  if (issuer === null) return `name what to revoke: ${supported}`;
  if (body.issued_before === undefined) return 'issuer alone is not a handle; add issued_before';
  return [{ kind: 'issuer', value: issuer, issuer: null }];
}

/** What no single key shows: that a handle is complete, that its issuer is known, and that the entry has a future. */
function findProblem(body: Body, named: readonly Named[], issuers: readonly string[], nowMs: number): string | null {
  for (const { kind, value: name, issuer } of named) {
    if (kind === 'jti' && issuer === null) return 'issuer is required with jti, which is unique within it';
    if (kind === 'jti' && body.issued_before !== undefined) return 'issued_before has no meaning with jti: one token';
    if (issuer !== null && kind !== 'jti' && kind !== 'subject') {
      return `issuer has no meaning with ${kind}; it goes with jti or subject`;
    }
    const asked = kind === 'issuer' ? name : issuer;
    if (asked !== null && !issuers.includes(asked)) return `no such issuer; configured: ${issuers.join(', ')}`;
  }
  if (body.issued_before !== undefined && body.issued_before < 0) return 'issued_before must be after 1970';
  if (body.expires_at !== undefined && body.expires_at <= nowMs) return 'expires_at must be in the future';
  return null;
}

/** The string that it is revoked and looked up by. */
export function handleFor({ kind, value: named, issuer }: Named): string {
  const handles: Readonly<Record<RevocableKind, () => string>> = {
    jti: () => jtiHandle(issuer ?? '', named),
    agent: () => agentHandle(named),
    subject: () => subjectHandle(named, issuer),
    owner: () => ownerHandle(named),
    jkt: () => jktHandle(named),
    issuer: () => issuerHandle(named),
    delegation: () => delegationHandle(named),
  };
  return handles[kind]();
}

/** RFC 3339 §5.6 with upper-case T and Z, and with the seconds that zod would let one leave out. */
function isDateTime(text: string): boolean {
  return /^.{10}T\d\d:\d\d:\d\d/.test(text) && dateTimeShape.safeParse(text).success && !Number.isNaN(Date.parse(text));
}

function unknownKeys(keys: readonly string[]): string {
  const shown = keys.slice(0, 5).map((key) => JSON.stringify(key.slice(0, 64)));
  return `unknown ${keys.length === 1 ? 'key' : 'keys'} ${shown.join(', ')}; name ${supported}, with reason, issued_before and expires_at`;
}

function describeIssue(issue: z.core.$ZodIssue): string {
  return issue.path.length === 0 ? issue.message : `${issue.path.join('.')} ${issue.message}`;
}
