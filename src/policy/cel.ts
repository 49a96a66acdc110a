/**
 * Compiles CEL behind a guard: parse, allow-list, type check, cost cap, result type.
 *
 * Differences from the CEL specification that a rule can notice: strings order by UTF-16 code unit; `lowerAscii` and
 * `split` are there, `bytes`, `uint`, `null`, `dyn`, `type`, time zones and map values are not; numbers of JSON are
 * doubles, as CEL's JSON conversion says, and compare with ints by value; `has(a.b.c)` is false, not an error, where
 * `a.b` holds something that is no map.
 */

import { type ASTNode, Environment } from '@marcbachmann/cel-js';
import { Fault } from '../errors.ts';
import { childrenOf, readsToolArguments } from './ast.ts';
import { expressionCostMax, literalItemsMax, sourceCharsMax } from './bounds.ts';
import { estimateCost } from './cost.ts';
import type { Compile, Expression, ExpressionProblem, ExpressionType } from './expression.ts';
import { checkedPrefix, declareFunctions, type Literals } from './functions.ts';
import { guardExpression, nearest } from './guard.ts';
import { conditionOf } from './lints/condition.ts';
import { membersOf } from './members.ts';
import { outlineOf } from './outline.ts';
import { preconditionOf } from './precondition.ts';
import { quotaOf } from './quotas.ts';
import { guardTypes } from './type-guard.ts';
import { type Declarations, declareVariables } from './variables.ts';

const javascriptTypes: Readonly<Record<Exclude<ExpressionType, 'any'>, string>> = {
  bool: 'boolean',
  string: 'string',
  int: 'bigint',
};

/** Compiles for one configuration: `rate` has exactly these meters. What the result says lives as long as it does. */
export function createCompile({ meters }: { readonly meters: readonly string[] }): Compile {
  const environment = new Environment({
    unlistedVariablesAreDyn: false,
    homogeneousAggregateLiterals: true,
    enableOptionalTypes: false,
    limits: {
      maxAstNodes: sourceCharsMax,
      maxDepth: 128,
      maxListElements: literalItemsMax,
      maxMapEntries: literalItemsMax,
      maxCallArguments: 8,
    },
  });
  const literals: Literals = { patterns: new Map(), ranges: new Map() };
  const declarations = declareVariables(environment, meters);
  declareFunctions(environment, literals);
  return (source, type) => compile({ environment, declarations, literals }, source, type);
}

type Parts = {
  readonly environment: Environment;
  readonly declarations: Declarations;
  readonly literals: Literals;
};

function compile(parts: Parts, source: string, type: ExpressionType): Expression | ExpressionProblem {
  const { environment, declarations, literals } = parts;
  if (source.trim() === '') return { message: 'is empty', offset: 0 };
  if (source.length > sourceCharsMax) return { message: `is longer than ${sourceCharsMax} characters`, offset: 0 };

  const parsed = attempt(() => environment.parse(source), declarations);
  if (typeof parsed !== 'function') return parsed;

  const findings = guardExpression(parsed.ast, declarations, literals);
  if ('offset' in findings) return findings;

  const checked = attempt(() => parsed.check(), declarations);
  if (!('valid' in checked)) return checked;
  if (!checked.valid) return problemOf(checked.error, declarations);
  if (type !== 'any' && checked.type !== type) {
    return { message: `gives ${checked.type}, and must give ${type}`, offset: 0 };
  }

  const mistyped = guardTypes(parsed.ast, declarations);
  if (mistyped !== null) return mistyped;
  if (findings.reads.has('mcp.tool') && readsToolArguments(parsed.ast)) findings.reads.add('mcp.tool.arguments');
  const cost = estimateCost(parsed.ast, literals);
  if (cost > expressionCostMax) {
    return {
      message: `could cost ${cost} units, and the most is ${expressionCostMax}`,
      offset: 0,
      hint: 'avoid loops in loops, long regular expressions, and searching every item of a list',
    };
  }
  const quota = quotaOf(parsed.ast);
  const precondition = type === 'bool' ? preconditionOf(parsed.ast) : null;
  const members = membersOf(parsed.ast);
  forgetSource(parsed.ast);
  return {
    source,
    type,
    cost,
    reads: findings.reads,
    quota,
    scopeLiterals: [...findings.scopeLiterals],
    evaluate: (context) => (precondition?.(context) === false ? false : evaluate(parsed, context, type)),
    members,
    // Parsed again, because the guard has put our own functions into the tree that is evaluated.
    outline: () => outlineOf(environment.parse(source).ast),
    condition: () => conditionOf(environment.parse(source).ast),
  };
}

/**
 * The engine quotes the source in the message of each error that it makes, also of those that `all`, `exists`, `&&` and
 * `||` absorb, one for every item at worst. Nobody reads these messages, so there is nothing to quote.
 */
function forgetSource(node: ASTNode): void {
  Object.defineProperty(node, 'input', { value: '' });
  for (const child of childrenOf(node)) forgetSource(child);
}

type Evaluable = (context: Readonly<Record<string, unknown>>) => unknown;

/**
 * The engine's messages may quote the request, so neither they nor the error are kept: its code, one of a fixed set,
 * says what happened.
 */
function evaluate(parsed: Evaluable, context: object, type: ExpressionType): unknown {
  let value: unknown;
  // The stacks of errors that are absorbed cost more than all else about them.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    value = parsed(context as Readonly<Record<string, unknown>>);
  } catch (error) {
    throw new Fault('expression_failed', `could not be evaluated: ${reasonOf(error)}`);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  if (type === 'any' || typeof value === javascriptTypes[type]) return value;
  throw new Fault('expression_failed', `gave something other than ${type}`);
}

function reasonOf(error: unknown): string {
  if (error instanceof Fault) return error.message;
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : null;
  return typeof code === 'string' && /^[a-z_]{1,64}$/.test(code) ? code.replaceAll('_', ' ') : 'internal error';
}

/** The engine recurses over its input, so a source can exhaust the stack before any check of ours sees it. */
function attempt<Result>(work: () => Result, declarations: Declarations): Result | ExpressionProblem {
  try {
    return work();
  } catch (error) {
    if (error instanceof RangeError) return { message: 'is nested too deeply', offset: 0 };
    return problemOf(error, declarations);
  }
}

/** What the engine says about its errors (its classes declare these members). */
type EngineError = {
  readonly summary?: string;
  readonly code?: string;
  readonly range?: { readonly start: number };
  readonly node?: { readonly pos: number; readonly args?: unknown };
};

function problemOf(error: unknown, { recordTypes }: Declarations): ExpressionProblem {
  const { summary, code, range, node } = (typeof error === 'object' && error !== null ? error : {}) as EngineError;
  const message = (summary ?? 'is not a CEL expression').replaceAll(checkedPrefix, '');
  const field = code === 'no_such_key' && Array.isArray(node?.args) ? node.args[1] : undefined;
  const fields = [...recordTypes.values()].flatMap((types) => [...types.keys()]);
  const hint = typeof field === 'string' ? nearest(field, fields) : undefined;
  return { message: lowerFirst(message), offset: node?.pos ?? range?.start ?? 0, hint };
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}
