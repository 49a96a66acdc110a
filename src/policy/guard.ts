/**
 * The CEL guard, before the type check: an expression may hold only what is listed here. What is not listed (uint,
 * bytes, null, optional values, `dyn`, `type`, `cel.bind`, map values) is refused, so a new engine version brings no
 * new power by itself. The walk also finds what an expression reads and puts our checked functions in place.
 */

import type { ASTNode } from '@marcbachmann/cel-js';
import leven from 'leven';
import { depthMax } from './bounds.ts';
import type { ExpressionProblem } from './expression.ts';
import { checkedFunctions, checkedMethods, checkedPrefix, type Literals } from './functions.ts';
import { parseLiteral } from './literals.ts';
import type { Declarations } from './variables.ts';

const functionNames: ReadonlySet<string> = new Set([
  'has',
  'size',
  'int',
  'double',
  'string',
  'timestamp',
  'duration',
  'cidr',
  'scopeLimit',
]);
const macroArguments: ReadonlyMap<string, readonly number[]> = new Map([
  ['all', [2]],
  ['exists', [2]],
  ['exists_one', [2]],
  ['filter', [2]],
  ['map', [2, 3]],
]);
/** Of a timestamp in UTC or a duration. With a time zone the engine's answers depend on the machine's own. */
const timeMethods: ReadonlySet<string> = new Set([
  ...['getFullYear', 'getMonth', 'getDate', 'getDayOfMonth', 'getDayOfWeek', 'getHours', 'getMinutes', 'getSeconds'],
]);
const methodNames: ReadonlySet<string> = new Set([
  ...['contains', 'startsWith', 'endsWith', 'matches', 'size', 'lowerAscii', 'split'],
  ...timeMethods,
]);
/** Keys that the engine drops from a map literal or finds on every object. */
const unsafeKeys: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

const int64Max = 9_223_372_036_854_775_807n;

/** What a guarded expression reads. */
export type Findings = {
  readonly reads: Set<string>;
  readonly scopeLiterals: Set<string>;
};

/** Walks a parsed expression and puts our checked functions into it. The first problem, or what the walk found. */
export function guardExpression(
  root: ASTNode,
  declarations: Declarations,
  literals: Literals,
): Findings | ExpressionProblem {
  const walk: Walk = { declarations, literals, reads: new Set(), scopeLiterals: new Set() };
  return visit(walk, root, { locals: [], depth: 0 }) ?? walk;
}

type Walk = Findings & { readonly declarations: Declarations; readonly literals: Literals };
/** Iteration variables in sight, and how deep the walk is. */
type Place = { readonly locals: readonly string[]; readonly depth: number };
type Verdict = ExpressionProblem | null;

function refuse(offset: number, message: string, hint?: string): ExpressionProblem {
  return { message, offset, hint };
}

function visit(walk: Walk, node: ASTNode, { locals, depth }: Place): Verdict {
  if (depth > depthMax) return refuse(node.start, `is nested more than ${depthMax} deep`);
  const below = { locals, depth: depth + 1 };
  switch (node.op) {
    case 'value':
      return visitLiteral(node);
    case 'id':
      return visitName(walk, node, locals);
    case '.':
      return visitField(walk, node.pos, node.args[0], node.args[1], below);
    case '[]':
      return visitIndex(walk, node.args[0], node.args[1], below);
    case 'call':
      return visitCall(walk, node, node.args, below);
    case 'rcall':
      return visitMethod(walk, node, node.args, below);
    case 'in':
      return visitMembership(walk, node.args[0], node.args[1], below);
    case '&&':
    case '||':
    case '+': {
      // A chain of one operator leans to the left and reads as flat, so its length is not depth.
      const [left, right] = node.args;
      return visit(walk, left, left.op === node.op ? { locals, depth } : below) ?? visit(walk, right, below);
    }
    case 'list':
    case '?:':
    case '-':
    case '*':
    case '/':
    case '%':
    case '==':
    case '!=':
    case '<':
    case '<=':
    case '>':
    case '>=':
      return visitAll(walk, node.args, below);
    case '!_':
    case '-_':
      return visit(walk, node.args, below);
    case 'map':
      return refuse(node.start, 'uses a map other than to look a key up', 'write {"GET": "read"}[request.method]');
    default:
      return refuse(node.start, `uses ${node.op}, which rules do not have`);
  }
}

function visitAll(walk: Walk, nodes: readonly ASTNode[], place: Place): Verdict {
  for (const node of nodes) {
    const problem = visit(walk, node, place);
    if (problem !== null) return problem;
  }
  return null;
}

function visitLiteral(node: ASTNode): Verdict {
  const value = node.args;
  if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number') return null;
  if (typeof value === 'bigint') return value <= int64Max ? null : refuse(node.start, 'is a number beyond 64 bits');
  if (value === null) return refuse(node.start, 'uses null, which no value here is', 'use has(…)');
  return refuse(node.start, 'uses a bytes or uint literal, which rules do not have');
}

function visitName(walk: Walk, node: ASTNode & { op: 'id' }, locals: readonly string[]): Verdict {
  const name = node.args;
  if (locals.includes(name)) return null;
  const { variables } = walk.declarations;
  const fields = variables.get(name);
  if (fields === undefined) {
    return refuse(node.start, `unknown variable ${name}`, nearest(name, [...variables.keys(), ...locals]));
  }
  if (fields !== null) return refuse(node.start, `uses ${name} without a field`, known(name, fields));
  walk.reads.add(name);
  return null;
}

/** The fields of a record variable that is not hidden by anything; null for every other node. */
function recordFields(walk: Walk, node: ASTNode, locals: readonly string[]): readonly string[] | null {
  if (node.op !== 'id' || locals.includes(node.args)) return null;
  return walk.declarations.variables.get(node.args) ?? null;
}

