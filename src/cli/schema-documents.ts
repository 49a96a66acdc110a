/** JSON Schemas of the files that people write, for editors: made from the schemas that vet those files. */

import { z } from 'zod';
import { descriptions } from '../config/descriptions.ts';
import { configSchema } from '../config/schema.ts';
import { ruleFileSchema } from '../policy/rule-schema.ts';
import { createTestFileSchema } from '../policy/tests/test-schema.ts';
import { records } from '../policy/variables.ts';

export const schemaNames = ['config', 'rules', 'tests'] as const;
export type SchemaName = (typeof schemaNames)[number];

/** The members of a JSON Schema that are looked at here. All may be written to: each document is made anew. */
type Schema = {
  type?: string;
  pattern?: string;
  description?: string;
  default?: unknown;
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema | boolean;
  anyOf?: Schema[];
  allOf?: object[];
  minProperties?: number;
};

export function schemaDocument(name: SchemaName): object {
  if (name === 'config') return { title: 'postern.yaml', ...configDocument() };
  if (name === 'rules') return { title: 'Rules of Postern', ...rulesDocument() };
  return { title: 'Tests of rules of Postern', ...testsDocument() };
}

function made(schema: z.ZodType, io: 'input' | 'output'): Schema {
  return z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Schema;
}

function configDocument(): Schema {
  const document = made(configSchema, 'input');
  walk(document, made(configSchema, 'output'), '');
  return document;
}

/** Puts in what the schema of what is written does not say: descriptions, and defaults that are vetted values. */
function walk(written: Schema, vetted: Schema | undefined, path: string): void {
  const description = written.description ?? descriptions[path];
  if (description !== undefined) written.description = description;
  if (written.default === undefined && vetted?.default !== undefined) {
    const value = writtenForm(vetted.default, written.pattern ?? '');
    if (value !== undefined) written.default = value;
  }
  for (const [name, property] of Object.entries(written.properties ?? {})) {
    walk(property, vetted?.properties?.[name], path === '' ? name : `${path}.${name}`);
  }
  if (written.items !== undefined) walk(written.items, vetted?.items, `${path}[]`);
  for (const [index, branch] of (written.anyOf ?? []).entries()) walk(branch, vetted?.anyOf?.[index], path);
  const { additionalProperties: members } = written;
  if (typeof members !== 'object') return;
  const vettedMembers = vetted?.additionalProperties;
  walk(members, typeof vettedMembers === 'object' ? vettedMembers : undefined, `${path}.<name>`);
}

const durations: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
const sizes: Readonly<Record<string, number>> = { GiB: 1024 ** 3, MiB: 1024 ** 2, KiB: 1024, B: 1 };

/** A duration or a size as people write it; undefined for what is something else. */
function writtenForm(value: unknown, pattern: string): string | undefined {
  if (typeof value !== 'number') return undefined;
  const units = pattern.includes('ms|') ? durations : pattern.includes('KiB') ? sizes : {};
  const [unit, length] = Object.entries(units).find(([, size]) => value % size === 0 && value >= size) ?? [];
  return unit === undefined || length === undefined ? undefined : `${value / length}${unit}`;
}

function rulesDocument(): Schema {
  const document = made(ruleFileSchema, 'input');
  const rule = document.properties?.rules?.items;
  const challenge = rule?.properties?.challenge;
  if (rule === undefined || challenge === undefined) throw new TypeError('the schema of rules has another shape');
  challenge.minProperties = 1;
  const others = ['allow', 'deny', 'throttle'];
  rule.allOf = [
    {
      anyOf: [
        { properties: { effect: { const: 'challenge' } }, required: ['challenge'] },
        { properties: { effect: { enum: others }, challenge: false } },
      ],
    },
  ];
  return document;
}

function testsDocument(): Schema {
  const document = made(createTestFileSchema(null), 'input');
  const { given, cases } = document.properties ?? {};
  const testCase = cases?.items;
  const expected = testCase?.properties?.expect;
  if (given === undefined || cases === undefined || testCase === undefined || expected === undefined) {
    throw new TypeError('the schema of tests has another shape');
  }
  given.description = 'What every case starts from';
  cases.description = 'Each says how a call differs from an ordinary one, and what is expected of it';
  expected.description = 'What is expected; at least one thing';
  expected.minProperties = 1;
  describe(testCase, 'name', 'Shown in reports, and what --filter looks for');
  describe(expected, 'effect', 'What the agent gets');
  for (const lists of expected.properties?.matches?.anyOf ?? []) {
    describe(lists, 'include', 'These match, whatever else does');
    describe(lists, 'exclude', 'These do not match');
  }
  describe(expected, 'reason', 'The reason of a refusal');
  for (const part of [given, testCase]) describeVariables(part);
  return document;
}

function describeVariables(part: Schema): void {
  for (const { variable, fields } of records) {
    if (variable === null) continue;
    describe(part, variable, `What differs in ${variable} from an ordinary call`);
    const written = part.properties?.[variable];
    const record = written?.properties === undefined ? written?.anyOf?.find(({ properties }) => properties) : written;
    if (record !== undefined) describeFields(record, fields);
  }
  describe(part, 'rate', 'What each meter has counted, this call included');
  describe(part, 'now', 'A time such as 2026-11-30T12:00:00Z');
}

function describeFields(record: Schema, fields: Readonly<Record<string, string>>): void {
  for (const [field, property] of Object.entries(record.properties ?? {})) {
    const type = fields[field] ?? '';
    property.description ??= `Of type ${type.replace('google.protobuf.Timestamp', 'timestamp')}; null for absent`;
    // A list of records, or a record in a record.
    const inner = records.find(({ name }) => name === type.replace(/^list<(.+)>$/, '$1'));
    if (inner === undefined) continue;
    const branches = [property, ...(property.anyOf ?? [])].flatMap((one) => [one, one.items ?? {}]);
    for (const branch of branches) describeFields(branch, inner.fields);
  }
}

function describe(schema: Schema, name: string, text: string): void {
  const property = schema.properties?.[name];
  if (property !== undefined) property.description ??= text;
}
