import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Problem } from '../src/errors.ts';
import { parseYaml, pathName, readYaml, suggestion, vetYaml, type YamlSource } from '../src/yaml-source.ts';

function sourceOf(text: string): YamlSource {
  const source = parseYaml('x.yaml', text);
  if (!('value' in source)) throw new Error(`no YAML: ${JSON.stringify(source)}`);
  return source;
}

function problemsOf(text: string, schema: z.ZodType = z.unknown()): readonly Problem[] {
  const source = parseYaml('x.yaml', text);
  if (!('value' in source)) return source;
  const vetted = vetYaml(source, schema);
  return 'value' in vetted ? [] : vetted;
}

const folder = mkdtempSync(join(tmpdir(), 'postern-yaml-'));
async function read(bytes: string | Buffer): Promise<readonly Problem[] | YamlSource> {
  const file = join(folder, 'x.yaml');
  writeFileSync(file, bytes);
  return readYaml(file);
}

describe('reading YAML', () => {
  it.each([
    ['a key given twice', 'a: 1\nb: 2\na: 3\n', 3, 1],
    ['a key given twice further down', 'a:\n  b: 1\n  b: 2\n', 3, 3],
    ['a bracket that is never closed', 'a: [1,\n', 2, 1],
    ['a tab as indentation', 'a:\n\tb: 1\n', 2, 1],
    ['a second document', 'a: 1\n---\nb: 2\n', 2, 1],
    ['a tag that nobody knows', 'a: !!js/function "x"\n', 1, 4],
    ['an alias of nothing', 'a: *nothing\n', 1, 4],
  ])('finds %s at its place', (_name, text, line, column) => {
    expect(problemsOf(text)[0]).toMatchObject({ file: 'x.yaml', line, column });
  });

  it('takes YAML 1.2: no and on are words', () => {
    expect(sourceOf('a: no\nb: on\nc: 0o17\nd: 1e3').value).toEqual({ a: 'no', b: 'on', c: 15, d: 1000 });
  });

  it('takes aliases, but no more than a person would write', () => {
    expect(sourceOf('a: &x [1]\nb: *x\n').value).toEqual({ a: [1], b: [1] });
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x,x]'];
    for (const [one, other] of ['ab', 'bc', 'cd', 'de', 'ef']) {
      bomb.push(`${other}: &${other} [${Array(10).fill(`*${one}`).join(',')}]`);
    }
    expect(problemsOf(bomb.join('\n'))).toEqual([{ file: 'x.yaml', message: expect.stringContaining('anchors') }]);
  });

  it('takes the largest of mappings, and tells the first hundred of its problems, without stopping all else', () => {
    const keys = Array.from({ length: 100_000 }, (_, index) => `k${index.toString(36)}: 1`);
    const startedMs = performance.now();
    expect(problemsOf(keys.join('\n'), z.strictObject({}))).toHaveLength(100);
    expect(problemsOf([...keys, ...keys].join('\n').slice(0, 1_500_000))).toHaveLength(100);
    // Comparing each key with each other one takes minutes.
    expect(performance.now() - startedMs).toBeLessThan(30_000);
  }, 60_000);

  it('makes no prototype of a key', () => {
    const { value } = sourceOf('__proto__: { polluted: true }\n');
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect((value as { polluted?: true }).polluted).toBeUndefined();
  });

  it.each([
    ['a file that is not there', async () => readYaml(join(folder, 'nowhere.yaml')), 'ENOENT'],
    ['a folder', async () => readYaml(folder), 'EISDIR'],
    ['more than a mebibyte', async () => read(`a: "${'x'.repeat(1_048_576)}"`), 'larger than 1 MiB'],
    ['a file without end', async () => readYaml('/dev/zero'), 'larger than 1 MiB'],
    ['bytes that are not UTF-8', async () => read(Buffer.from([0x61, 0x3a, 0x20, 0xff])), 'UTF-8'],
  ])('refuses %s', async (_name, from, expected) => {
    expect(await from()).toEqual([{ file: expect.any(String), message: expect.stringContaining(expected) }]);
  });

  it('takes a whole mebibyte', async () => {
    expect(await read(`a: "${'x'.repeat(1_048_576 - 6)}"\n`.slice(0, 1_048_576))).toHaveProperty('value');
  });
});

