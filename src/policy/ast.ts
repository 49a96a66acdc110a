/** Looking at the engine's syntax tree. */

import type { ASTNode, TypeDeclaration } from '@marcbachmann/cel-js';

/** The type that the check found. The engine keeps it on the node, though its declarations don't say so. */
export function typeOf(node: ASTNode): TypeDeclaration | undefined {
  return (node as { readonly checkedType?: TypeDeclaration }).checkedType;
}

/** The expressions inside an expression, in the order they are written. */
export function childrenOf(node: ASTNode): readonly ASTNode[] {
  switch (node.op) {
    case 'value':
    case 'id':
      return [];
    case '.':
    case '.?':
      return [node.args[0]];
    case 'call':
      return node.args[1];
    case 'rcall':
      return [node.args[1], ...node.args[2]];
    case 'map':
      return node.args.flat();
    case '!_':
    case '-_':
      return [node.args];
    default:
      return node.args;
  }
}

/** The expression as it was written. */
export function written({ input, start, end }: ASTNode): string {
  return input.slice(start, end);
}
