/**
 * What rules read of a request, as an audit record keeps it, and a context made of it again. Only what some rule reads is
 * kept, and of that only what the record does not say elsewhere. What is left out is named.
 */

import type { RuleInputs } from '../exchange.ts';
import type { Context } from './context.ts';
import { celValueOf, fill, isWrittenAs } from './declared-types.ts';
import type { Expression } from './expression.ts';
import { plainOf } from './plain.ts';
import { hasSecretQuery, isSecretName } from './secret-names.ts';
import { listUnfitness } from './token-parts.ts';
import { McpToolRecord, RateRecord, records } from './variables.ts';

type Reading = Pick<Expression, 'reads' | 'members'>;
type Values = Record<string, unknown>;

const valueCharsMax = 4096;
const allCharsMax = 16_384;
/** Of the names that are told to be missing in one map; with more of them all of it is. */
const lostCharsMax = 1024;
/** Where records cut a text. */
const recordedTextMax = 1024;

/** What a record says anyway, by the variables that it is. */
const recorded: Readonly<Record<string, (record: RecordedInputs) => unknown>> = {
  'request.method': ({ request }) => request.method,
  'request.url_path': ({ request }) => request.path,
  'request.host': ({ request }) => request.host,
  'request.id': ({ id }) => id,
  'request.time': ({ time }) => time,
  'request.reason': ({ stated_reason }) => stated_reason ?? '',
  now: ({ time }) => time,
  'source.address': ({ source }) => source.address,
  'source.port': ({ source }) => source.port,
  'token.iss': ({ token }) => token?.iss,
  'token.sub': ({ subject }) => subject?.id,
  'token.aud': ({ token }) => token?.aud,
  'token.client_id': ({ token }) => token?.client_id,
  'token.jti': ({ token }) => token?.jti,
  'token.scopes': ({ token }) => token?.scopes,
  'token.expires_at': ({ token }) => token?.expires_at,
  'agent.id': ({ agent }) => agent?.id,
  'agent.issuer': ({ agent }) => agent?.issuer,
  'agent.owner': ({ agent }) => agent?.owner,
  'agent.team': ({ agent }) => agent?.team,
  'agent.registered': ({ agent }) => agent?.registered,
  'agent.status': ({ agent }) => agent?.status,
  'subject.id': ({ subject }) => subject?.id,
  'subject.type': ({ subject }) => subject?.type,
  'subject.human': ({ subject }) => subject?.human,
  'act.chain': ({ act }) => act?.chain,
  'act.depth': ({ act }) => act?.depth,
  'pop.method': ({ pop }) => pop?.method,
  'pop.jkt': ({ pop }) => pop?.jkt,
  'pop.x5t': ({ pop }) => pop?.x5t,
  'pop.body_bound': ({ pop }) => pop?.body_bound,
  'route.name': ({ route }) => route,
  'drift.score': ({ drift }) => drift?.score,
  'drift.novelty': ({ drift }) => drift?.novelty,
  'drift.sequence': ({ drift }) => drift?.sequence,
  'drift.destination': ({ drift }) => drift?.destination,
  'drift.tainted': ({ drift }) => drift?.tainted,
  'drift.rate': ({ drift }) => drift?.rate,
  'drift.sustained': ({ drift }) => drift?.sustained,
  'drift.ready': ({ drift }) => drift?.ready,
  'drift.samples': ({ drift }) => drift?.samples,
  'drift.alarms': ({ drift }) => drift?.alarms,
  'drift.peers': ({ drift }) => drift?.peers,
  'drift.latched': ({ drift }) => drift?.latched,
  'drift.stale': ({ drift }) => drift?.stale,
};

type Fields = Readonly<Record<string, unknown>>;

/** What is read of an audit record; the rest of it does not matter here. */
export type RecordedInputs = {
  readonly id: string;
  readonly time: string;
  readonly route: string | null;
  readonly stated_reason: string | null;
  readonly request: Fields;
  readonly source: Fields;
  readonly token: Fields | null;
  readonly subject: Fields | null;
  readonly agent: Fields | null;
  readonly act: Fields | null;
  readonly pop: Fields | null;
  readonly rates: Readonly<Record<string, number>> | null;
  readonly drift?: Fields | null;
  readonly inputs?: RuleInputs | null;
};

