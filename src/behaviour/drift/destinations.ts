/** The values of a request that name whom or what it reaches. They are hashed under a key at once, and never kept. */

import type { Destination, DestinationKind } from './judgement.ts';
import type { KeyedHash } from './keyed-hash.ts';
import { idMark, normaliseName, normalisePlain, recognise, valueCharsMax } from './recognise.ts';
import { wordSeed, wordsOf } from './words.ts';

/** Fields that name someone or somewhere to reach, by their whole name or its last word. */
const reachFields =
  'recipient recipients to cc bcc receiver beneficiary payee payto participant participants attendee attendees ' +
  'invitee invitees guest guests email emails mail url urls uri link href host hostname domain webhook callback ' +
  'endpoint origin iban account accountnumber bic phone channel user username assignee assignees reviewer reviewers ' +
  'member members owner destination target sharewith repository bucket';
/** Fields that name a thing. */
const idFields = 'id ids uuid guid';

/** Longer values are texts. */
const plainCharsMax = 64;
const blank = /\s/;
const between = /[\s,;]/;
/** Signs of an address or a link inside of a text. */
const mayNameInside = /@|:\/\/|www\./i;
/** What separates words in prose and in lists. */
const outside = /[\s,;<>()[\]{}"'`|]+/;
const trailing = /[.:!?*_]{1,8}$/;
const insideCharsMax = 4096;
const insideMax = 8;

const depthMax = 8;
const nodesMax = 256;
const foundMax = 16;
const fieldsMax = 4096;
/** Stands for all that a request holds beyond these bounds, so that nobody is hidden behind what is known. */
const rest = '(rest)';

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
  /** Whether the request holds more than these. */
  readonly hasMore?: boolean;
};

/** Gives the destinations of a request, those that name someone to reach first, then things, then what may be either. */
export type FindDestinations = (parts: Parts) => Destination[];

export function createFindDestinations({ hash, fields = [] }: DestinationOptions): FindDestinations {
  const kindOf = createFieldKinds(fields);
  const fieldHashOf = createFieldHash(hash);
  const seed = wordSeed(hash);
  const unseen: Destination = { field: rest, fieldHash: fieldHashOf(rest, false), hash: hash(rest), kind: 'reach' };
  return ({ segments = [], query = [], body, hasMore = false }) => {
    const sought: Found = { reach: [], id: [], other: [] };
    let isWhole = !hasMore;
    const add = (field: string, name: string | null, kind: DestinationKind, isInside = false, text?: string) => {
      const found = sought[kind === 'reach' || kind === 'id' ? kind : 'other'];
      if (name === null || (found.length >= foundMax && kind !== 'reach')) return;
      const value = kind === 'text' ? 0 : hash(name);
      const fieldHash = fieldHashOf(field, isInside);
      for (const other of found) if (other.hash === value && (value !== 0 || other.fieldHash === fieldHash)) return;
      if (found.length >= foundMax) {
        isWhole = false;
        return;
      }
      const words = text === undefined ? undefined : () => wordsOf(text, seed);
      found.push(
        words === undefined ? { field, fieldHash, hash: value, kind } : { field, fieldHash, hash: value, kind, words },
      );
    };
    const addRecognised = (field: string, name: string | null) =>
      add(field, name, name?.startsWith(idMark) === true ? 'id' : 'reach');
    const takeInside = (path: string, text: string, kind: FieldKind): boolean => {
      const { names, isAll } = namesInside(text);
      if (!isAll) isWhole = false;
      for (const inside of names) add(path, inside, 'reach', kind === null);
      return names.length > 0;
    };
    const take = (field: string, path: string, raw: string) => {
      // Blanks around a name are nothing to most APIs, and must not make a text of it.
      const text = raw.trim();
      if (text === '') return;
      const kind = kindOf(field, path);
      const mayName = kind !== 'id' && mayNameInside.test(text);
      const isList = mayName && between.test(text);
      if (isList && takeInside(path, text, kind)) return;
      const name = recognise(text);
      if (kind === 'id' && name?.includes('@') !== true) return add(path, name ?? nameOfId(text), 'id');
      if (name === null && mayName && !isList && takeInside(path, text, kind)) return;
      if (name !== null) return kind === 'reach' ? add(path, name, 'reach') : addRecognised(path, name);
      if (kind === 'reach') return add(path, normaliseName(text), 'reach', false, text);
      // How often a field holds a text is known, so that it can be told how seldom there is a link in it.
      if (blank.test(text)) add(path, '', 'text', true);
      if (text.length > plainCharsMax || text.includes('\n')) add(path, '', 'text');
      else add(path, normalisePlain(text), 'plain', false, text);
    };
    for (const segment of segments) addRecognised('path', recognise(segment));
    for (const [name, value] of query) take(name, name, value);
    if (body !== undefined) {
      const isAll = visit(body, {
        text: take,
        number: (field, path, value) => {
          if (kindOf(field, path) !== null) take(field, path, String(value));
        },
        key: (path, key) => {
          if (mayNameInside.test(key)) addRecognised(path, recognise(key));
        },
      });
      if (!isAll) isWhole = false;
    }
    // Each kind has its own bound: no number of other values keeps whom a request reaches from being looked at.
    const found = [...sought.reach, ...sought.id, ...sought.other];
    if (!isWhole) found.unshift(unseen);
    return found.slice(0, foundMax);
  };
}

