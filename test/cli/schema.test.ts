import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { z } from 'zod';
import { schema } from '../../src/cli/schema.ts';
import { type SchemaName, schemaDocument, schemaNames } from '../../src/cli/schema-documents.ts';
import { configSchema } from '../../src/config/schema.ts';
import { ruleFileSchema } from '../../src/policy/rule-schema.ts';
import { createTestFileSchema } from '../../src/policy/tests/test-schema.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { writeConfiguration } from './configuration-file.ts';

const root = resolve(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const readme = read('README.md');

const vetted: Readonly<Record<SchemaName, z.ZodType>> = {
  config: configSchema,
  rules: ruleFileSchema,
  tests: createTestFileSchema(null),
};
const ajv = new Ajv2020({ strict: false, allErrors: true });
const validators = Object.fromEntries(schemaNames.map((name) => [name, ajv.compile(schemaDocument(name))]));

function problemsOf(name: SchemaName, value: unknown): readonly string[] {
  const validate = validators[name];
  if (validate === undefined || validate(value) === true) return [];
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

const marked = (mark: string) =>
  [...readme.matchAll(/<!-- ([\w.]+) -->\n\n```yaml\n([\s\S]*?)```/g)]
    .filter(([, name]) => name === mark)
    .map(([, , text = ''], index) => ({ where: `README ${mark} ${index}`, text }));

const under = (folder: string, isWanted: (name: string) => boolean) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(isWanted)
    .map((name) => ({ where: join(folder, name), text: read(join(folder, name)) }));

const isTest = (name: string) => name.endsWith('.test.yaml');
const isRules = (name: string) => name.endsWith('.yaml') && !isTest(name);
const examples: Readonly<Record<SchemaName, readonly { readonly where: string; readonly text: string }[]>> = {
  config: [
    ...marked('postern.yaml'),
    ...under('deploy', (name) => /^(compose|kubernetes)\/postern\.yaml$/.test(name)),
    { where: 'a written one', text: readFileSync(writeConfiguration().file, 'utf8') },
  ],
  rules: [...marked('rules'), ...under('rules', isRules)],
  tests: [...marked('rules.test'), ...under('rules', isTest)],
};
const all = schemaNames.flatMap((name) => examples[name].map((example) => ({ name, ...example })));

describe('postern schema', () => {
  // npm run schemas writes the files anew.
  it.each(schemaNames)('prints what is in the package: %s', (name) => {
    const { io, stdout } = createCapturedIo();
    expect(schema(name, io)).toBe(0);
    expect(JSON.parse(read(`schemas/${name}.json`))).toEqual(JSON.parse(stdout()));
    expect(JSON.parse(stdout())).toMatchObject({ $schema: expect.stringContaining('json-schema.org') });
  });

  it('has examples of every kind', () => {
    for (const name of schemaNames) expect(examples[name].length, name).toBeGreaterThan(1);
  });

  it.each(all)('takes $where', ({ name, text }) => {
    const value = parse(text);
    expect(problemsOf(name, value)).toEqual([]);
    expect(vetted[name].safeParse(value).error).toBeUndefined();
  });

  it.each(schemaNames)('describes every key of %s', (name) => {
    expect(undescribed(schemaDocument(name) as Schema, '')).toEqual([]);
  });

  it('gives defaults in the form in which they are written', () => {
    const document = schemaDocument('config') as Schema;
    const { limits, shutdown, store } = document.properties ?? {};
    expect(limits?.properties?.body?.default).toBe('10MiB');
    expect(shutdown?.properties?.deadline?.default).toBe('25s');
    expect(store?.properties?.timeout?.default).toBe('100ms');
    expect(store?.properties?.kind).toMatchObject({ default: 'memory', enum: ['memory', 'redis'] });
  });

  it.each(all)('agrees with what a start takes, on $where with one thing changed', ({ name, text }) => {
    let refused = 0;
    const differing: string[] = [];
    for (const { what, value } of mutations(parse(text))) {
      const isTaken = vetted[name].safeParse(value).success;
      if ((problemsOf(name, value).length === 0) !== isTaken) differing.push(what);
      if (!isTaken) refused++;
    }
    expect(differing.filter((what) => !beyondSchemas.has(what))).toEqual([]);
    expect(refused).toBeGreaterThan(10);
  });

  it.each<[SchemaName, string, (value: Changeable) => void]>([
    ['config', 'a duration without a unit', (value) => Object.assign(value, { shutdown: { delay: '5' } })],
    ['config', 'a size without a unit', (value) => Object.assign(value, { limits: { body: '5' } })],
    ['config', 'an algorithm that is none', (value) => Object.assign(value, { proof: { algorithms: ['HS256'] } })],
    ['config', 'a secret written out', (value) => Object.assign(value, { credentials: { k: { from: 'sk-1' } } })],
    [
      'rules',
      'a challenge without its effect',
      ({ rules: [rule] }) => Object.assign(rule, { challenge: { maxAge: '5m' } }),
    ],
    ['rules', 'an effect challenge without one', ({ rules: [rule] }) => Object.assign(rule, { effect: 'challenge' })],
    ['tests', 'an expectation of nothing', ({ cases: [one] }) => Object.assign(one, { expect: {} })],
    [
      'tests',
      'a reason that there is not',
      ({ cases: [one] }) => Object.assign(one, { expect: { reason: 'because' } }),
    ],
    ['tests', 'a count below zero', ({ cases: [one] }) => Object.assign(one, { rate: { calls_per_minute: -1 } })],
  ])('refuses in %s, as a start does: %s', (name, _what, change) => {
    const value = parse(examples[name][0]?.text ?? '');
    change(value);
    expect(vetted[name].safeParse(value).success).toBe(false);
    expect(problemsOf(name, value)).not.toEqual([]);
  });
});

/** Which keys of a store need which others is for a start to say. */
const beyondSchemas: ReadonlySet<string> = new Set([
  'without store.kind',
  'without store.url',
  'without store.passwordFile',
]);

type Changeable = { readonly rules: readonly [object]; readonly cases: readonly [object] };
type Schema = {
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly anyOf?: readonly Schema[];
};

function undescribed(part: Schema, path: string): readonly string[] {
  const properties = Object.entries(part.properties ?? {});
  const { additionalProperties: members } = part;
  return [
    ...properties.filter(([, property]) => !property.description).map(([name]) => `${path}.${name}`),
    ...properties.flatMap(([name, property]) => undescribed(property, `${path}.${name}`)),
    ...(part.anyOf ?? []).flatMap((branch) => undescribed(branch, path)),
    ...(part.items === undefined ? [] : undescribed(part.items, `${path}[]`)),
    ...(typeof members === 'object' ? undescribed(members, `${path}.<name>`) : []),
  ];
}

type Mutation = { readonly what: string; readonly value: unknown };

/** Every part taken away, replaced by something of another type, or with an unknown key beside it. */
function mutations(value: unknown): readonly Mutation[] {
  const found: Mutation[] = [];
  const at = (
    path: readonly (string | number)[],
    what: string,
    change: (parent: Record<PropertyKey, unknown>, last: string | number) => void,
  ) => {
    const whole = { value: structuredClone(value) };
    const steps = ['value', ...path];
    const last = steps.pop() ?? '';
    let parent: unknown = whole;
    for (const step of steps) parent = (parent as Record<PropertyKey, unknown>)[step];
    change(parent as Record<PropertyKey, unknown>, last);
    found.push({ what: `${what} ${path.join('.')}`, value: whole.value });
  };
  const visit = (part: unknown, path: readonly (string | number)[]) => {
    if (path.length > 0) {
      for (const other of [7, true, null, 'x y', [], {}, [[]], { unknown_key: 1 }]) {
        at(path, `${JSON.stringify(other)} for`, (parent, last) => {
          parent[last] = other;
        });
      }
      at(path, 'without', (parent, last) => {
        if (Array.isArray(parent)) parent.splice(Number(last), 1);
        else delete parent[last];
      });
    }
    if (typeof part !== 'object' || part === null) return;
    if (!Array.isArray(part)) {
      at([...path, 'unknown_key'], 'with', (parent, last) => {
        parent[last] = 1;
      });
    }
    for (const [key, inner] of Object.entries(part)) visit(inner, [...path, Array.isArray(part) ? Number(key) : key]);
  };
  visit(value, []);
  return found;
}
