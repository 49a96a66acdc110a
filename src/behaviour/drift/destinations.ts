/** The values of a request that name whom or what it reaches. They are hashed under a key at once, and never kept. */

import type { Destination, DestinationKind } from './judgement.ts';
import type { KeyedHash } from './keyed-hash.ts';
import { idMark, normaliseName, normalisePlain, recognise } from './recognise.ts';
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

/** Gives the destinations of a request, those that name someone to reach first, then things, then what may be either. */
export type FindDestinations = (parts: Parts) => Destination[];

export function createFindDestinations({ hash, fields = [] }: DestinationOptions): FindDestinations {
  const kindOf = createFieldKinds(fields);
  const fieldHashOf = createFieldHash(hash);
  const seed = wordSeed(hash);
  return ({ segments = [], query = [], body }) => {
    const sought: Found = { reach: [], id: [], other: [] };
    let nodes = 0;
    const add = (field: string, name: string | null, kind: DestinationKind, isInside = false, text?: string) => {
      const found = sought[kind === 'reach' || kind === 'id' ? kind : 'other'];
      if (name === null || found.length >= foundMax) return;
      const value = kind === 'text' ? 0 : hash(name);
      const fieldHash = fieldHashOf(field, isInside);
      for (const other of found) if (other.hash === value && (value !== 0 || other.fieldHash === fieldHash)) return;
      const words = text === undefined ? undefined : () => wordsOf(text, seed);
      found.push(
        words === undefined ? { field, fieldHash, hash: value, kind } : { field, fieldHash, hash: value, kind, words },
      );
    };
    const addRecognised = (field: string, name: string) => add(field, name, name.startsWith(idMark) ? 'id' : 'reach');
    const take = (field: string, path: string, text: string) => {
      if (text === '') return;
      const kind = kindOf(field, path);
      if (kind === 'id') return add(path, nameOfId(text), 'id');
      const inside = namesInside(text);
      for (const name of inside) add(path, name, 'reach', kind === null);
      if (inside.length > 0) return;
      const name = recognise(text);
      if (name !== null) return kind === 'reach' ? add(path, name, 'reach') : addRecognised(path, name);
      if (kind === 'reach') return add(path, normaliseName(text), 'reach', false, text);
      // How often a field holds a text is known, so that it can be told how seldom there is a link in it.
      if (blank.test(text)) add(path, '', 'text', true);
      if (text.length > plainCharsMax || text.includes('\n')) add(path, '', 'text');
      else add(path, normalisePlain(text), 'plain', false, text);
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
    for (const segment of segments) {
      const name = recognise(segment);
      if (name !== null) addRecognised('path', name);
    }
    for (const [name, value] of query) take(name, name, value);
    if (body !== undefined) walk('', '', body, 0);
    // Each kind has its own bound: no number of other values keeps whom a request reaches from being looked at.
    return [...sought.reach, ...sought.id, ...sought.other].slice(0, foundMax);
  };
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
function namesInside(whole: string): string[] {
  const names: string[] = [];
  const text = whole.length > insideCharsMax ? whole.slice(0, insideCharsMax) : whole;
  if (!mayNameInside.test(text) || !between.test(text)) return names;
  for (const part of text.split(outside)) {
    if (names.length >= insideMax) break;
    const name = mayNameInside.test(part) ? recognise(part.replace(trailing, '')) : null;
    if (name !== null) names.push(name);
  }
  return names;
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
