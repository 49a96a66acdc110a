/**
 * The CEL guard, after the type check: what needs types to be refused. Timestamps, durations and ranges are objects of
 * the runtime, so no field of theirs may be read, and they may not be mixed into values of unknown type, where nothing
 * could tell any more. And the engine checks no more than the first name in `has()`, so the rest is checked here.
 */

import type { ASTNode, TypeDeclaration } from '@marcbachmann/cel-js';
import { childrenOf, typeOf } from './ast.ts';
import type { ExpressionProblem } from './expression.ts';
import { nearest } from './guard.ts';
import type { Declarations } from './variables.ts';

/** The first problem of a checked expression; null where there is none. */
export function guardTypes(node: ASTNode, declarations: Declarations): ExpressionProblem | null {
  if (node.op === 'call' && node.args[0] === 'has') return checkHas(node.args[1][0], declarations);
  const problem = checkAccess(node, declarations) ?? checkMixing(node);
  if (problem !== null) return problem;
  for (const child of childrenOf(node)) {
    const inside = guardTypes(child, declarations);
    if (inside !== null) return inside;
  }
  return null;
}

function checkAccess(node: ASTNode, { recordTypes }: Declarations): ExpressionProblem | null {
  if (node.op !== '.' && node.op !== '[]') return null;
  const type = typeOf(node.args[0]);
  if (type?.kind !== 'message' || recordTypes.has(type.name)) return null;
  return { message: `reads a field of a ${type.name}, which has none`, offset: node.pos };
}

/** `request ? now : token.claims.x` would have no known type, and with it no guarded fields. */
function checkMixing(node: ASTNode): ExpressionProblem | null {
  if (node.op !== '?:' && node.op !== '+') return null;
  if (typeOf(node)?.hasDynType !== true) return null;
  const mixed = node.args.slice(-2).find((part) => holdsObject(typeOf(part)));
  if (mixed === undefined) return null;
  return { message: 'mixes a typed value with one whose type is unknown until it is read', offset: mixed.start };
}

function holdsObject(type: TypeDeclaration | undefined): boolean {
  if (type === undefined) return false;
  return type.kind === 'message' || holdsObject(type.valueType) || holdsObject(type.keyType);
}

function checkHas(path: ASTNode | undefined, { recordTypes }: Declarations): ExpressionProblem | null {
  const fields: { name: string; offset: number }[] = [];
  let base = path;
  for (; base?.op === '.'; base = base.args[0]) fields.unshift({ name: base.args[1], offset: base.pos });
  if (base?.op !== 'id') {
    return { message: 'has() needs a path of names, as in has(token.claims.tier)', offset: path?.start ?? 0 };
  }
  let type = typeOf(base)?.name ?? 'dyn';
  for (const { name, offset } of fields) {
    const known = recordTypes.get(type);
    const next = known === undefined ? valueTypeOf(type) : known.get(name);
    if (next === undefined) {
      const message = known === undefined ? `a ${type} has no field ${name}` : `unknown field ${name}`;
      return { message, offset, hint: nearest(name, [...(known?.keys() ?? [])]) };
    }
    type = next;
  }
  return null;
}

/** The type of what stands under a name in a value of this type; undefined where nothing can. */
function valueTypeOf(type: string): string | undefined {
  if (type === 'dyn') return type;
  return /^map<string, (.+)>$/.exec(type)?.[1];
}
