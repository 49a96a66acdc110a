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

/** Whether `mcp.tool` is looked at otherwise than for its name or for being there: then its arguments count, too. */
export function readsToolArguments(node: ASTNode): boolean {
  if (node.op === '.' && node.args[1] === 'name' && isTool(node.args[0])) return false;
  if (node.op === 'call' && node.args[0] === 'has' && isTool(node.args[1][0])) return false;
  return isTool(node) || childrenOf(node).some(readsToolArguments);
}

function isTool(node: ASTNode | undefined): boolean {
  if (node?.op === '.') return node.args[1] === 'tool' && isMcp(node.args[0]);
  return node?.op === '[]' && node.args[1].op === 'value' && node.args[1].args === 'tool' && isMcp(node.args[0]);
}

const isMcp = (node: ASTNode) => node.op === 'id' && node.args === 'mcp';

/** The expression as it was written. */
export function written({ input, start, end }: ASTNode): string {
  return input.slice(start, end);
}
