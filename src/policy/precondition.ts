/**
 * What must hold for a condition to hold, where that is plain to see: most rules begin with a method or a path, and most
 * requests are of another. CEL's `&&` is false where either side is, whatever the other side gives, an error included;
 * so a condition with one false part needs no evaluation.
 */

import type { ASTNode } from '@marcbachmann/cel-js';
import type { Context } from './context.ts';

/** False where the condition is false for certain; true where it has to be evaluated. */
export type Precondition = (context: Context) => boolean;

type Read = (context: Partial<Context>) => string | undefined;
type Test = { readonly read: Read; readonly holds: (text: string) => boolean };

/** Texts that every request has. What is replayed from a record may lack one, and then nothing is certain. */
const texts: ReadonlyMap<string, Read> = new Map<string, Read>([
  ['request.method', ({ request }) => request?.method],
  ['request.url_path', ({ request }) => request?.url_path],
  ['request.operation', ({ request }) => request?.operation],
  ['agent.id', ({ agent }) => agent?.id],
  ['route.name', ({ route }) => route?.name],
]);

/** Null for a condition of which nothing is that plain. */
export function preconditionOf(condition: ASTNode): Precondition | null {
  const tests = conjunctsOf(condition)
    .map(plainTest)
    .filter((test) => test !== null);
  if (tests.length === 0) return null;
  return (context) => {
    for (const { read, holds } of tests) {
      const text = read(context);
      if (typeof text === 'string' && !holds(text)) return false;
    }
    return true;
  };
}

/** The parts of `a && b && c`; a condition of another kind is its only part. */
export function conjunctsOf(node: ASTNode): readonly ASTNode[] {
  return node.op === '&&' ? node.args.flatMap(conjunctsOf) : [node];
}

function plainTest(node: ASTNode): Test | null {
  switch (node.op) {
    case '!_': {
      const test = plainTest(node.args);
      return test === null ? null : { read: test.read, holds: (text) => !test.holds(text) };
    }
    case '==':
    case '!=': {
      const [left, right] = node.args;
      const isEqual = node.op === '==';
      return testOf(textOf(left) ?? textOf(right), literalOf(right) ?? literalOf(left), (literal) =>
        isEqual ? (text) => text === literal : (text) => text !== literal,
      );
    }
    case 'rcall': {
      const [name, receiver, [argument]] = node.args;
      if (name !== 'startsWith' || argument === undefined) return null;
      return testOf(textOf(receiver), literalOf(argument), (literal) => (text) => text.startsWith(literal));
    }
    case 'in': {
      const [item, list] = node.args;
      if (list.op !== 'list') return null;
      const literals = list.args.map(literalOf);
      const known = new Set(literals);
      return testOf(textOf(item), known.has(null) ? null : '', () => (text) => known.has(text));
    }
    default:
      return null;
  }
}

function testOf(read: Read | null, literal: string | null, holds: (literal: string) => Test['holds']): Test | null {
  return read === null || literal === null ? null : { read, holds: holds(literal) };
}

function textOf(node: ASTNode): Read | null {
  if (node.op !== '.' || node.args[0].op !== 'id') return null;
  return texts.get(`${node.args[0].args}.${node.args[1]}`) ?? null;
}

function literalOf(node: ASTNode): string | null {
  return node.op === 'value' && typeof node.args === 'string' ? node.args : null;
}