/** Paths with the names that are read of each map; null for all of it. The claims have two names, and one here. */
type Wanted = ReadonlyMap<string, ReadonlySet<string> | null>;

export function wantedBy(readings: readonly Reading[]): Wanted {
  const wanted = new Map<string, Set<string> | null>();
  for (const { reads, members } of readings) {
    for (const path of reads) {
      if (path === 'mcp.tool.arguments') continue;
      const names = path === 'mcp.tool' ? toolFields(reads) : (members.get(path) ?? null);
      const key = path === 'jwt' ? 'token.claims' : path;
      const earlier = wanted.get(key);
      if (names === null || earlier === null) wanted.set(key, null);
      else wanted.set(key, new Set([...(earlier ?? []), ...names]));
    }
  }
  return wanted;
}

/** Arguments are built only for rules that may read them, so a tool without them says nothing of its arguments. */
const toolFields = (reads: ReadonlySet<string>) =>
  new Set(reads.has('mcp.tool.arguments') ? ['name', 'arguments'] : ['name']);

/** Reads what the record will not say. Made once for a rule set. */
export function createReadInputs(readings: readonly Reading[]): (context: Context) => RuleInputs {
  const steps = [...wantedBy(readings)]
    .filter(([path]) => !path.startsWith('rate.') && (!(path in recorded) || path === 'request.url_path'))
    .map(([path, names]) => ({ path, steps: path.split('.') as [string, string?], names }));
  const all = steps.map(({ path }) => path);
  return (context) => {
    // A value beyond its bounds is not there to be kept, and no rule was asked.
    if (context.unfit !== null) return { values: {}, missing: all, unfit: unfitPath(context.unfit) };
    const kept: Kept = { values: {}, missing: [], chars: 0 };
    for (const {
      path,
      steps: [variable, field],
      names,
    } of steps) {
      const base = (context as unknown as Fields)[variable];
      const value = field === undefined ? base : (base as Fields | undefined)?.[field];
      if (path === 'request.url_path' && String(value).length <= recordedTextMax) continue;
      if (value === undefined || value === null) kept.values[path] = null;
      else if (names !== null) keepNames(kept, path, value, names);
      else if (path === 'request.path' && hasSecretQuery(String(value))) kept.missing.push(path);
      else keepWhole(kept, path, value);
    }
    return { values: kept.values, missing: kept.missing };
  };
}

/** The variable that is beyond its bounds: the first word of what says so. */
export const unfitPath = (unfit: string): string => unfit.split(/[: ]/, 1)[0] ?? '';

type Kept = { readonly values: Values; readonly missing: string[]; chars: number };

function keepNames(kept: Kept, path: string, value: unknown, names: ReadonlySet<string>): void {
  // A rule that asks for members of something without any fails or not by what it is.
  if (!(value instanceof Map || value instanceof McpToolRecord)) {
    keep(kept, path, value);
    return;
  }
  for (const name of names) {
    const key = `${path}[${name}]`;
    if (isSecretName(name)) kept.missing.push(key);
    else keep(kept, key, value instanceof Map ? value.get(name) : Reflect.get(value, name));
  }
}

function keepWhole(kept: Kept, path: string, value: unknown): void {
  if (!(value instanceof Map)) {
    keep(kept, path, value);
    return;
  }
  const members = [...value];
  const isLost = ([name, member]: [unknown, unknown]) => isSecretName(String(name)) || holdsSecret(member);
  const lost = members.filter(isLost).map(([name]) => `${path}[${name}]`);
  if (lost.join('').length > lostCharsMax) {
    kept.missing.push(path);
    return;
  }
  kept.missing.push(...lost);
  keep(kept, path, new Map(members.filter((member) => !isLost(member))));
}

/** Whether anything in it has a name that sounds secret. Values are within the bounds of documents, and so is this. */
function holdsSecret(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(holdsSecret);
  if (!(value instanceof Map)) return false;
  return [...value].some(([name, member]) => isSecretName(String(name)) || holdsSecret(member));
}

