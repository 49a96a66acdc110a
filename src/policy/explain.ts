/** Why a decision came out as it did: every rule, what its expression is made of, and what would turn it round. */

import type { Effect, Mode } from '../decision.ts';
import { Fault } from '../errors.ts';
import type { Context } from './context.ts';
import { type Compile, type Expression, isProblem } from './expression.ts';
import type { Loop, Outline } from './outline.ts';
import { redactFor } from './redact.ts';
import type { Rule } from './rule-files.ts';

/** A part of an expression with its value. */
export type Explained = {
  readonly source: string;
  readonly kind: Outline['kind'];
  /** As JSON, cut to what people read; absent where there is none. */
  readonly value?: unknown;
  /** Why there is no value. */
  readonly failed?: string;
  /** The item that the parts are about: one that decides, or the first. */
  readonly item?: { readonly name: string; readonly value: unknown };
  readonly parts: readonly Explained[];
};

/** A part whose value would have to be another. */
export type Change = { readonly source: string; readonly is: unknown; readonly mustBe: unknown };

export type RuleExplanation = {
  readonly id: string;
  readonly effect: Effect;
  readonly mode: Mode;
  readonly file: string;
  readonly line: number;
  readonly result: 'matched' | 'not matched' | 'failed';
  readonly when: Explained;
  /** Ways to turn the result round, fewest changes first: each a list of parts that must all change. */
  readonly toFlip: readonly (readonly Change[])[];
};

const waysMax = 6;
const depthMax = 8;

/** What the rule made of this request. For people: it costs many times what the decision did. */
export function explainRule(rule: Rule, compile: Compile, context: Context): RuleExplanation {
  const { id, effect, mode, place } = rule;
  const when = explain(rule.when.outline(), { compile, context, loops: [], depth: 0 });
  const value = evaluate(rule.when, context);
  const result = 'failed' in value ? 'failed' : value.value === true ? 'matched' : 'not matched';
  const toFlip = result === 'failed' ? [] : waysTo(when, result !== 'matched');
  return { id, effect, mode, ...place, result, when, toFlip };
}

type Surroundings = {
  readonly compile: Compile;
  readonly context: Context;
  /** Loops around the expression, outermost first, each with the list that its item is the first of. */
  readonly loops: readonly { readonly item: string; readonly from: string }[];
  readonly depth: number;
};

function explain(outline: Outline, surroundings: Surroundings): Explained {
  const { source, kind, loop } = outline;
  const found = valueAt(source, surroundings);
  const told = 'failed' in found ? { failed: found.failed } : { value: shown(source, found.value, surroundings) };
  if (surroundings.depth >= depthMax) return { source, kind, ...told, parts: [] };
  const depth = surroundings.depth + 1;
  if (loop === null) {
    const parts = outline.parts.map((part) => explain(part, { ...surroundings, depth }));
    return { source, kind, ...told, parts };
  }
  const over = explain({ source: loop.over, kind: 'other', parts: [], loop: null }, { ...surroundings, depth });
  const from = witnesses(loop, surroundings);
  if (from === null) return { source, kind, ...told, parts: [over] };
  const loops = [...surroundings.loops, { item: loop.item, from }];
  const inside = { ...surroundings, loops, depth };
  const item = valueAt(loop.item, inside);
  return {
    source,
    kind,
    ...told,
    ...('failed' in item ? {} : { item: { name: loop.item, value: shown(loop.over, item.value, inside) } }),
    parts: [over, ...outline.parts.map((part) => explain(part, inside))],
  };
}

/** An expression for the items that settle the loop, or for all of them where none does; null where there are none. */
function witnesses({ macro, item, over, body }: Loop, surroundings: Surroundings): string | null {
  const isNot = macro === 'all' ? '!' : '';
  const settling = `(${over}).filter(${item}, ${isNot}(${body}))`;
  const has = (list: string) => {
    const count = valueAt(`size(${list}) > 0`, surroundings);
    return 'value' in count && count.value === true;
  };
  if (macro !== 'map' && has(settling)) return settling;
  return has(over) ? over : null;
}

type Found = { readonly value: unknown } | { readonly failed: string };

/** Inside loops an item is bound by going over a list of it: the same engine evaluates, behind the same guard. */
function valueAt(source: string, { compile, context, loops }: Surroundings): Found {
  const wrapped = loops.reduceRight((inner, { item, from }) => `(${from}).map(${item}, ${inner})[0]`, source);
  const expression = compile(wrapped, 'any');
  return isProblem(expression) ? { failed: 'cannot be shown by itself' } : evaluate(expression, context);
}

function evaluate(expression: Expression, context: Context): Found {
  try {
    return { value: expression.evaluate(context) };
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    return { failed: fault.message.replace(/^could not be evaluated: /, '') };
  }
}

function shown(source: string, value: unknown, { context, loops }: Surroundings): unknown {
  return redactFor(context)(
    source,
    loops.map(({ from }) => from),
    value,
  );
}

/** Sets of changes that give an expression this value; none where it has no part to change but itself. */
export function waysTo(explained: Explained, wanted: boolean): readonly (readonly Change[])[] {
  if (explained.value === wanted) return [[]];
  const { kind, parts } = explained;
  if (kind === 'not' && parts[0] !== undefined) return waysTo(parts[0], !wanted);
  if (kind === 'all' || kind === 'any') {
    const each = parts.map((part) => waysTo(part, wanted));
    // All of a conjunction must hold, but one is enough to break it; a disjunction is the other way round.
    const needsAll = (kind === 'all') === wanted;
    const ways = needsAll ? [each.flatMap((options) => options[0] ?? [])] : each.flat();
    return ways.toSorted((one, other) => one.length - other.length).slice(0, waysMax);
  }
  const { source, value, failed } = explained;
  return [[{ source, is: failed === undefined ? value : `no value: ${failed}`, mustBe: wanted }]];
}
