/** What the rest of Postern sees of CEL. The engine stays behind this page, so that it can be replaced. */

import type { Context } from './context.ts';
import type { Condition } from './lints/condition.ts';
import type { Members } from './members.ts';
import type { Outline } from './outline.ts';
import type { Quota } from './quotas.ts';

/** A compiled, vetted expression. */
export type Expression = {
  readonly source: string;
  readonly type: ExpressionType;
  /** Worst case in units of about 50 ns; see bounds.ts. */
  readonly cost: number;
  /** What it reads, as dotted paths two deep: `rate.calls_per_minute`, `request.headers`, `token.scopes`, `now`. */
  readonly reads: ReadonlySet<string>;
  /** Null where it is not the condition of a quota. */
  readonly quota: Quota | null;
  /** Of the maps among these, which members. */
  readonly members: Members;
  /** Literals tested as `"x" in token.scopes`: what a token might lack. */
  readonly scopeLiterals: readonly string[];
  /** Gives a value of `type`. Throws a Fault `expression_failed` whose message holds nothing of the request. */
  evaluate(context: Context): unknown;
  /** Taken apart, for explanations. Made anew each time: not for the request path. */
  outline(): Outline;
  /** As far as it can be judged without a request. Made anew each time. */
  condition(): Condition;
};

/** `any` is for tests and explanations, which look at values of every type. */
export type ExpressionType = 'bool' | 'string' | 'int' | 'any';

/** Why an expression was refused. */
export type ExpressionProblem = {
  readonly message: string;
  /** Counts from 0, in UTF-16 code units of the source. */
  readonly offset: number;
  readonly hint?: string | undefined;
};

export type Compile = (source: string, type: ExpressionType) => Expression | ExpressionProblem;

/** Tells a refused expression from a compiled one. */
export function isProblem(result: Expression | ExpressionProblem): result is ExpressionProblem {
  return 'offset' in result;
}
