import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { schema } from '../../src/cli/schema.ts';
import { configSchema } from '../../src/config/schema.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { writeConfiguration } from './configuration-file.ts';

const { io, stdout } = createCapturedIo();
schema(io);
const document = JSON.parse(stdout()) as Parameters<typeof z.fromJSONSchema>[0];
const validator = z.fromJSONSchema(document);
const fits = (value: unknown): boolean => validator.safeParse(value).success;

const deploy = fileURLToPath(new URL('../../deploy', import.meta.url));
const examples = [`${deploy}/compose/postern.yaml`, `${deploy}/kubernetes/postern.yaml`, writeConfiguration().file];

describe('postern schema', () => {
  it.each(examples)('takes %s', (file) => {
    expect(validator.safeParse(parse(readFileSync(file, 'utf8'))).error).toBeUndefined();
  });

  it('names its dialect, and describes what is written, not what it becomes', () => {
    expect(document).toMatchObject({ $schema: expect.stringContaining('json-schema.org'), title: 'postern.yaml' });
    expect(JSON.stringify(document)).toContain('300ms');
  });

  it.each([
    ['an unknown key', (value: Example) => ({ ...value, unknown: 1 })],
    ['an unknown key of a route', (value: Example) => ({ ...value, routes: [{ ...value.routes[0], x: 1 }] })],
    ['no routes', ({ routes: _routes, ...value }: Example) => value],
    ['a number for a duration', (value: Example) => ({ ...value, shutdown: { delay: 5 } })],
    ['a duration without a unit', (value: Example) => ({ ...value, shutdown: { delay: '5' } })],
    ['a size without a unit', (value: Example) => ({ ...value, limits: { body: '5' } })],
    ['an algorithm that is none', (value: Example) => ({ ...value, proof: { algorithms: ['HS256'] } })],
    ['a secret written out', (value: Example) => ({ ...value, credentials: { k: { from: 'sk-1', inject: {} } } })],
  ])('refuses %s, as the start does', (_name, change) => {
    const changed = change(parse(readFileSync(examples[0] ?? '', 'utf8')) as Example);
    expect(configSchema.safeParse(changed).success).toBe(false);
    expect(fits(changed)).toBe(false);
  });
});

type Example = { readonly routes: readonly object[] } & Readonly<Record<string, unknown>>;
