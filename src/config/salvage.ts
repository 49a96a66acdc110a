/** What can still be verified in a configuration that does not fit the schema as a whole. */

import type { ConfigurationProblem } from '../errors.ts';
import { type Config, configSchema } from './schema.ts';

/** Names that the file declares, whether or not what they name is any good. */
export type WrittenNames = { readonly routes: readonly string[]; readonly meters: readonly string[] };

type Sections = { -readonly [Key in keyof Config]?: Config[Key] };

const shape = configSchema.shape;

/** Every section that fits the schema, parsed. */
export function soundSections(value: unknown): Sections {
  const sections: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(shape)) {
    const parsed = schema.safeParse(member(value, key));
    if (parsed.success) sections[key] = parsed.data;
  }
  return sections as Sections;
}

/** A whole configuration: what is sound, single entries of tables that are not, and else what does no harm. */
export function withFillers(sections: Sections, value: unknown): Config {
  return {
    listen: shape.listen.parse({ publicOrigin: 'https://postern.invalid' }),
    admin: shape.admin.parse(undefined),
    store: shape.store.parse(undefined),
    issuers: [],
    agents: shape.agents.parse(undefined),
    proof: shape.proof.parse(undefined),
    signals: shape.signals.parse(undefined),
    routes: [],
    credentials: soundEntries(shape.credentials, member(value, 'credentials')),
    drift: shape.drift.parse(undefined),
    meters: soundEntries(shape.meters.unwrap(), member(value, 'meters')),
    rules: [],
    enforcement: 'enforce',
    reason: shape.reason.parse(undefined),
    revocation: shape.revocation.parse(undefined),
    audit: shape.audit.parse(undefined),
    limits: shape.limits.parse(undefined),
    shutdown: shape.shutdown.parse(undefined),
    reload: shape.reload.parse(undefined),
    log: shape.log.parse(undefined),
    ...sections,
  };
}

/** Names of routes and meters, for rules that speak of them. */
export function namesIn(value: unknown): WrittenNames {
  return {
    routes: items(member(value, 'routes')).flatMap((route) => text(member(route, 'name'))),
    meters: keys(member(value, 'meters')),
  };
}

/** Routes that name a credential which nobody declares, found without understanding either. */
export function referenceProblems(value: unknown): readonly ConfigurationProblem[] {
  const declared = keys(member(value, 'credentials'));
  return items(member(value, 'routes')).flatMap((route, index) =>
    text(member(route, 'credential')).flatMap((credential) =>
      declared.includes(credential) ? [] : [undeclared(index, declared)],
    ),
  );
}

function undeclared(index: number, declared: readonly string[]): ConfigurationProblem {
  const message = `names no declared credential; declared: ${declared.join(', ') || 'none'}`;
  return { path: ['routes', index, 'credential'], message };
}

type Table<Value> = {
  readonly safeParse: (
    value: unknown,
  ) => { readonly success: true; readonly data: Record<string, Value> } | { readonly success: false };
};

function soundEntries<Value>(table: Table<Value>, value: unknown): Record<string, Value> {
  const entries: [string, Value][] = [];
  for (const key of keys(value)) {
    const parsed = table.safeParse({ [key]: member(value, key) });
    if (parsed.success) entries.push(...Object.entries(parsed.data));
  }
  return Object.fromEntries(entries);
}

function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}

function keys(value: unknown): readonly string[] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : [];
}

const items = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): readonly string[] => (typeof value === 'string' ? [value] : []);
