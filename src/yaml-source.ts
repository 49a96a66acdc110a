/** YAML that people wrote, vetted against a zod schema, with every problem placed at its line and column. */

import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import leven from 'leven';
import {
  type Alias,
  type Document,
  isMap,
  isNode,
  isPair,
  isSeq,
  LineCounter,
  type Node,
  type ParsedNode,
  parseDocument,
  visit,
} from 'yaml';
import { z } from 'zod';
import type { Problem } from './errors.ts';

const bytesMax = 1_048_576;
/** Of one file. With more of them something is wrong that the first ones show. */
const problemsMax = 100;

export type YamlSource = {
  readonly file: string;
  readonly text: string;
  readonly value: unknown;
  /** Where the node at this path begins; the nearest ancestor's place where the path leads nowhere. */
  placeOf(path: readonly PropertyKey[], part?: 'key' | 'value'): { line: number; column: number };
  /** Offset in `text` at which the node's source begins. */
  nodeAt(path: readonly PropertyKey[]): Node | null;
  lineCounter: LineCounter;
};

/** Reads and parses a file. Duplicate keys, anchors beyond reason, tags and syntax errors are problems. */
export async function readYaml(file: string): Promise<YamlSource | readonly Problem[]> {
  let bytes: Buffer;
  try {
    bytes = await readBounded(file);
  } catch (error) {
    return [{ file, message: `cannot be read (${codeOf(error)}); check the path and its permissions` }];
  }
  if (bytes.length > bytesMax) return [{ file, message: 'is larger than 1 MiB' }];
  if (!isUtf8(bytes)) return [{ file, message: 'is not written in UTF-8' }];
  return parseYaml(file, bytes.toString('utf8'));
}

/** One byte more than is allowed at most, so that too large is seen and nothing huge is loaded. Takes pipes too. */
async function readBounded(file: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(file, { end: bytesMax })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** As readYaml, for text already at hand. */
export function parseYaml(file: string, text: string): YamlSource | readonly Problem[] {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, {
    lineCounter,
    // The library compares each key with each other one: see findRepeatedKeys.
    uniqueKeys: false,
    // No schema here has other keys, and what else could stand for one is a slip of the pen.
    stringKeys: true,
    prettyErrors: false,
    strict: true,
    version: '1.2',
  });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    return faults.slice(0, problemsMax).map((fault) => {
      const { line, col } = lineCounter.linePos(fault.pos[0]);
      return { file, line, column: col, message: fault.message };
    });
  }
  const repeated = findRepeatedKeys(document);
  if (repeated.length > 0) {
    return repeated.map(({ range }) => {
      const { line, col } = lineCounter.linePos(range?.[0] ?? 0);
      return { file, line, column: col, message: 'Map keys must be unique' };
    });
  }
  const strayAliases = findStrayAliases(document);
  if (strayAliases.length > 0) {
    return strayAliases.slice(0, problemsMax).map(({ source, range }) => {
      const { line, col } = lineCounter.linePos(range?.[0] ?? 0);
      return { file, line, column: col, message: `*${source} refers to no anchor that comes before it` };
    });
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 50 });
  } catch {
    return [{ file, message: 'refers to its anchors too often; write the values out' }];
  }
  const nodeAt = (path: readonly PropertyKey[]) => nodeOf(document.contents, path);
  const placeOf = (path: readonly PropertyKey[], part: 'key' | 'value' = 'value') => {
    const offset = offsetOf(document.contents, path, part);
    const { line, col } = lineCounter.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  return { file, text, value, placeOf, nodeAt, lineCounter };
}

/** YAML 1.2 §3.2.1.1: no two keys of a mapping are equal. Which of two would count, readers do not agree on. */
function findRepeatedKeys(document: Document.Parsed): readonly Node[] {
  const repeated: Node[] = [];
  visit(document, {
    Map: (_key, { items }) => {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        const name = keyOf(key);
        if (seen.has(name) && isNode(key) && repeated.length < problemsMax) repeated.push(key);
        seen.add(name);
      }
    },
  });
  return repeated;
}

function findStrayAliases(document: Document.Parsed): readonly Alias[] {
  const anchors = new Set<string>();
  const stray: Alias[] = [];
  visit(document, {
    Value: (_key, { anchor }) => {
      if (anchor !== undefined) anchors.add(anchor);
    },
    Alias: (_key, alias) => {
      if (!anchors.has(alias.source)) stray.push(alias);
    },
  });
  return stray;
}

function nodeOf(root: ParsedNode | null, path: readonly PropertyKey[]): Node | null {
  let node: unknown = root;
  for (const step of path) {
    if (isMap(node)) node = node.items.find((item) => keyOf(item.key) === step)?.value;
    else if (isSeq(node)) node = node.items[Number(step)];
    else return null;
  }
  return isNode(node) ? node : null;
}

