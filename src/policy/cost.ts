/**
 * What a checked expression can cost at worst, in the units of bounds.ts. Every part is estimated by how large its
 * value can be; loops multiply.
 */

import type { ASTNode } from '@marcbachmann/cel-js';
import { childrenOf, typeOf, written } from './ast.ts';
import {
  detailsMax,
  documentCharsMax,
  documentNodesMax,
  itemsMax,
  matchCharsMax,
  stringCharsNominal,
} from './bounds.ts';
import { checkedPrefix, type Literals } from './functions.ts';
import { optionalFields } from './variables.ts';

/** How large a value can be at worst. */
type Extent = { readonly chars: number; readonly items: number; readonly nodes: number };
type Estimate = Extent & {
  /** To come by the value. */
  readonly cost: number;
  /** Over how many turns of loops it is spread, where it is part of a document; null where nothing is known. */
  readonly spread: number | null;
  /** What an iteration variable runs over, as written. */
  readonly over?: string;
};

const anything: Extent = { chars: stringCharsNominal, items: itemsMax, nodes: documentNodesMax };
const scalar: Extent = { chars: 64, items: 0, nodes: 1 };

type Walk = { readonly literals: Literals; readonly errorCost: number };
type Locals = ReadonlyMap<string, Estimate>;

/** The worst-case cost of an expression that has passed both guards. */
export function estimateCost(root: ASTNode, literals: Literals): number {
  // The engine renders the source up to the fault into each error that it makes, also when the error is then absorbed.
  const walk: Walk = { literals, errorCost: 80 + root.input.length / 10 };
  return Math.ceil(estimate(walk, root, new Map()).cost);
}

function estimate(walk: Walk, node: ASTNode, locals: Locals): Estimate {
  switch (node.op) {
    case 'value':
      return made(1, { ...scalar, chars: typeof node.args === 'string' ? node.args.length : scalar.chars });
    case 'id':
      return locals.get(node.args) ?? { cost: 1, ...anything, spread: 1 };
    case '.': {
      const whole = select(estimate(walk, node.args[0], locals));
      return written(node) === 'token.authorization_details' ? { ...whole, items: detailsMax } : whole;
    }
    case '[]': {
      if (node.args[1].op === 'value') return select(estimate(walk, node.args[0], locals));
      const index = estimate(walk, node.args[1], locals);
      // map.exists(key, map[key] …): each part once, so the parts are spread as the keys are.
      const isMap = typeOf(node.args[0])?.kind === 'map';
      if (isMap && index.spread !== null && index.over === written(node.args[0])) return select(index);
      const base = select(estimate(walk, node.args[0], locals));
      // An index that is not fixed may give the same part on every turn of a loop, so nothing is spread.
      return { ...base, ...larger(base, anything), cost: base.cost + index.cost, spread: null };
    }
    case 'call':
      return estimateCall(walk, node, locals);
    case 'rcall':
      return estimateMethod(walk, node, locals);
    case 'list': {
      const parts = node.args.map((item) => estimate(walk, item, locals));
      return made(1 + sum(parts), parts.reduce<Extent>(larger, { ...scalar, items: parts.length }));
    }
    case 'map': {
      const parts = node.args.map(([, value]) => estimate(walk, value, locals));
      return made(1 + 2 * node.args.length + sum(parts), parts.reduce<Extent>(larger, scalar));
    }
    case '?:': {
      const [condition, left, right] = node.args.map((part) => estimate(walk, part, locals));
      if (condition === undefined || left === undefined || right === undefined) return made(0, anything);
      return made(1 + condition.cost + Math.max(left.cost, right.cost), larger(left, right));
    }
    case '!_':
    case '-_':
      return made(1 + estimate(walk, node.args, locals).cost, scalar);
    default:
      return estimateBinary(walk, node as ASTNode & { args: [ASTNode, ASTNode] }, locals);
  }
}

function estimateBinary(walk: Walk, node: ASTNode & { args: [ASTNode, ASTNode] }, locals: Locals): Estimate {
  const [leftNode, rightNode] = node.args;
  const left = estimate(walk, leftNode, locals);
  const right = estimate(walk, rightNode, locals);
  const below = left.cost + right.cost;
  const chars = Math.min(left.chars, right.chars);
  switch (node.op as string) {
    case 'in':
      // Each item is compared with a value whose size bounds the work.
      return made(
        1 + below + (right.items / 8) * (1 + comparison(leftNode, rightNode, left, right, chars) / 8),
        scalar,
      );
    case '==':
    case '!=':
    case '<':
    case '<=':
    case '>':
    case '>=':
      return made(2 + below + comparison(leftNode, rightNode, left, right, chars), scalar);
    case '&&':
    case '||':
      // An error on one side is absorbed where the other side decides.
      return made(2 + below + (canFail(leftNode) ? walk.errorCost : 0), scalar);
    case '+': {
      const joined = {
        chars: left.chars + right.chars,
        items: left.items + right.items,
        nodes: left.nodes + right.nodes,
      };
      return made(2 + below + joined.chars / 256 + joined.items / 8, joined);
    }
    default:
      return made(2 + below, scalar);
  }
}

function comparison(left: ASTNode, right: ASTNode, leftSize: Extent, rightSize: Extent, chars: number): number {
  return isPlain(left) || isPlain(right) ? chars / 256 : 2 * Math.min(leftSize.nodes, rightSize.nodes) + chars / 256;
}

/** Compared in one step: a primitive, a timestamp or a duration. */
function isPlain(node: ASTNode): boolean {
  const kind = typeOf(node)?.kind;
  return kind === 'primitive' || kind === 'message';
}

