/** The values of a request that name whom or what it reaches. They are hashed under a key at once, and never kept. */

import type { Destination } from './judgement.ts';
import type { KeyedHash } from './keyed-hash.ts';
import { idMark, normaliseName, recognise, valueCharsMax } from './recognise.ts';

/** Fields that name someone or somewhere to reach, by their whole name or its last word. */
const reachFields =
  'recipient recipients to cc bcc receiver beneficiary payee payto participant participants attendee attendees ' +
  'invitee invitees guest guests email emails mail url urls uri link href host hostname domain webhook callback ' +
  'endpoint origin iban account accountnumber bic phone channel user username assignee assignees reviewer reviewers ' +
  'member members owner destination target sharewith repository bucket';
/** Fields that name a thing. */
const idFields = 'id ids uuid guid';

const depthMax = 8;
const nodesMax = 256;
const foundMax = 16;

export type DestinationOptions = {
  readonly hash: KeyedHash;
  /** Fields that operators name besides: `payTo`, or `transfer.to` by its path from the top. */
  readonly fields?: readonly string[];
};

/** Parts of a request; `body` is parsed JSON, as objects or Maps. */
export type Parts = {
  readonly segments?: readonly string[];
  readonly query?: Iterable<readonly [string, string]>;
  readonly body?: unknown;
};

/** Gives the destinations of a request, those that name someone to reach first; at most 16. */
export type FindDestinations = (parts: Parts) => Destination[];

export function createFindDestinations({ hash, fields = [] }: DestinationOptions): FindDestinations {
  const kindOf = createFieldKinds(fields);
  return ({ segments = [], query = [], body }) => {
    const found: Destination[] = [];
    let nodes = 0;
    const take = (field: string, path: string, text: string) => {
      if (found.length >= foundMax || text.length > valueCharsMax) return;
      const kind = kindOf(field, path);
      const name = kind === null ? recognise(text) : kind === 'id' ? nameOfId(text) : normaliseName(text);
      if (name === null) return;
      const isId = kind === 'id' || (kind === null && name.startsWith(idMark));
      const value = hash(name);
      if (!found.some((other) => other.hash === value)) found.push({ field: path, hash: value, isId });
    };
    const walk = (field: string, path: string, value: unknown, depth: number): void => {
      if (depth > depthMax || ++nodes > nodesMax) return;
      if (typeof value === 'string') take(field, path, value);
      else if (typeof value === 'number' || typeof value === 'bigint') {
        if (kindOf(field, path) !== null) take(field, path, String(value));
      } else if (Array.isArray(value)) for (const item of value) walk(field, path, item, depth + 1);
      else if (value instanceof Map) {
        for (const [key, item] of value) walk(String(key), join(path, String(key)), item, depth + 1);
      } else if (typeof value === 'object' && value !== null) {
        for (const [key, item] of Object.entries(value)) walk(key, join(path, key), item, depth + 1);
      }
    };
    for (const segment of segments) take('', 'path', segment);
    for (const [name, value] of query) take(name, name, value);
    if (body !== undefined) walk('', '', body, 0);
    // Only the first few are looked at: whom comes before what.
    return found.sort((left, right) => Number(left.isId) - Number(right.isId));
  };
}

export type FieldKind = 'reach' | 'id' | null;

/** What the name of a field says of its value. */
export function createFieldKinds(operatorFields: readonly string[]): (field: string, path: string) => FieldKind {
  const reach = new Set([...reachFields.split(' '), ...operatorFields.map(flatten)]);
  const paths = new Set(operatorFields);
  const ids = new Set(idFields.split(' '));
  const known = new Map<string, FieldKind>();
  return (field, path) => {
    if (paths.has(path)) return 'reach';
    if (field.length === 0 || field.length > 64) return null;
    let kind = known.get(field);
    if (kind === undefined) {
      const last = lastWord(field);
      kind = reach.has(flatten(field)) || reach.has(last) ? 'reach' : ids.has(last) ? 'id' : null;
      if (known.size < 4096) known.set(field, kind);
    }
    return kind;
  };
}

/** An id is any short value without blanks: what it is of is the field's to say. */
function nameOfId(text: string): string | null {
  const trimmed = text.trim();
  if (trimmed.length === 0 || trimmed.length > 128) return null;
  return recognise(trimmed) ?? idMark + trimmed;
}

function join(path: string, key: string): string {
  const name = key.length > 64 ? key.slice(0, 64) : key;
  return path === '' ? name : `${path}.${name}`;
}

function flatten(field: string): string {
  return field.replaceAll(/[^a-zA-Z0-9]/g, '').toLowerCase();
}

/** `recipient_email` and `recipientEmail` end in email. */
function lastWord(field: string): string {
  const word = /([A-Z]?[a-z0-9]+|[A-Z]+)[^a-zA-Z0-9]*$/.exec(field);
  return (word?.[1] ?? '').toLowerCase();
}