type Visitor = {
  readonly text: (field: string, path: string, value: string) => void;
  readonly number: (field: string, path: string, value: number | bigint) => void;
  readonly key: (path: string, key: string) => void;
};

/** Shows what a body holds, as far as the bounds go. Returns whether that is all. */
function visit(body: unknown, visitor: Visitor): boolean {
  let nodes = 0;
  let isAll = true;
  const walk = (field: string, path: string, value: unknown, depth: number): void => {
    if (depth > depthMax || ++nodes > nodesMax) {
      isAll = false;
      return;
    }
    if (typeof value === 'string') visitor.text(field, path, value);
    else if (typeof value === 'number' || typeof value === 'bigint') visitor.number(field, path, value);
    else if (Array.isArray(value)) for (const item of value) walk(field, path, item, depth + 1);
    else if (value instanceof Map) for (const [key, item] of value) enter(path, String(key), item, depth);
    else if (typeof value === 'object' && value !== null) {
      for (const [key, item] of Object.entries(value)) enter(path, key, item, depth);
    }
  };
  const enter = (path: string, key: string, item: unknown, depth: number) => {
    visitor.key(path, key);
    walk(key, join(path, key), item, depth + 1);
  };
  walk('', '', body, 0);
  return isAll;
}

type Found = Record<'reach' | 'id' | 'other', Destination[]>;

/** The names of fields come again with nearly every request. */
function createFieldHash(hash: KeyedHash): (field: string, isInside: boolean) => number {
  const hashes = new Map<string, number>();
  const insideHashes = new Map<string, number>();
  return (field, isInside) => {
    const known = isInside ? insideHashes : hashes;
    let value = known.get(field);
    if (value === undefined) {
      value = hash(isInside ? `in ${field}` : field);
      if (known.size < fieldsMax) known.set(field, value);
    }
    return value;
  };
}

/** Addresses and links that stand in a text or a list. */
function namesInside(whole: string): { readonly names: readonly string[]; readonly isAll: boolean } {
  const names: string[] = [];
  const isLong = whole.length > insideCharsMax;
  const text = isLong ? whole.slice(0, insideCharsMax) : whole;
  for (const part of text.split(outside)) {
    const name = mayNameInside.test(part) ? recognise(part.replace(trailing, '')) : null;
    if (name === null || names.includes(name)) continue;
    if (names.length >= insideMax) return { names, isAll: false };
    names.push(name);
  }
  return { names, isAll: !isLong || !mayNameInside.test(whole.slice(insideCharsMax)) };
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

/** An id is any value: what it is of is the field's to say. */
function nameOfId(text: string): string {
  return idMark + text.slice(0, valueCharsMax);
}

function join(path: string, key: string): string {
  const name = key.length > 64 ? key.slice(0, 64) : key;
  return path === '' ? name : `${path}.${name}`;
}

function flatten(field: string): string {
  return field.replaceAll(/[^a-zA-Z0-9]/g, '').toLowerCase();
}

/** `recipient_email` and `recipientEmail` end in email; `to[0]` and `to1` name one of several. */
function lastWord(field: string): string {
  const word = /([A-Z]?[a-z0-9]*[a-z]|[A-Z]+)[^a-zA-Z]*$/.exec(field);
  return (word?.[1] ?? '').toLowerCase();
}
