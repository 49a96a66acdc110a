/** The operations of an OpenAPI document (3.0 to 3.2): which methods and path templates there are, and their names. */

import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { Problem } from '../../errors.ts';
import { isJsonObject, parseStrictJson } from '../../strict-json.ts';
import { parseYaml } from '../../yaml-source.ts';
import { type Operation, shapeOf } from './path-trie.ts';

export const documentBytesMax = 16_777_216;
export const operationsMax = 5000;
const jsonDepthMax = 128;
const serversMax = 16;
const nameCharsMax = 200;
/** With more of them something is wrong that the first ones show. */
const problemsMax = 100;

/** As OpenAPI 3.1 §4.8.9 names them; 3.2 adds `query`. */
const methods = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'] as const;

type Path = readonly string[];
type Json = Readonly<Record<string, unknown>>;

type Loaded = { readonly operations: readonly Operation[] } | readonly Problem[];

/** What a document says, read whole, or all that is wrong with it. */
export function loadOperations(file: string): Loaded {
  const text = readText(file);
  if (text === null) return [{ file, message: 'cannot be read; check the path and its permissions' }];
  return typeof text === 'string' ? parse(file, text) : [{ file, message: text.message }];
}

function parse(file: string, text: string): Loaded {
  // Documents in JSON can be large, and are read fast. Where something is wrong they are read again as YAML, which knows
  // where everything stands.
  const fast = text.trimStart().startsWith('{') ? parseStrictJson(text, { maxDepth: jsonDepthMax }) : undefined;
  let yaml: ReturnType<typeof parseYaml> | null = null;
  const open = () => {
    yaml ??= parseYaml(file, text);
    return yaml;
  };
  const source = fast === undefined ? open() : { value: fast };
  if (!('value' in source)) return source;
  const { operations, problems } = collect(source.value);
  if (problems.length === 0) return { operations };
  const opened = open();
  return problems.map(({ path, message }) => ({
    file,
    ...('value' in opened ? opened.placeOf(path, 'key') : {}),
    message,
  }));
}

type Found = {
  readonly operations: Operation[];
  readonly problems: { readonly path: Path; readonly message: string }[];
};

function collect(document: unknown): Found {
  const found: Found = { operations: [], problems: [] };
  if (!isJsonObject(document)) return report(found, [], 'is no OpenAPI document');
  const { openapi, swagger, paths = {} } = document;
  if (swagger !== undefined) return report(found, ['swagger'], 'is Swagger 2; convert it to OpenAPI 3');
  if (typeof openapi !== 'string' || !/^3\.[0-2]\.\d{1,4}(-\w+)?$/.test(openapi)) {
    return report(found, ['openapi'], 'openapi must be 3.0, 3.1 or 3.2');
  }
  if (!isJsonObject(paths)) return report(found, ['paths'], 'paths must be an object');
  const seen: Seen = { ids: new Map(), shapes: new Map() };
  const bases = basesOf(found, document.servers, ['servers']);
  for (const [template, written] of Object.entries(paths)) {
    if (template.startsWith('x-')) continue;
    if (found.problems.length >= problemsMax) break;
    const path = ['paths', template];
    const fault = templateFault(template);
    const item = resolve(document, written);
    if (fault !== null) report(found, path, fault);
    else if (typeof item === 'string') report(found, path, item);
    else collectItem(found, seen, item, { template, path, bases });
    if (found.operations.length > operationsMax) return report(found, path, `is beyond ${operationsMax} operations`);
  }
  if (found.operations.length === 0 && found.problems.length === 0) report(found, ['paths'], 'holds no operation');
  return found;
}

function report(found: Found, path: Path, message: string): Found {
  if (found.problems.length < problemsMax) found.problems.push({ path, message });
  return found;
}

type Seen = { readonly ids: Map<string, string>; readonly shapes: Map<string, string> };
type Item = { readonly template: string; readonly path: Path; readonly bases: readonly string[] };

function collectItem(found: Found, seen: Seen, item: Json, { template, path, bases }: Item): void {
  const itemBases = item.servers === undefined ? bases : basesOf(found, item.servers, [...path, 'servers']);
  for (const method of methods) {
    const operation = item[method];
    if (operation === undefined) continue;
    const place = [...path, method];
    if (!isJsonObject(operation)) {
      report(found, place, 'must be an object');
      continue;
    }
    const { operationId, servers } = operation;
    const plain = `${method.toUpperCase()} ${template}`;
    const name = operationId ?? plain;
    const fault = typeof name === 'string' ? nameFault(name, plain) : 'operationId must be a string';
    if (fault !== null || typeof name !== 'string') {
      report(found, [...place, 'operationId'], fault ?? '');
      continue;
    }
    const same = seen.ids.get(name);
    // OpenAPI 3.1 §4.8.10: the id is unique among all operations.
    if (same !== undefined) report(found, [...place, 'operationId'], `operationId ${name} is that of ${same}`);
    seen.ids.set(name, plain);
    const ownBases = servers === undefined ? itemBases : basesOf(found, servers, [...place, 'servers']);
    for (const base of ownBases) {
      const whole = `${base}${template}`;
      const shape = `${method} ${shapeOf(whole)}`;
      const twin = seen.shapes.get(shape);
      // OpenAPI 3.1 §4.8.8.1: templates that differ in the names of their parameters only are identical.
      if (twin !== undefined) report(found, place, `is ambiguous: ${plain} takes the same paths as ${twin}`);
      seen.shapes.set(shape, plain);
      found.operations.push({ method: method.toUpperCase(), template: whole, name });
    }
  }
}

