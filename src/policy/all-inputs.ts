/**
 * All that rules could read of a request, as an audit record keeps it with `audit.inputs: all`: enough to judge it by
 * rules that were not there yet. What the rules in use see is not touched by it.
 */

import type { Exchange, RuleInputs } from '../exchange.ts';
import { type Context, createContextBuilder } from './context.ts';
import { createReadInputs, unfitPath } from './inputs.ts';
import { DriftRecord, records } from './variables.ts';

/** What is built of a request only where somebody reads it, and may be beyond the bounds of rules. */
const bounded: ReadonlySet<string> = new Set([
  ...['request.headers', 'request.query', 'request.body', 'mcp.tool'],
  ...['token.claims', 'token.authorization_details'],
]);

const declared = records.flatMap(({ variable, fields }) =>
  variable === null ? [] : Object.keys(fields).map((field) => `${variable}.${field}`),
);
const paths: readonly string[] = [...declared, 'mcp.tool.arguments'];

const readerOf = (reads: readonly string[]) => createReadInputs([{ reads: new Set(reads), members: new Map() }]);

export function createReadAllInputs(): (context: Context, exchange: Exchange) => RuleInputs {
  const build = createContextBuilder({ reads: new Set(paths) });
  const readAll = readerOf(paths);
  const readUnbounded = readerOf(paths.filter((path) => !bounded.has(path)));

  /** The context is the one that rules are asked about. */
  return (context, exchange) => {
    const built = build(exchange);
    // What changes while a request is judged is what the rules are asked about; of drift only the tops are built anew.
    const drift = Object.assign(new DriftRecord(), context.drift, { top: built.drift.top });
    const whole: Context = { ...built, revocation: context.revocation, drift };
    if (whole.unfit === null) return readAll(whole);
    const { values, missing } = readUnbounded({ ...whole, unfit: null });
    return { values, missing: [...missing, ...bounded], unfit: unfitPath(context.unfit ?? whole.unfit) };
  };
}