function visitField(walk: Walk, offset: number, base: ASTNode, field: string, place: Place): Verdict {
  const fields = recordFields(walk, base, place.locals);
  if (fields === null) return visit(walk, base, place);
  if (!fields.includes(field)) {
    const hint = nearest(field, fields) ?? known(String(base.args), fields);
    return refuse(offset, `unknown field ${base.args}.${field}`, hint);
  }
  walk.reads.add(`${base.args}.${field}`);
  return null;
}

function visitIndex(walk: Walk, base: ASTNode, index: ASTNode, place: Place): Verdict {
  if (recordFields(walk, base, place.locals) !== null) {
    if (index.op === 'value' && typeof index.args === 'string')
      return visitField(walk, index.start, base, index.args, place);
    return refuse(index.start, `indexes ${base.args} by something other than a field name`);
  }
  const problem = base.op === 'map' ? visitLookup(walk, base, place) : visit(walk, base, place);
  return problem ?? visit(walk, index, place);
}

function visitMembership(walk: Walk, item: ASTNode, collection: ASTNode, place: Place): Verdict {
  if (item.op === 'value' && typeof item.args === 'string' && collection.op === '.') {
    const [base, field] = collection.args;
    if (field === 'scopes' && base.op === 'id' && base.args === 'token') walk.scopeLiterals.add(item.args);
  }
  const problem = visit(walk, item, place);
  if (problem !== null) return problem;
  return collection.op === 'map' ? visitLookup(walk, collection, place) : visit(walk, collection, place);
}

/** A map literal as a lookup table. Elsewhere the engine's plain-object maps differ from CEL, so there are none. */
function visitLookup(walk: Walk, node: ASTNode & { op: 'map' }, place: Place): Verdict {
  const seen = new Set<string>();
  for (const [key, value] of node.args) {
    if (key.op !== 'value' || typeof key.args !== 'string' || unsafeKeys.has(key.args)) {
      return refuse(key.start, 'has a map key that is not a plain string literal');
    }
    if (seen.has(key.args)) return refuse(key.start, 'has the same map key twice');
    seen.add(key.args);
    const problem = visit(walk, value, place);
    if (problem !== null) return problem;
  }
  return null;
}

function visitCall(walk: Walk, node: ASTNode, callArguments: [string, ASTNode[]], place: Place): Verdict {
  const [name, given] = callArguments;
  const [argument] = given;
  if (!functionNames.has(name)) {
    const hint = methodNames.has(name) ? `write value.${name}(…)` : nearest(name, [...functionNames]);
    return refuse(node.start, `unknown function ${name}()`, hint);
  }
  if (name === 'has' && argument?.op !== '.') return refuse(node.start, 'has() needs a field, as in has(token.acr)');
  if (name === 'timestamp' || name === 'duration' || name === 'cidr') {
    const problem = parseLiteral(walk.literals, name, argument);
    if (problem !== null) return refuse(argument?.start ?? node.start, problem);
  }
  if (checkedFunctions.has(name)) callArguments[0] = `${checkedPrefix}${name}`;
  return visitAll(walk, given, place);
}

function visitMethod(walk: Walk, node: ASTNode, callArguments: [string, ASTNode, ASTNode[]], place: Place): Verdict {
  const [name, receiver, given] = callArguments;
  const counts = macroArguments.get(name);
  if (counts === undefined && !methodNames.has(name)) {
    const hint = nearest(name, [...methodNames, ...macroArguments.keys()]);
    return refuse(methodStart(node, receiver, name), `unknown function .${name}()`, hint);
  }
  const problem = visit(walk, receiver, place);
  if (problem !== null) return problem;
  if (counts !== undefined) return visitMacro(walk, node, name, given, counts, place);
  if (timeMethods.has(name) && given[0] !== undefined) {
    return refuse(given[0].start, `.${name}() takes no time zone`, 'times are UTC');
  }
  if (name === 'matches') {
    const fault = parseLiteral(walk.literals, name, given[0]);
    if (fault !== null) return refuse(given[0]?.start ?? node.start, fault);
  }
  if (checkedMethods.has(name)) callArguments[0] = `${checkedPrefix}${name}`;
  return visitAll(walk, given, place);
}

function visitMacro(
  walk: Walk,
  node: ASTNode,
  name: string,
  given: readonly ASTNode[],
  counts: readonly number[],
  { locals, depth }: Place,
): Verdict {
  const [variable, ...bodies] = given;
  if (variable === undefined || variable.op !== 'id' || !counts.includes(given.length)) {
    return refuse(node.start, `.${name}() needs a name and an expression, as in .${name}(item, item == "x")`);
  }
  if (locals.includes(variable.args) || walk.declarations.variables.has(variable.args)) {
    return refuse(variable.start, `names its item ${variable.args}, which is a variable already`);
  }
  return visitAll(walk, bodies, { locals: [...locals, variable.args], depth });
}

/** Where the name of a method stands; the engine keeps the place of the whole call only. */
function methodStart(node: ASTNode, receiver: ASTNode, name: string): number {
  const found = node.input.indexOf(name, receiver.end);
  return found >= 0 ? found : node.start;
}

function known(name: string, fields: readonly string[]): string {
  if (fields.length === 0) return `${name} has no fields: no meter is declared`;
  return `fields: ${fields.join(', ')}`;
}

/** `did you mean …?` where a known name is near enough. */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  const distanceMax = Math.max(2, Math.floor(name.length / 3));
  let best: string | undefined;
  let bestDistance = distanceMax + 1;
  for (const candidate of candidates) {
    const distance = leven(name.toLowerCase(), candidate.toLowerCase(), { maxDistance: bestDistance });
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best === undefined ? undefined : `did you mean ${best}?`;
}
