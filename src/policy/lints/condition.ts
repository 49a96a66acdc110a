/** What a condition says, as far as it can be said without knowing a request: for finding those that nothing meets. */

import { type ASTNode, serialize } from '@marcbachmann/cel-js';

export type Literal = string | number | boolean;

/** What is known of a value when a test holds. */
export type Meaning =
  | { readonly kind: 'oneOf'; readonly values: readonly Literal[] }
  | { readonly kind: 'over' | 'under'; readonly bound: number; readonly isIncluded: boolean }
  | { readonly kind: 'startsWith' | 'endsWith' | 'contains'; readonly text: string };

export type Condition =
  | { readonly kind: 'constant'; readonly value: boolean }
  | { readonly kind: 'all'; readonly parts: readonly Condition[] }
  | { readonly kind: 'any'; readonly parts: readonly Condition[] }
  | Test;

export type Test = {
  readonly kind: 'test';
  /** As written. Expressions that are written alike have one value for one request. */
  readonly source: string;
  /** Whether it is to be true, or to be false. */
  readonly holds: boolean;
  /** What it says about another expression; null where nothing is known of it but whether it holds. */
  readonly about: { readonly source: string; readonly meaning: Meaning } | null;
};

/** Assumes the tree of an expression that the guard has passed, as it was parsed. */
export function conditionOf(node: ASTNode): Condition {
  switch (node.op) {
    case 'value':
      return typeof node.args === 'boolean' ? { kind: 'constant', value: node.args } : testOf(node, null);
    case '&&':
      return { kind: 'all', parts: node.args.map(conditionOf) };
    case '||':
      return { kind: 'any', parts: node.args.map(conditionOf) };
    case '!_':
      return negated(conditionOf(node.args));
    case '!=':
      return negated(equality(node, node.args));
    case '==':
      return equality(node, node.args);
    case 'in':
      return membership(node, node.args);
    case '<':
    case '<=':
    case '>':
    case '>=':
      return comparison(node, node.op, node.args);
    case 'rcall':
      return method(node);
    default:
      return testOf(node, null);
  }
}

/** The condition that is true where this one is false. Where this one fails, neither is. */
export function negated(condition: Condition): Condition {
  switch (condition.kind) {
    case 'constant':
      return { kind: 'constant', value: !condition.value };
    case 'test':
      return { ...condition, holds: !condition.holds };
    default:
      return { kind: condition.kind === 'all' ? 'any' : 'all', parts: condition.parts.map(negated) };
  }
}

function testOf(node: ASTNode, about: { readonly of: ASTNode; readonly meaning: Meaning } | null): Condition {
  const said = about === null ? null : { source: serialize(about.of), meaning: about.meaning };
  return { kind: 'test', source: serialize(node), holds: true, about: said };
}

function equality(node: ASTNode, [left, right]: readonly [ASTNode, ASTNode]): Condition {
  const value = literalOf(right);
  const mirrored = literalOf(left);
  if (value !== undefined && mirrored !== undefined) {
    if (typeof value === typeof mirrored) return { kind: 'constant', value: value === mirrored };
    return testOf(node, null);
  }
  if (value !== undefined) return testOf(node, { of: left, meaning: { kind: 'oneOf', values: [value] } });
  if (mirrored === undefined) return testOf(node, null);
  return testOf(node, { of: right, meaning: { kind: 'oneOf', values: [mirrored] } });
}

function membership(node: ASTNode, [item, list]: readonly [ASTNode, ASTNode]): Condition {
  if (list.op !== 'list' && list.op !== 'map') return testOf(node, null);
  const items = list.op === 'list' ? list.args : list.args.map(([key]) => key);
  const values = items.map(literalOf);
  if (values.length === 0) return { kind: 'constant', value: false };
  const known = values.filter((value) => value !== undefined);
  return known.length === values.length && literalOf(item) === undefined
    ? testOf(node, { of: item, meaning: { kind: 'oneOf', values: known } })
    : testOf(node, null);
}

const mirroredOperators = { '<': '>', '<=': '>=', '>': '<', '>=': '<=' } as const;

function comparison(
  node: ASTNode,
  written: keyof typeof mirroredOperators,
  [left, right]: readonly [ASTNode, ASTNode],
): Condition {
  const isMirrored = literalOf(left) !== undefined;
  const [of, bound] = isMirrored ? [right, literalOf(left)] : [left, literalOf(right)];
  if (typeof bound !== 'number' || literalOf(of) !== undefined) return testOf(node, null);
  const operator = isMirrored ? mirroredOperators[written] : written;
  const kind = operator.startsWith('>') ? 'over' : 'under';
  return testOf(node, { of, meaning: { kind, bound, isIncluded: operator.endsWith('=') } });
}

function method(node: ASTNode & { op: 'rcall' }): Condition {
  const [name, of, [argument]] = node.args;
  if (name !== 'startsWith' && name !== 'endsWith' && name !== 'contains') return testOf(node, null);
  const text = argument === undefined ? undefined : literalOf(argument);
  // Of an address range contains() asks something else; its argument is no literal then that says anything here.
  if (typeof text !== 'string' || of.op === 'call') return testOf(node, null);
  return testOf(node, { of, meaning: { kind: name, text } });
}

/** Numbers compare by value, whichever type they have; those that a double can't tell apart say nothing. */
function literalOf(node: ASTNode): Literal | undefined {
  if (node.op === '-_') {
    const value = literalOf(node.args);
    return typeof value === 'number' ? -value : undefined;
  }
  if (node.op !== 'value') return undefined;
  const value: unknown = node.args;
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : undefined;
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : undefined;
}
