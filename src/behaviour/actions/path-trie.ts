/** Path templates, compiled: which of them a path is. Literals go before parameters, segment by segment. */

/** One operation: its method, its template as `/pets/{petId}`, and what it is called. */
export type Operation = { readonly method: string; readonly template: string; readonly name: string };

/** The operation's name; null where no template with this method is this path. */
export type FindOperation = (method: string, path: string) => string | null;

type Node = {
  readonly literals: Map<string, Node>;
  /** Segments that hold more than one parameter: `{name}.json`. The one with the most literal text first. */
  readonly mixed: { readonly parts: readonly string[]; readonly node: Node }[];
  parameter: Node | null;
  readonly names: Map<string, string>;
};

const newNode = (): Node => ({ literals: new Map(), mixed: [], parameter: null, names: new Map() });

/**
 * Each node is reached by one way only, so a look-up visits no node twice, however it has to turn back. Of two operations
 * that are the same but for the names of their parameters the first is found: see `shapeOf`.
 */
export function createFindOperation(operations: readonly Operation[]): FindOperation {
  const root = newNode();
  for (const { method, template, name } of operations) {
    const node = segmentsOf(template).reduce(childOf, root);
    if (!node.names.has(method)) node.names.set(method, name);
  }
  sortMixed(root);
  return (method, path) => {
    const segments = segmentsOf(path).map(decode);
    // RFC 9110 §9.3.2: HEAD asks for what GET would give, so where nothing else is said it is that operation.
    return find(root, segments, 0, method) ?? (method === 'HEAD' ? find(root, segments, 0, 'GET') : null);
  };
}

/** What of a template decides which paths it is: two templates of one shape are ambiguous. */
export function shapeOf(template: string): string {
  return segmentsOf(template)
    .map((segment) => (isPlain(segment) ? `/${decode(segment)}` : `/${partsOf(segment).join('{}')}`))
    .join('');
}

function segmentsOf(path: string): string[] {
  return path.slice(1).split('/');
}

const isPlain = (segment: string) => !segment.includes('{');

/** The literal text around the parameters of a segment: `{a}-{b}.json` as ['', '-', '.json']. */
function partsOf(segment: string): readonly string[] {
  return segment.split(/\{[^{}]*\}/).map(decode);
}

function childOf(node: Node, segment: string): Node {
  if (isPlain(segment)) {
    const text = decode(segment);
    const known = node.literals.get(text) ?? newNode();
    node.literals.set(text, known);
    return known;
  }
  const parts = partsOf(segment);
  if (parts.length === 2 && parts.join('') === '') {
    node.parameter ??= newNode();
    return node.parameter;
  }
  const same = node.mixed.find((mixed) => mixed.parts.join('{}') === parts.join('{}'));
  if (same !== undefined) return same.node;
  const child = newNode();
  node.mixed.push({ parts, node: child });
  return child;
}

function sortMixed(node: Node): void {
  const weight = (parts: readonly string[]) => parts.join('').length;
  node.mixed.sort(
    (one, other) => weight(other.parts) - weight(one.parts) || (one.parts.join('{}') < other.parts.join('{}') ? -1 : 1),
  );
  for (const child of [...node.literals.values(), ...node.mixed.map(({ node: inner }) => inner)]) sortMixed(child);
  if (node.parameter !== null) sortMixed(node.parameter);
}

function find(node: Node, segments: readonly string[], at: number, method: string): string | null {
  const segment = segments[at];
  if (segment === undefined) return node.names.get(method) ?? null;
  const literal = node.literals.get(segment);
  if (literal !== undefined) {
    const found = find(literal, segments, at + 1, method);
    if (found !== null) return found;
  }
  for (const { parts, node: child } of node.mixed) {
    if (!fits(segment, parts)) continue;
    const found = find(child, segments, at + 1, method);
    if (found !== null) return found;
  }
  // An empty segment is no value: `/pets/` is not `/pets/{petId}`.
  return node.parameter === null || segment === '' ? null : find(node.parameter, segments, at + 1, method);
}

/** Whether text stands between the parts, at least one character at each place. Never turns back. */
function fits(segment: string, parts: readonly string[]): boolean {
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  if (!segment.startsWith(first) || !segment.endsWith(last)) return false;
  const end = segment.length - last.length;
  let from = first.length;
  for (let index = 1; index < parts.length - 1; index++) {
    const part = parts[index] ?? '';
    const found = segment.indexOf(part, from + 1);
    if (found < 0 || found > end) return false;
    from = found + part.length;
  }
  return from < end;
}

/** The canonical path keeps escapes of reserved characters as they were sent; `%40` and `@` are the same segment. */
function decode(segment: string): string {
  if (!segment.includes('%')) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
