/** Which expressions can end in an evaluation error. */

import type { ASTNode } from '@marcbachmann/cel-js';
import { childrenOf, typeOf } from './ast.ts';
import { checkedPrefix } from './functions.ts';
import { optionalFields } from './variables.ts';

const safeMethods: ReadonlySet<string> = new Set([
  ...['startsWith', 'endsWith'],
  ...['contains', 'size', 'lowerAscii', 'matches'].map((name) => `${checkedPrefix}${name}`),
]);
const safeOperators: ReadonlySet<string> = new Set(['value', 'id', '&&', '||', '!_', '==', '!=', 'in', 'list', '?:']);
const ordering: ReadonlySet<string> = new Set(['<', '<=', '>', '>=']);

/** Whether evaluation can end in an error: whatever reads a part, converts, computes, or does not know its types. */
export function canFail(node: ASTNode): boolean {
  const children = childrenOf(node);
  const isSafe =
    safeOperators.has(node.op) ||
    (ordering.has(node.op) && children.every(isPlain)) ||
    (node.op === 'rcall' && safeMethods.has(node.args[0]) && children.every(isPlain));
  return !(isSafe || isSureField(node)) || children.some(canFail);
}

/** A field of a record that is always there. */
function isSureField(node: ASTNode): boolean {
  if (node.op !== '.') return false;
  const type = typeOf(node.args[0]);
  return type?.kind === 'message' && !optionalFields.has(`${type.name}.${node.args[1]}`);
}

/** Compared in one step: a primitive, a timestamp or a duration. */
export function isPlain(node: ASTNode): boolean {
  const kind = typeOf(node)?.kind;
  return kind === 'primitive' || kind === 'message';
}