/** A path item may be written elsewhere in the same document. A string says why it can't be had. */
function resolve(document: Json, written: unknown): Json | string {
  if (!isJsonObject(written)) return 'must be an object';
  const { $ref: reference } = written;
  if (reference === undefined) return written;
  if (typeof reference !== 'string' || !reference.startsWith('#/')) {
    return 'refers to another document; bundle them into one';
  }
  // RFC 6901 §3 and §6: a fragment is percent-encoded, and ~1 is a slash.
  const steps = reference.slice(2).split('/');
  let value: unknown = document;
  for (const step of steps) {
    const name = decode(step).replaceAll('~1', '/').replaceAll('~0', '~');
    value = isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
  }
  if (!isJsonObject(value)) return `refers to ${shortened(reference)}, which is not there`;
  return '$ref' in value ? `refers to ${shortened(reference)}, which refers on` : value;
}

const shortened = (text: string) => (text.length > nameCharsMax ? `${text.slice(0, nameCharsMax)}…` : text);

function templateFault(template: string): string | null {
  if (!template.startsWith('/')) return 'must begin with a slash';
  if (template.length > 2048) return 'is longer than 2048 characters';
  if (/[?#\s\\]/.test(template)) return 'holds a query, a fragment, a blank or a backslash';
  // What is left when parameters are taken out holds no brace; two in a row could be split in any way.
  if (/[{}]/.test(template.replaceAll(/\{[^{}/]+\}/g, ''))) return 'has a brace without its pair';
  return /\}\{/.test(template) ? 'has two parameters in a row' : null;
}

/** Ids are taken as they are, but none may look like a name that Postern gives itself. */
function nameFault(name: string, plain: string): string | null {
  if (name === plain) return null;
  if (name === '' || name.length > nameCharsMax) return `operationId must have 1 to ${nameCharsMax} characters`;
  if (/[^\x20-\x7e\u00a0-\ud7ff]/.test(name)) return 'operationId holds control characters';
  return /^mcp:/i.test(name) || /^[A-Z]+ \//.test(name) ? 'operationId looks like a name of another kind' : null;
}

/** The paths under which the servers offer everything; the default for no servers is `/` (OpenAPI 3.1 §4.8.1). */
function basesOf(found: Found, servers: unknown, path: Path): readonly string[] {
  if (servers === undefined) return [''];
  if (!Array.isArray(servers) || servers.length > serversMax) {
    report(found, path, `must be a list of ${serversMax} servers at most`);
    return [];
  }
  const bases = new Set<string>(servers.length === 0 ? [''] : []);
  for (const server of servers) {
    const base = isJsonObject(server) && typeof server.url === 'string' ? baseOf(server.url, server.variables) : null;
    if (base === null) report(found, path, 'holds a server without a usable url');
    else bases.add(base);
  }
  return [...bases];
}

function baseOf(url: string, variables: unknown): string | null {
  const filled = url.replaceAll(/\{([^{}]{1,256})\}/g, (_whole, name: string) => {
    const variable = isJsonObject(variables) && Object.hasOwn(variables, name) ? variables[name] : undefined;
    return isJsonObject(variable) ? String(variable.default) : '';
  });
  // A relative url is relative to where the document is served; its path is all that is asked here.
  if (!URL.canParse(filled, 'http://server.invalid')) return null;
  const { pathname } = new URL(filled, 'http://server.invalid');
  return pathname.endsWith('/') ? pathname.slice(0, -1) : pathname;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Null where the file can't be read. Never waits: without O_NONBLOCK, opening a pipe waits for its writer. */
function readText(file: string): string | { readonly message: string } | null {
  let descriptor: number | null = null;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = fstatSync(descriptor);
    if (!fstatSync(descriptor).isFile()) return { message: 'is not a regular file' };
    if (size > documentBytesMax) return { message: 'is larger than 16 MiB' };
    const bytes = Buffer.alloc(size);
    const length = readSync(descriptor, bytes, 0, size, 0);
    const content = bytes.subarray(0, length);
    return isUtf8(content) ? content.toString('utf8') : { message: 'is not written in UTF-8' };
  } catch {
    return null;
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}