/** A part of a value. A part of an item of a document is spread over the loop's turns as the item is. */
function select(base: Estimate): Estimate {
  return { ...base, cost: base.cost + 1 };
}

function estimateCall(walk: Walk, node: ASTNode & { op: 'call' }, locals: Locals): Estimate {
  const [name, given] = node.args;
  const parts = given.map((argument) => estimate(walk, argument, locals));
  const cost = 2 + sum(parts);
  const chars = parts[0]?.chars ?? 0;
  switch (name) {
    case `${checkedPrefix}size`:
      return made(cost + chars / 32, scalar);
    case 'scopeLimit':
      return made(cost + (parts[0]?.items ?? 0) * 2, scalar);
    default:
      return made(cost + 8, scalar);
  }
}

const macros: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one', 'filter', 'map']);

function estimateMethod(walk: Walk, node: ASTNode & { op: 'rcall' }, locals: Locals): Estimate {
  const [name, receiverNode, given] = node.args;
  const receiver = estimate(walk, receiverNode, locals);
  if (macros.has(name)) return estimateLoop(walk, node.args, receiver, locals);
  const parts = given.map((argument) => estimate(walk, argument, locals));
  const cost = 3 + receiver.cost + sum(parts);
  const { chars } = receiver;
  switch (name) {
    case `${checkedPrefix}matches`: {
      const [pattern] = given;
      const steps =
        pattern?.op === 'value' ? (walk.literals.patterns.get(String(pattern.args))?.programSize() ?? 0) : 0;
      return made(cost + 20 + (Math.min(chars, matchCharsMax) * steps) / 10, scalar);
    }
    case `${checkedPrefix}contains`:
      return made(cost + 20 + (chars + (parts[0]?.chars ?? 0)) / 12, scalar);
    case `${checkedPrefix}size`:
      return made(cost + chars / 32, scalar);
    case `${checkedPrefix}lowerAscii`:
      return made(cost + chars / 16, { ...scalar, chars });
    case `${checkedPrefix}split`:
      return made(cost + chars / 32 + itemsMax / 4, { ...anything, chars });
    default:
      return made(cost + Math.min(chars, parts[0]?.chars ?? 0) / 256, scalar);
  }
}

/**
 * A loop costs its turns times its body. The turns over a list inside an item of a document are bounded by the whole
 * document, however the items share them, so on average an inner loop has few.
 */
function estimateLoop(
  walk: Walk,
  [name, receiverNode, [variable, ...bodies]]: readonly [string, ASTNode, readonly ASTNode[]],
  receiver: Estimate,
  locals: Locals,
): Estimate {
  const { spread } = receiver;
  const turns = spread === null || spread === 1 ? receiver.items : Math.max(1, receiver.nodes);
  const whole = spread === null ? null : spread * turns;
  const share = (total: number) => Math.max(1, Math.ceil(total / (whole ?? 1)));
  const item: Estimate =
    whole === null
      ? { ...larger(receiver, anything), cost: 1, spread: null }
      : {
          chars: Math.min(receiver.chars, share(documentCharsMax)),
          items: Math.min(itemsMax, share(documentNodesMax)),
          nodes: share(documentNodesMax),
          cost: 1,
          spread: whole,
          over: written(receiverNode),
        };
  const inside = new Map(locals).set(variable?.op === 'id' ? variable.args : '', item);
  const parts = bodies.map((body) => estimate(walk, body, inside));
  // all() and exists() absorb the errors of every turn that does not decide; the others end with the first.
  const absorbed = (name === 'all' || name === 'exists') && bodies.some(canFail) ? walk.errorCost : 0;
  const cost = receiver.cost + 4 + turns * (2 + absorbed + sum(parts));
  if (name === 'filter') return made(cost, { ...receiver, items: turns });
  const last = parts.at(-1);
  if (name === 'map' && last !== undefined) return made(cost, { ...last, items: Math.max(turns, last.items) });
  return made(cost, scalar);
}

const safeMethods: ReadonlySet<string> = new Set([
  ...['startsWith', 'endsWith', `${checkedPrefix}contains`, `${checkedPrefix}size`, `${checkedPrefix}lowerAscii`],
]);
const safeOperators: ReadonlySet<string> = new Set(['value', 'id', '&&', '||', '!_', '==', '!=', 'in', 'list', '?:']);
const ordering: ReadonlySet<string> = new Set(['<', '<=', '>', '>=']);

/** Whether evaluation can end in an error: whatever reads a part, converts, computes, or does not know its types. */
function canFail(node: ASTNode): boolean {
  const children = childrenOf(node);
  const isSafe =
    safeOperators.has(node.op) ||
    (ordering.has(node.op) && children.every(isPlain)) ||
    (node.op === 'rcall' && safeMethods.has(node.args[0]) && children.every(isPlain));
  return !(isSafe || isSureField(node)) || children.some(canFail);
}

/** A field of a record that is always there. */
function isSureField(node: ASTNode): boolean {
  return node.op === '.' && typeOf(node.args[0])?.kind === 'message' && !optionalFields.has(node.args[1]);
}

function made(cost: number, extent: Extent): Estimate {
  return { cost, chars: extent.chars, items: extent.items, nodes: extent.nodes, spread: null };
}

function larger(one: Extent, other: Extent): Extent {
  return {
    chars: Math.max(one.chars, other.chars),
    items: Math.max(one.items, other.items),
    nodes: Math.max(one.nodes, other.nodes),
  };
}

function sum(parts: readonly Estimate[]): number {
  return parts.reduce((total, part) => total + part.cost, 0);
}
