import { mkdirSync, mkdtempSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadDocuments } from '../../../src/behaviour/actions/documents.ts';
import { documentBytesMax, loadOperations, operationsMax } from '../../../src/behaviour/actions/openapi.ts';
import type { Config } from '../../../src/config/schema.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-openapi-'));
let count = 0;

function written(text: string | Buffer): string {
  const file = join(folder, `${count++}.yaml`);
  writeFileSync(file, text);
  return file;
}

const load = (text: string | Buffer) => loadOperations(written(text));
const json = (document: object) => JSON.stringify(document, null, 2);
const pets = {
  openapi: '3.1.0',
  servers: [
    { url: 'https://{region}.example.com/{base}/', variables: { region: { default: 'eu' }, base: { default: 'v2' } } },
  ],
  paths: {
    '/pets': { parameters: [], get: { operationId: 'listPets' }, post: {} },
    '/pets/{petId}': { get: { operationId: 'pets/get' } },
    '/shared': { $ref: '#/components/pathItems/sh~1ared' },
    'x-internal': {},
  },
  components: { pathItems: { 'sh/ared': { put: { servers: [{ url: '/' }], responses: { 200: {} } } } } },
};
const petOperations = [
  { method: 'GET', template: '/v2/pets', name: 'listPets' },
  { method: 'POST', template: '/v2/pets', name: 'POST /pets' },
  { method: 'GET', template: '/v2/pets/{petId}', name: 'pets/get' },
  { method: 'PUT', template: '/shared', name: 'PUT /shared' },
];

describe('loadOperations', () => {
  it('reads JSON', () => {
    expect(load(json(pets))).toEqual({ operations: petOperations });
  });

  it('reads YAML, with numbers for statuses', () => {
    const text = `openapi: 3.0.3
paths:
  /pets/{id}:
    get: { operationId: getPet, responses: { 200: { description: ok } } }
`;
    expect(load(text)).toEqual({ operations: [{ method: 'GET', template: '/pets/{id}', name: 'getPet' }] });
  });

  const yaml = (paths: string, head = 'openapi: 3.1.0') => `${head}\npaths:\n${paths}`;

  it.each<[string, string, number]>([
    ['Swagger 2', 'swagger: "2.0"\npaths: {}', 1],
    ['another version', 'openapi: 4.0.0\npaths: {}', 1],
    ['no version', 'paths: {}', 1],
    ['a list', '[]', 1],
    ['no operation', yaml('  /a: {}'), 2],
    ['a path without a slash', yaml('  a: { get: {} }'), 3],
    ['a path with a query', yaml('  /a?b: { get: {} }'), 3],
    ['a brace too many', yaml('  "/a{b}}": { get: {} }'), 3],
    ['two parameters in a row', yaml('  "/{a}{b}": { get: {} }'), 3],
    ['a path item that is no object', yaml('  /a: 1'), 3],
    ['an operation that is no object', yaml('  /a:\n    get: 1'), 4],
    ['a reference to another document', yaml('  /a: { $ref: "other.yaml#/a" }'), 3],
    ['a reference to nothing', yaml('  /a: { $ref: "#/components/pathItems/a" }'), 3],
    ['a reference to a prototype', yaml('  /a: { $ref: "#/constructor" }'), 3],
    ['an id twice', yaml('  /a:\n    get: { operationId: x }\n    put: { operationId: x }'), 5],
    ['an id that is no text', yaml('  /a:\n    get: { operationId: 1 }'), 4],
    ['an empty id', yaml('  /a:\n    get: { operationId: "" }'), 4],
    ['an id with a line end', yaml('  /a:\n    get: { operationId: "a\\nb" }'), 4],
    ['an id like a path of Postern', yaml('  /a:\n    get: { operationId: "PUT /b" }'), 4],
    ['an id like a tool of Postern', yaml('  /a:\n    get: { operationId: "mcp:tools/call:x" }'), 4],
    ['ambiguous templates', yaml('  /a/{b}: { get: {} }\n  /a/{c}: { get: {} }'), 4],
    ['servers that are no list', yaml('  /a: { get: {} }', 'openapi: 3.0.0\nservers: {}'), 2],
    ['a server without a url', yaml('  /a: { get: {} }', 'openapi: 3.0.0\nservers: [{}]'), 2],
    ['a key twice', 'openapi: 3.0.0\npaths: {}\npaths: {}', 3],
    ['a key twice, in JSON', '{"openapi": "3.0.0",\n"paths": {},\n"paths": {"/a": {"get": {}}}}', 3],
    ['JSON that ends too soon', '{"openapi": "3.0.0",', 1],
  ])('tells where there is %s', (_name, text, line) => {
    const found = load(text);
    expect(found).toEqual([expect.objectContaining({ file: expect.stringContaining(folder) })]);
    expect('operations' in found ? null : found[0]?.line).toBe(line);
  });

  it('takes templates that differ in their names, where their methods differ', () => {
    expect(load(yaml('  /a/{b}: { get: {} }\n  /a/{c}: { put: {} }'))).toHaveProperty('operations');
  });

  it('tells all problems at once', () => {
    const found = load(yaml('  a: { get: {} }\n  /b: 1\n  /c:\n    get: { operationId: 1 }'));
    expect('operations' in found ? [] : found.map(({ line }) => line)).toEqual([3, 4, 6]);
  });

  it('refuses what is too large, no file, not there, or no UTF-8', () => {
    const large = written('');
    truncateSync(large, documentBytesMax + 1);
    mkdirSync(join(folder, 'folder'));
    const files = [large, join(folder, 'folder'), join(folder, 'absent'), written(Buffer.from([0xff]))];
    for (const file of files) expect(loadOperations(file)).toEqual([{ file, message: expect.any(String) }]);
  });

  it('refuses more operations than it takes', () => {
    const paths = (many: number) =>
      Object.fromEntries(Array.from({ length: many }, (_, index) => [`/p${index}`, { get: {} }]));
    expect(load(json({ openapi: '3.0.0', paths: paths(operationsMax) }))).toHaveProperty('operations');
    expect(load(json({ openapi: '3.0.0', paths: paths(operationsMax + 1) }))).toHaveLength(1);
  });
});

