/**
 * What a checked expression can cost at worst, in the units of bounds.ts. Every part is estimated by how large its
 * value can be; loops multiply.
 */

import type { ASTNode } from '@marcbachmann/cel-js';
import { typeOf, written } from './ast.ts';
import {
  detailsMax,
  detailsNodesMax,
  documentCharsMax,
  documentNodesMax,
  itemsMax,
  matchCharsMax,
  requestCharsMax,
  splitPartsMax,
  tokenListCharsMax,
} from './bounds.ts';
import { canFail, isPlain } from './can-fail.ts';
import { checkedPrefix, type Literals } from './functions.ts';

/** How large a value can be at worst: its longest text, items of its longest list, values and characters in all. */
type Extent = { readonly chars: number; readonly items: number; readonly nodes: number; readonly total: number };
type Estimate = Extent & {
  /** To come by the value. */
  readonly cost: number;
  /** Where it is part of a document: over how many turns of loops that is spread. Null where nothing is known. */
  readonly spread: { readonly turns: number; readonly document: Extent } | null;
  /** What an iteration variable runs over, as written. */
  readonly over?: string;
};

const anything: Extent = {
  chars: documentCharsMax,
  items: itemsMax,
  nodes: documentNodesMax,
  total: documentCharsMax,
};
const scalar: Extent = { chars: 64, items: 0, nodes: 1, total: 64 };
const text: Extent = textOf(requestCharsMax);
const tokenList: Extent = { ...textOf(tokenListCharsMax), items: itemsMax, nodes: itemsMax };
/** What is bounded more tightly than any document. */
const extents: ReadonlyMap<string, Extent> = new Map([
  ['token.scopes', tokenList],
  ['token.roles', tokenList],
  ['token.aud', tokenList],
  ['token.authorization_details', { ...anything, items: detailsMax, nodes: detailsNodesMax }],
  ['request.headers', { ...text, items: itemsMax, nodes: itemsMax }],
  ['request.query', { ...text, items: itemsMax, nodes: 2 * itemsMax }],
]);

function textOf(chars: number): Extent {
  return { chars, items: 0, nodes: 1, total: chars };
}

/** An evaluation error, also one that is then absorbed. */
const errorCost = 30;

type Walk = { readonly literals: Literals };
type Locals = ReadonlyMap<string, Estimate>;

/** The worst-case cost of an expression that has passed both guards. */
export function estimateCost(root: ASTNode, literals: Literals): number {
  return Math.ceil(estimate({ literals }, root, new Map()).cost);
}

