/** Values that people write in YAML for variables: what is taken for each declared type, and as which CEL value. */

import { z } from 'zod';
import { convertValue } from './document.ts';
import { records } from './variables.ts';

const durationMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const timestampForm = /^(?:[+-]\d{1,9}(?:ms|s|m|h|d)|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?(?:Z|[+-]\d\d:\d\d))$/;
export const timestampType = 'google.protobuf.Timestamp';

const timestamp = z
  .string()
  .regex(timestampForm, {
    error: 'must be a time such as 2026-11-30T12:00:00Z, or -5m or +1h, counted from now',
    abort: true,
  })
  .refine((text) => /^[+-]\d+[a-z]/.test(text) || !Number.isNaN(Date.parse(text)), 'names no moment that there is');

const json: z.ZodType = z.json();

/** What may be written for a field of this type. Null stands for a field that is absent. */
export function schemaOf(type: string): z.ZodType {
  if (type === 'string') return z.string();
  if (type === 'int') return z.int();
  if (type === 'double') return z.number();
  if (type === 'bool') return z.boolean();
  if (type === timestampType) return timestamp;
  const item = /^list<(.+)>$/.exec(type)?.[1];
  if (item !== undefined) return z.array(schemaOf(item));
  const member = /^map<string, (.+)>$/.exec(type)?.[1];
  if (member !== undefined) return z.record(z.string(), schemaOf(member));
  const record = records.find(({ name }) => name === type);
  return record === undefined ? json : recordSchema(record.fields);
}

/** Every field may be left out: what is not written has a default. */
export function recordSchema(fields: Readonly<Record<string, string>>): z.ZodType {
  return z.strictObject(
    Object.fromEntries(Object.entries(fields).map(([name, type]) => [name, schemaOf(type).nullable().optional()])),
  );
}

/** Milliseconds since the epoch. Assumes what `schemaOf` a timestamp has taken. */
export function parseTime(text: string, nowMs: number): number {
  const [, sign, count, unit = ''] = /^([+-])(\d+)(ms|s|m|h|d)$/.exec(text) ?? [];
  if (sign === undefined) return Date.parse(text);
  return nowMs + Number(`${sign}${count}`) * (durationMs[unit] ?? Number.NaN);
}

/** Whether `celValueOf` can take it: what `schemaOf` the same type takes, found out many times as fast. */
export function isWrittenAs(written: unknown, type: string): boolean {
  if (written === null || written === undefined) return true;
  if (type === 'string') return typeof written === 'string';
  if (type === 'int') return Number.isSafeInteger(written);
  if (type === 'double') return typeof written === 'number';
  if (type === 'bool') return typeof written === 'boolean';
  if (type === timestampType) return typeof written === 'string' && !Number.isNaN(parseTime(written, 0));
  const item = /^list<(.+)>$/.exec(type)?.[1];
  if (item !== undefined) return Array.isArray(written) && written.every((one) => isWrittenAs(one, item));
  const member = /^map<string, (.+)>$/.exec(type)?.[1];
  const record = records.find(({ name }) => name === type);
  if (member === undefined && record === undefined) return true;
  if (typeof written !== 'object' || Array.isArray(written)) return false;
  return Object.entries(written).every(([name, one]) => {
    if (member !== undefined) return isWrittenAs(one, member);
    const field = record !== undefined && Object.hasOwn(record.fields, name) ? record.fields[name] : undefined;
    return field !== undefined && isWrittenAs(one, field);
  });
}

/** The CEL value of what `schemaOf` the same type has taken. */
export function celValueOf(written: unknown, type: string, nowMs: number): unknown {
  if (written === null || written === undefined) return undefined;
  if (type === 'int') return BigInt(written as number);
  if (type === timestampType) return new Date(parseTime(String(written), nowMs));
  const item = /^list<(.+)>$/.exec(type)?.[1];
  if (item !== undefined) return (written as readonly unknown[]).map((one) => celValueOf(one, item, nowMs));
  const member = /^map<string, (.+)>$/.exec(type)?.[1];
  if (member !== undefined) {
    return new Map(Object.entries(written).map(([name, one]) => [name, celValueOf(one, member, nowMs)]));
  }
  const record = records.find(({ name }) => name === type);
  if (record === undefined) return typeof written === 'object' ? convertValue(written).value : written;
  return fill(new record.ctor(), written, record.fields, nowMs);
}

/** Sets the fields that are written, and leaves all others as they are. */
export function fill(record: object, written: object, fields: Readonly<Record<string, string>>, nowMs: number): object {
  for (const [name, value] of Object.entries(written)) {
    Object.assign(record, { [name]: celValueOf(value, fields[name] ?? 'dyn', nowMs) });
  }
  return record;
}