function keep(kept: Kept, key: string, value: unknown): void {
  if (holdsSecret(value)) {
    kept.missing.push(key);
    return;
  }
  const plain = plainOf(value) ?? null;
  const chars = typeof plain === 'object' && plain !== null ? JSON.stringify(plain).length : String(plain).length;
  if (chars > valueCharsMax || kept.chars + chars > allCharsMax) {
    kept.missing.push(key);
    return;
  }
  kept.chars += chars;
  kept.values[key] = plain;
}

export type Restored = {
  readonly context: Context;
  /** What was wanted and the record does not hold: a rule that reads it can't be judged. */
  readonly missing: readonly string[];
};

/** As declared, by path. */
const types: ReadonlyMap<string, string> = new Map(
  records.flatMap(({ variable, fields }) =>
    Object.entries(fields).map(([field, type]) => [`${variable}.${field}`, type] as const),
  ),
);

/** A context that holds what these expressions read, as it was when the record was made. */
export function restoreContext(record: RecordedInputs, wanted: Wanted): Restored {
  const nowMs = Date.parse(record.time);
  const missing: string[] = [];
  const written: Record<string, Values> = {};
  const rate = new RateRecord();
  for (const [path, names] of wanted) {
    const [variable = '', field = ''] = path.split('.');
    if (variable === 'now') continue;
    if (variable === 'rate') {
      const count: unknown = record.rates?.[field];
      if (typeof count === 'number' && Number.isSafeInteger(count)) rate.set(field, BigInt(count));
      else missing.push(path);
      continue;
    }
    const found = valueIn(record, path, names);
    // Whoever wrote it may have been no Postern.
    const isFit = isWrittenAs(found.value, types.get(path) ?? 'dyn');
    missing.push(...(isFit ? found.missing : [path]));
    written[variable] = { ...written[variable], [field]: isFit ? found.value : undefined };
  }
  const unfit = unfitIn(record, wanted, written);
  const context: Record<string, unknown> = { rate, now: new Date(nowMs), unfit };
  for (const { variable, ctor, fields } of records) {
    if (variable !== null) context[variable] = fill(new ctor(), written[variable] ?? {}, fields, nowMs);
  }
  context.jwt = celValueOf(written.token?.claims, 'map<string, dyn>', nowMs);
  return { context: context as unknown as Context, missing };
}

/** These rules may read what is beyond its bounds where others did not, or the other way round. */
function unfitIn(
  { inputs }: RecordedInputs,
  wanted: Wanted,
  written: Readonly<Record<string, Values>>,
): Context['unfit'] {
  const path = inputs?.unfit;
  const readsArguments = wanted.get('mcp.tool')?.has('arguments') === true;
  if (path !== undefined && (wanted.has(path) || (path === 'mcp.tool.arguments' && readsArguments))) {
    return `${path} was beyond its bounds`;
  }
  const { scopes, roles, aud } = written.token ?? {};
  const lists = { 'token.scopes': scopes, 'token.roles': roles, 'token.aud': aud, 'act.chain': written.act?.chain };
  return listUnfitness(Object.entries(lists).flatMap(([name, list]) => (Array.isArray(list) ? [[name, list]] : [])));
}

type FoundValue = { readonly value: unknown; readonly missing: readonly string[] };

function valueIn(record: RecordedInputs, path: string, names: ReadonlySet<string> | null): FoundValue {
  const { values = {}, missing = [] } = record.inputs ?? {};
  if (Object.hasOwn(values, path)) {
    const lost = missing.filter((key) => key.startsWith(`${path}[`));
    const wantedLost = names === null ? lost : lost.filter((key) => names.has(key.slice(path.length + 1, -1)));
    return { value: values[path], missing: wantedLost };
  }
  if (names === null) {
    const value = recorded[path]?.(record);
    const isCut = path === 'request.url_path' && String(value).length > recordedTextMax;
    return value === undefined || isCut ? { value: undefined, missing: [path] } : { value, missing: [] };
  }
  const keys = [...names].map((name) => [name, `${path}[${name}]`] as const);
  const held = keys.filter(([, key]) => Object.hasOwn(values, key) && values[key] !== null);
  return {
    value: Object.fromEntries(held.map(([name, key]) => [name, values[key]])),
    missing: keys.filter(([, key]) => !Object.hasOwn(values, key)).map(([, key]) => key),
  };
}