function estimate(walk: Walk, node: ASTNode, locals: Locals): Estimate {
  switch (node.op) {
    case 'value':
      return made(1, typeof node.args === 'string' ? textOf(node.args.length) : scalar);
    case 'id':
      return locals.get(node.args) ?? whole(1, anything);
    case '.':
      return estimateField(walk, node, locals);
    case '[]': {
      if (node.args[1].op === 'value') return estimateField(walk, node, locals);
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
      const longest = parts.reduce<Extent>(larger, { ...scalar, items: parts.length });
      const nodes = parts.reduce((count, part) => count + part.nodes, 1);
      return made(1 + sum(parts), { ...longest, nodes, total: parts.reduce((count, part) => count + part.total, 0) });
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

/** A field of a variable, or a part of a value. */
function estimateField(walk: Walk, node: ASTNode & { op: '.' | '[]' }, locals: Locals): Estimate {
  const base = estimate(walk, node.args[0], locals);
  const isField =
    node.args[0].op === 'id' && !locals.has(node.args[0].args) && typeOf(node.args[0])?.kind === 'message';
  if (!isField) return select(base);
  const known = extents.get(nameOf(node));
  if (known !== undefined) return whole(base.cost + 1, known);
  return isPlain(node) ? made(base.cost + 1, text) : select(base);
}

/** `token.scopes`, also where it is written `token["scopes"]`. */
function nameOf({ args: [base, field] }: ASTNode & { op: '.' | '[]' }): string {
  return `${base.args}.${typeof field === 'string' ? field : field.args}`;
}

function estimateBinary(walk: Walk, node: ASTNode & { args: [ASTNode, ASTNode] }, locals: Locals): Estimate {
  const [leftNode, rightNode] = node.args;
  const left = estimate(walk, leftNode, locals);
  const right = estimate(walk, rightNode, locals);
  const below = left.cost + right.cost;
  switch (node.op as string) {
    case 'in': {
      if (typeOf(rightNode)?.kind === 'map') return made(3 + below + left.chars / 16, scalar);
      // Each item is compared with the value, and all items together are no larger than the list.
      const items = { ...left, nodes: left.nodes * right.items, total: left.total * right.items };
      return made(2 + below + right.items / 2 + comparison(leftNode, rightNode, items, right), scalar);
    }
    case '==':
    case '!=':
    case '<':
    case '<=':
    case '>':
    case '>=':
      return made(1 + below + comparison(leftNode, rightNode, left, right), scalar);
    case '&&':
    case '||':
      // An error on one side is absorbed where the other side decides.
      return made(1 + below + (canFail(leftNode) ? errorCost : 0), scalar);
    case '+': {
      const joined = {
        chars: left.chars + right.chars,
        items: left.items + right.items,
        nodes: left.nodes + right.nodes,
        total: left.total + right.total,
      };
      return made(2 + below + joined.chars / 64 + joined.items / 8, joined);
    }
    default:
      return made(2 + below, scalar);
  }
}

function comparison(left: ASTNode, right: ASTNode, leftSize: Extent, rightSize: Extent): number {
  const characters = Math.min(leftSize.total, rightSize.total) / 64;
  return isPlain(left) || isPlain(right) ? characters : 2 * Math.min(leftSize.nodes, rightSize.nodes) + characters;
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
      return made(cost + chars / 16, scalar);
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
      const charCost = pattern?.op === 'value' ? (walk.literals.patterns.get(String(pattern.args))?.charCost ?? 0) : 0;
      // It fails on long text only, so of the items of a loop only few can.
      const failing = (errorCost * chars) / matchCharsMax;
      return made(cost + 12 + Math.min(chars, matchCharsMax) * charCost + failing, scalar);
    }
    case `${checkedPrefix}contains`:
      return made(cost + 12 + (chars + (parts[0]?.chars ?? 0)) / 8, scalar);
    case `${checkedPrefix}size`:
      return made(cost + chars / 16, scalar);
    case `${checkedPrefix}lowerAscii`:
      return made(cost + 8 + chars / 12, textOf(chars));
    case `${checkedPrefix}split`: {
      // One character is found at once; a longer separator can take each of its characters at each place.
      const separator = parts[0]?.chars ?? 1;
      const search = separator === 1 ? chars / 128 : (chars * separator) / 16;
      const items = Math.min(splitPartsMax, chars + 1);
      return whole(cost + 4 + search + items / 2, { chars, items, nodes: items, total: chars });
    }
    default:
      return made(cost + Math.min(chars, parts[0]?.chars ?? 0) / 64, scalar);
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
  const turns = spread === null || spread.turns === 1 ? receiver.items : Math.max(1, receiver.nodes);
  const item = spread === null ? { ...receiver, cost: 1 } : itemOf(receiver, spread, turns, written(receiverNode));
  const inside = new Map(locals).set(variable?.op === 'id' ? variable.args : '', item);
  const parts = bodies.map((body) => estimate(walk, body, inside));
  // all() and exists() absorb the errors of every turn that does not decide; the others end with the first.
  const absorbed = (name === 'all' || name === 'exists') && bodies.some(canFail) ? errorCost : 0;
  const cost = receiver.cost + 4 + turns * (1 + absorbed + sum(parts));
  if (name === 'filter') return { ...receiver, cost, items: turns };
  const last = parts.at(-1);
  if (name !== 'map' || last === undefined) return made(cost, scalar);
  const items = Math.max(turns, last.items);
  return made(cost, { chars: last.chars, items, nodes: turns * last.nodes, total: turns * last.total });
}

function itemOf(receiver: Extent, spread: NonNullable<Estimate['spread']>, turns: number, over: string): Estimate {
  const { document } = spread;
  const allTurns = spread.turns * turns;
  const share = (total: number) => Math.max(1, Math.ceil(total / Math.max(1, allTurns)));
  return {
    chars: Math.min(receiver.chars, share(document.total)),
    items: Math.min(itemsMax, share(document.nodes)),
    nodes: share(document.nodes),
    total: share(document.total),
    cost: 1,
    spread: { turns: allTurns, document },
    over,
  };
}

function made(cost: number, { chars, items, nodes, total }: Extent): Estimate {
  return { cost, chars, items, nodes, total, spread: null };
}

/** A document of its own: what loops over it is spread over all of it. */
function whole(cost: number, document: Extent): Estimate {
  return { ...made(cost, document), spread: { turns: 1, document } };
}

function larger(one: Extent, other: Extent): Extent {
  return {
    chars: Math.max(one.chars, other.chars),
    items: Math.max(one.items, other.items),
    nodes: Math.max(one.nodes, other.nodes),
    total: Math.max(one.total, other.total),
  };
}

function sum(parts: readonly Estimate[]): number {
  return parts.reduce((total, part) => total + part.cost, 0);
}