describe('places', () => {
  const source = sourceOf('a:\n  - b: 1\n    "c d":   two\n  - {e: [3, 4]}\nf:\n');

  it.each<[readonly (string | number)[], number, number]>([
    [['a', 0, 'b'], 2, 8],
    [['a', 0, 'c d'], 3, 14],
    [['a', 1, 'e', 1], 4, 13],
    [['a', 1], 4, 5],
    [[], 1, 1],
  ])('%j', (path, line, column) => {
    expect(source.placeOf(path)).toEqual({ line, column });
  });

  it('are those of a key where that is asked for', () => {
    expect(source.placeOf(['a', 0, 'c d'], 'key')).toEqual({ line: 3, column: 5 });
    expect(source.placeOf(['f'], 'key')).toEqual({ line: 5, column: 1 });
  });

  it('are those of the nearest ancestor where a path leads nowhere', () => {
    expect(source.placeOf(['a', 0, 'missing', 'deeper'])).toEqual({ line: 2, column: 5 });
    expect(source.placeOf(['missing'])).toEqual({ line: 1, column: 1 });
  });

  it('exist even in nothing', () => {
    expect(sourceOf('').placeOf(['a'])).toEqual({ line: 1, column: 1 });
  });
});

describe('vetting', () => {
  const schema = z.strictObject({
    name: z.string(),
    size: z.int().min(1).optional(),
    kind: z.enum(['red', 'green']).optional(),
    from: z.union([z.strictObject({ file: z.string() }), z.strictObject({ env: z.string() })]).optional(),
    list: z.array(z.strictObject({ id: z.string() })).optional(),
    table: z.record(z.string().regex(/^[a-z]+$/, 'must be lower case'), z.strictObject({ x: z.int() })).optional(),
  });

  it('gives the parsed value', () => {
    const vetted = vetYaml(sourceOf('name: x'), schema);
    expect(vetted).toEqual({ value: { name: 'x' } });
  });

  it.each([
    ['size: 1', 'name is required'],
    ['name: 1', 'name must be of type string, not number'],
    ['name: x\nsize: many', 'size must be of type number, not string'],
    ['name: x\nkind: blue', 'kind must be one of red, green'],
    ['name: x\nnane: y', 'unknown key nane; did you mean "name"?'],
    ['name: x\nlist: [{id: a}, {idd: b, id: c}]', 'unknown key list[1].idd; did you mean "id"?'],
    ['name: x\nfrom: {fil: a}', 'unknown key from.fil; did you mean "file"?'],
    ['name: x\nfrom: {env: 1}', 'from.env must be of type string, not number'],
    ['name: x\nfrom: 5', 'from has none of the forms'],
    ['name: x\ntable: {A: {x: 1}}', 'table.A has an invalid name: must be lower case'],
    ['name: x\ntable: {a: {y: 1, x: 2}}', 'unknown key table.a.y'],
    ['[]', 'the file must be of type object, not array'],
    ['', 'the file must be of type object, but nothing stands there'],
    ['name:', 'name must be of type string, but nothing stands there'],
  ])('says of %j: %s', (text, expected) => {
    const messages = problemsOf(text, schema).map(({ message }) => message);
    expect(messages.some((message) => message.startsWith(expected))).toBe(true);
  });

  it('finds every problem, each at its own place', () => {
    const text = 'nam: x\nsize: 0\nlist:\n  - id: 1\n  - ix: b\n    id: c\n';
    const places = problemsOf(text, schema).map(({ line, column }) => `${line}:${column}`);
    expect(new Set(places)).toEqual(new Set(['1:1', '2:7', '4:9', '5:5']));
  });

  it('tells a misspelt key once, and not once more as one that is missing', () => {
    expect(problemsOf('nmae: x\n', schema).map(({ message }) => message)).toEqual([
      'unknown key nmae; did you mean "name"?',
    ]);
    // What is there and wrong is told beside it.
    expect(problemsOf('nmae: x\nname: 1\n', schema)).toHaveLength(2);
    expect(problemsOf('zzzzzz: x\n', schema)).toHaveLength(2);
  });

  it('never repeats a value, which could be a secret in the wrong place', () => {
    const text = 'name: [sk-secret]\nkind: sk-secret\nfrom: sk-secret\nsize: sk-secret\nlist: sk-secret\n';
    const problems = problemsOf(text, schema);
    expect(problems.length).toBe(5);
    expect(JSON.stringify(problems)).not.toContain('sk-secret');
  });
});

describe('suggestions', () => {
  it('name the nearest, or all where none is near and there are few', () => {
    expect(suggestion('adress', ['address', 'hosts'])).toBe('; did you mean "address"?');
    expect(suggestion('TLS', ['tls'])).toBe('; did you mean "tls"?');
    expect(suggestion('zzzzzz', ['address', 'hosts'])).toBe('; known here: address, hosts');
    expect(suggestion('x', [])).toBe('');
    expect(
      suggestion(
        'zzzzzz',
        Array.from({ length: 13 }, (_, index) => `name-number-${index}`),
      ),
    ).toBe('');
  });
});

describe('path names', () => {
  it('are written as people write them', () => {
    expect(pathName(['routes', 0, 'match', 'hosts', 2])).toBe('routes[0].match.hosts[2]');
    expect(pathName([0])).toBe('[0]');
  });
});
