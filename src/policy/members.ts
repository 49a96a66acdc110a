/** What an expression reads of maps whose names nobody has declared: which members, where it names them itself. */

import type { ASTNode } from '@marcbachmann/cel-js';
import { childrenOf } from './ast.ts';

/** Names by variable and field, such as `request.headers`; null where all of the map may be read. */
export type Members = ReadonlyMap<string, ReadonlySet<string> | null>;

const openMaps: ReadonlySet<string> = new Set([
  ...['request.headers', 'request.query', 'request.body', 'token.claims', 'mcp.tool', 'jwt'],
]);

export function membersOf(root: ASTNode): Members {
  const members = new Map<string, Set<string> | null>();
  visit(root, null, members);
  return members;
}

/** `above` is the expression that the node is directly in. */
function visit(node: ASTNode, above: ASTNode | null, members: Map<string, Set<string> | null>): void {
  const path = pathOf(node);
  if (path !== null && openMaps.has(path)) {
    const name = memberOf(node, above);
    const names = members.get(path);
    if (name === null || names === null) members.set(path, null);
    else if (names === undefined) members.set(path, new Set([name]));
    else names.add(name);
    return;
  }
  for (const child of childrenOf(node)) visit(child, node, members);
}

/** `request.headers`, also where it is written `request["headers"]`; null for everything else. */
function pathOf(node: ASTNode): string | null {
  if (node.op === 'id') return node.args;
  if (node.op === '.' && node.args[0].op === 'id') return `${node.args[0].args}.${node.args[1]}`;
  if (node.op !== '[]' || node.args[0].op !== 'id') return null;
  const [base, index] = node.args;
  return index.op === 'value' && typeof index.args === 'string' ? `${base.args}.${index.args}` : null;
}

/** The member that is asked for; null where it is not written as a literal, or something else is asked. */
function memberOf(node: ASTNode, above: ASTNode | null): string | null {
  if (above?.op === '.' && above.args[0] === node) return above.args[1];
  const name =
    (above?.op === '[]' && above.args[0] === node && above.args[1]) ||
    (above?.op === 'in' && above.args[1] === node && above.args[0]);
  return typeof name === 'object' && name.op === 'value' && typeof name.args === 'string' ? name.args : null;
}