function offsetOf(root: ParsedNode | null, path: readonly PropertyKey[], part: 'key' | 'value'): number {
  let offset = root?.range?.[0] ?? 0;
  let node: unknown = root;
  for (const [index, step] of path.entries()) {
    const isLast = index === path.length - 1;
    if (isMap(node)) {
      const pair = node.items.find((item) => keyOf(item.key) === step);
      if (!isPair(pair)) return offset;
      const target = isLast && part === 'key' ? pair.key : (pair.value ?? pair.key);
      offset = startOf(target) ?? startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = startOf(node) ?? offset;
    } else {
      return offset;
    }
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function keyOf(key: unknown): unknown {
  return typeof key === 'object' && key !== null && 'value' in key ? key.value : key;
}

/** Vets a source against a schema: the parsed value, or every problem with its place. */
export function vetYaml<Schema extends z.ZodType>(
  source: YamlSource,
  schema: Schema,
): { readonly value: z.output<Schema> } | readonly Problem[] {
  const result = schema.safeParse(source.value);
  if (result.success) return { value: result.data };
  const jsonSchema = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
  const problems: Problem[] = [];
  const { issues } = result.error;
  const meant = meantKeys(issues, jsonSchema);
  for (const issue of issues) {
    if (problems.length >= problemsMax) break;
    // A key that is misspelt is told as that, and not once more as one that is missing.
    if (meant.has(pathName(issue.path)) && source.nodeAt(issue.path) === null) continue;
    problems.push(...problemsOf(issue, [], source, jsonSchema));
  }
  return problems;
}

/** Paths of the keys that unknown ones seem to stand for. */
function meantKeys(issues: readonly z.core.$ZodIssue[], jsonSchema: JsonSchema): ReadonlySet<string> {
  const meant = new Set<string>();
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') continue;
    const known = knownKeys(jsonSchema, issue.path);
    for (const key of issue.keys.slice(0, problemsMax)) {
      const near = nearKey(key, known);
      if (near !== null && near !== key) meant.add(pathName([...issue.path, near]));
    }
  }
  return meant;
}

/** The few members of a JSON Schema that lead to the keys known at a path. */
type JsonSchema = {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
};

function problemsOf(
  issue: z.core.$ZodIssue,
  parents: readonly PropertyKey[],
  source: YamlSource,
  jsonSchema: JsonSchema,
): Problem[] {
  const path = [...parents, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(jsonSchema, path);
    return issue.keys.slice(0, problemsMax).map((key) => ({
      file: source.file,
      ...source.placeOf([...path, key], 'key'),
      message: `unknown key ${pathName([...path, key])}${suggestion(key, known)}`,
    }));
  }
  if (issue.code === 'invalid_union') {
    const branch = likelyBranch(issue.errors);
    if (branch !== null) return branch.flatMap((inner) => problemsOf(inner, path, source, jsonSchema));
  }
  const name = path.length === 0 ? 'the file' : pathName(path);
  return [{ file: source.file, ...source.placeOf(path), message: `${name} ${messageOf(issue)}` }];
}

/** `routes[0].match.pathPrefix`, as people write it. */
export function pathName(path: readonly PropertyKey[]): string {
  return path
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : `${index === 0 ? '' : '.'}${String(step)}`))
    .join('');
}

/** The union member that the writer most likely meant: one whose shape fits, with the fewest faults inside. */
function likelyBranch(branches: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] | null {
  const inside = branches.filter((issues) =>
    issues.every((issue) => issue.path.length > 0 || issue.code === 'unrecognized_keys'),
  );
  const rooted = inside.filter((issues) => issues.some((issue) => issue.code !== 'unrecognized_keys'));
  const candidates = rooted.length > 0 ? rooted : inside;
  return candidates.toSorted((one, other) => one.length - other.length)[0] ?? null;
}

function messageOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type' && issue.input === undefined && /received undefined$/.test(issue.message))
    return 'is required';
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.map(String).join(', ')}`;
  if (issue.code === 'invalid_union')
    return 'has none of the forms that are possible here; see the configuration reference';
  if (issue.code === 'invalid_key')
    return `has an invalid name: ${issue.issues.map((inner) => inner.message).join('; ')}`;
  return (
    issue.message
      .replace(/^Invalid input: expected (\w+), received (\w+)$/, 'must be of type $1, not $2')
      // YAML's null is what stands where nothing was written, as in an empty file or after a key.
      .replace(/, not null$/, ', but nothing stands there')
  );
}

function knownKeys(schema: JsonSchema, path: readonly PropertyKey[]): readonly string[] {
  const here = path.reduce<readonly JsonSchema[]>(
    (schemas, step) => schemas.flatMap((one) => descend(one, step)),
    [schema],
  );
  return here.flatMap(members).flatMap((one) => Object.keys(one.properties ?? {}));
}

function members(schema: JsonSchema): readonly JsonSchema[] {
  const alternatives = schema.anyOf ?? schema.oneOf;
  return alternatives === undefined ? [schema] : alternatives.flatMap(members);
}

function descend(schema: JsonSchema, step: PropertyKey): readonly JsonSchema[] {
  return members(schema).flatMap((one) => {
    if (typeof step === 'number') return one.items === undefined ? [] : [one.items];
    const property = one.properties?.[String(step)];
    if (property !== undefined) return [property];
    return typeof one.additionalProperties === 'object' ? [one.additionalProperties] : [];
  });
}

/** `; did you mean "x"?` with the nearest of the known names, or what there is to choose from. */
export function suggestion(name: string, known: readonly string[]): string {
  const near = nearKey(name, known);
  if (near !== null) return `; did you mean "${near}"?`;
  return known.length > 12 || known.length === 0 ? '' : `; known here: ${known.join(', ')}`;
}

/** The nearest of the known names, where it is near enough to have been meant. */
function nearKey(name: string, known: readonly string[]): string | null {
  const [nearest] = known
    .map((candidate) => ({ candidate, distance: leven(name.toLowerCase(), candidate.toLowerCase()) }))
    .toSorted((one, other) => one.distance - other.distance);
  if (nearest === undefined || nearest.distance > Math.max(2, Math.floor(name.length / 3))) return null;
  return nearest.candidate;
}

function codeOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : 'unknown error';
}
