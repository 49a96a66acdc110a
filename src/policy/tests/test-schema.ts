/**
 * The shape of a *.test.yaml file. What can be given is taken from the table of declared variables, so a variable that
 * rules can read is a variable that tests can set.
 */

import { z } from 'zod';
import { reasons } from '../../decision.ts';
import { recordSchema, schemaOf, timestampType } from '../declared-types.ts';
import { records } from '../variables.ts';

const ruleId = z.string().min(1).max(64);
const path = z.string().min(1).max(4096);

/** Follow from request.path and now, so that they can't contradict them. */
const derivedFields: ReadonlySet<string> = new Set(['request.url_path', 'request.time']);

const expectation = z
  .strictObject({
    effect: z.enum(['allow', 'deny', 'challenge', 'throttle']).optional(),
    reason: z.enum(reasons).optional(),
    rule: ruleId.nullable().optional().describe('The rule that decides; null where none does'),
    matches: z
      .union([
        z.array(ruleId),
        z.strictObject({ include: z.array(ruleId).optional(), exclude: z.array(ruleId).optional() }),
      ])
      .optional()
      .describe('Exactly these rules match, in any order; or these at least, and those not'),
    message: z.string().optional().describe('What the agent is told'),
    scope: z.string().optional().describe('Scopes that the challenge names'),
    would: z
      .enum(['allow', 'deny', 'challenge', 'throttle'])
      .optional()
      .describe('The effect if every shadow rule were enforced'),
    values: z
      .record(z.string().min(1), z.json())
      .optional()
      .describe('CEL expressions and their values; null where the evaluation fails'),
  })
  .refine((value) => Object.keys(value).length > 0, {
    error: 'must expect something',
    when: ({ issues }) => issues.length === 0,
  });

/** Variables by name, as far as they are written. */
export type Given = Readonly<Record<string, unknown>>;
export type Expectation = z.output<typeof expectation>;
export type WrittenCase = { readonly name: string; readonly expect: Expectation } & Given;
export type TestFile = { readonly given: Given; readonly cases: readonly WrittenCase[] };

const meterName = z.string().regex(/^[a-z][a-z0-9_]{0,62}$/, 'must be a name such as calls_per_minute');

/** What a file says about itself, needed before the rest of it can be understood. */
const head = {
  rules: z.array(path).min(1).optional().describe('Rule files and folders, from this file; else the file beside it'),
  meters: z
    .array(meterName)
    .max(1000)
    .optional()
    .describe('Meters that the rules read, where no configuration declares them'),
  routes: z
    .array(z.string().min(1).max(64))
    .min(1)
    .max(1000)
    .optional()
    .describe('Routes that rules may name; every name where there is neither this nor a configuration'),
};

export const testHeadSchema = z.looseObject(head);
export type TestHead = z.output<typeof testHeadSchema>;

/** What can be said of a request, for rules that may read just these meters. */
export function createGivenSchema(meters: readonly string[]) {
  return z.strictObject(givenShape(meters));
}

/** For rules that may read just these meters; null where every name may be one. */
export function createTestFileSchema(meters: readonly string[] | null) {
  const given = givenShape(meters);
  const testCase = z.strictObject({ name: z.string().min(1).max(256), ...given, expect: expectation });
  return z.strictObject({ ...head, given: z.strictObject(given).default({}), cases: z.array(testCase).min(1) });
}

function givenShape(meters: readonly string[] | null): Record<string, z.ZodType> {
  const given: Record<string, z.ZodType> = {};
  for (const { variable, fields } of records) {
    if (variable === null) continue;
    const settable = Object.entries(fields).filter(([field]) => !derivedFields.has(`${variable}.${field}`));
    given[variable] = recordSchema(Object.fromEntries(settable)).optional();
  }
  given.request = withWrittenForms(records.find(({ variable }) => variable === 'request')?.fields ?? {});
  given.route = z.union([z.string().min(1).max(64), given.route ?? z.never()]).optional();
  const count = z.int().min(0);
  given.rate = (
    meters === null
      ? z.record(meterName, count)
      : z.strictObject(Object.fromEntries(meters.map((meter) => [meter, count.optional()])))
  ).optional();
  given.now = schemaOf(timestampType).optional();
  return given;
}

/** Header fields and query parameters, of which one value or a list may be written. */
function withWrittenForms(fields: Readonly<Record<string, string>>): z.ZodType {
  const texts = z.record(z.string(), z.union([z.string(), z.array(z.string())]).nullable());
  const forms: Record<string, z.ZodType> = { headers: texts, query: texts };
  const shape = Object.entries(fields)
    .filter(([field]) => !derivedFields.has(`request.${field}`))
    .map(([field, type]) => [field, (forms[field] ?? schemaOf(type)).nullable().optional()]);
  return z.strictObject(Object.fromEntries(shape)).optional();
}
