/** An expression taken apart into the expressions that it is made of, for explanations. */

import { type ASTNode, serialize } from '@marcbachmann/cel-js';
import { childrenOf } from './ast.ts';

/** A macro that goes over a list, as far as its body is concerned. */
export type Loop = {
  readonly macro: string;
  readonly item: string;
  readonly over: string;
  /** What is asked of each item; for map and filter too. */
  readonly body: string;
};

export type Outline = {
  readonly source: string;
  /** How its value comes from those of its parts: all of them, any of them, the opposite, or in some other way. */
  readonly kind: 'all' | 'any' | 'not' | 'other';
  readonly parts: readonly Outline[];
  /** Where the parts are about the items of a list. */
  readonly loop: Loop | null;
};

const macros: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one', 'filter', 'map']);

/** Assumes the tree of an expression that the guard has passed, as it was parsed. */
export function outlineOf(node: ASTNode): Outline {
  const source = serialize(node);
  if (node.op === '&&') return { source, kind: 'all', parts: chainOf(node, '&&').map(outlineOf), loop: null };
  if (node.op === '||') return { source, kind: 'any', parts: chainOf(node, '||').map(outlineOf), loop: null };
  if (node.op === '!_') return { source, kind: 'not', parts: [outlineOf(node.args)], loop: null };
  if (node.op === 'rcall' && macros.has(node.args[0])) return outlineOfLoop(node, source);
  // A field of a field is one thing to look at, and whether a field is there says itself what it asks.
  const isWhole = node.op === '.' || (node.op === 'call' && node.args[0] === 'has');
  const parts = isWhole ? [] : childrenOf(node).filter(isTelling).map(outlineOf);
  return { source, kind: 'other', parts, loop: null };
}

function outlineOfLoop(node: ASTNode & { op: 'rcall' }, source: string): Outline {
  const [macro, receiver, [item, ...bodies]] = node.args;
  const body = bodies[0];
  if (item?.op !== 'id' || body === undefined) return { source, kind: 'other', parts: [], loop: null };
  const loop = { macro, item: item.args, over: serialize(receiver), body: serialize(body) };
  return { source, kind: 'other', parts: bodies.map(outlineOf), loop };
}

/** A chain of one operator leans to the left. */
function chainOf(node: ASTNode, operator: '&&' | '||'): readonly ASTNode[] {
  const parts: ASTNode[] = [];
  let rest = node;
  while (rest.op === operator) {
    const [left, right] = rest.args as [ASTNode, ASTNode];
    parts.unshift(right);
    rest = left;
  }
  return [rest, ...parts];
}

/** Literals tell nothing that the expression around them does not, nor do functions that take a literal only. */
function isTelling(node: ASTNode): boolean {
  if (node.op === 'value') return false;
  if (node.op === 'call') return node.args[1].some(isTelling);
  return (node.op !== 'list' && node.op !== 'map') || childrenOf(node).some(isTelling);
}