describe('loadDocuments', () => {
  const route = (name: string, changes: object) =>
    ({
      name,
      match: { pathPrefix: '/', methods: ['GET'] },
      upstream: 'https://api.example.com',
      stripPrefix: false,
      ...changes,
    }) as unknown as Config['routes'][number];

  it('tells the first hundred problems of a document, each in few words', () => {
    const reference = `#/${'x'.repeat(5000)}`;
    const paths = Object.fromEntries(
      Array.from({ length: 20_000 }, (_, index) => [`/p${index}`, index === 0 ? { $ref: reference } : { get: 1 }]),
    );
    const problems = loadOperations(written(json({ openapi: '3.1.0', paths })));
    if ('operations' in problems) throw new Error('found nothing wrong');
    expect(problems).toHaveLength(100);
    for (const { message } of problems) expect(message.length).toBeLessThan(300);
  });

  it('compiles the document of each route', () => {
    const openapi = written(json(pets));
    const { operations, problems, misfits } = loadDocuments([
      route('one', { openapi, upstream: 'https://api.example.com/v2/' }),
      route('two', { openapi, match: { pathPrefix: '/pets/', methods: ['GET'] }, stripPrefix: true }),
      route('none', {}),
    ]);
    expect([problems, misfits]).toEqual([[], []]);
    expect([...operations.keys()]).toEqual(['one', 'two']);
    expect(operations.get('one')?.('GET', '/v2/pets/7')).toBe('pets/get');
  });

  it('tells the problems of a document once, and those of the route at the route', () => {
    const broken = written('swagger: 2');
    const openapi = written(json(pets));
    const { problems, misfits } = loadDocuments([
      route('one', { openapi: broken }),
      route('two', { openapi: broken }),
      route('three', { openapi, upstream: 'https://api.example.com/v3' }),
      route('four', { openapi, match: { pathPrefix: '/v2/cats', methods: ['GET'] } }),
      route('five', { openapi, match: { pathPrefix: '/v2/pets/7', methods: ['GET'] } }),
    ]);
    expect(problems).toHaveLength(1);
    expect(misfits.map(({ path }) => path)).toEqual([
      ['routes', 2, 'openapi'],
      ['routes', 3, 'openapi'],
    ]);
  });
});
