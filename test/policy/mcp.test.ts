import { describe, expect, it } from 'vitest';
import type { HeldBody } from '../../src/exchange.ts';
import { createContextBuilder } from '../../src/policy/context.ts';
import { compile, compiled, exchangeWith } from './exchanges.ts';

type Mcp = HeldBody['mcp'];
const sending = (to: unknown): Mcp => ({ method: 'tools/call', tool: { name: 'send', arguments: { to, n: 2 } } });
const listing: Mcp = { method: 'tools/list', tool: null };
const bare: Mcp = { method: 'tools/call', tool: { name: 'ping', arguments: undefined } };

/** What the expression gives, where just what it reads is built. */
function judged(source: string, mcp: Mcp | undefined): unknown {
  const expression = compiled(source);
  const build = createContextBuilder({ reads: expression.reads });
  const heldBody = mcp === undefined ? {} : { heldBody: { isBound: false, json: {}, mcp } };
  const context = build(exchangeWith(heldBody));
  if (context.unfit !== null) return context.unfit;
  try {
    return expression.evaluate(context);
  } catch {
    return 'failed';
  }
}

describe('mcp', () => {
  it.each<[string, Mcp, unknown]>([
    ['mcp.method == "tools/call"', sending('bob'), true],
    ['mcp.method == "tools/list"', listing, true],
    ['mcp.tool.name == "send"', sending('bob'), true],
    ['mcp.tool.name in ["ping"]', bare, true],
    ['mcp.tool.arguments.to == "bob"', sending('bob'), true],
    ['mcp.tool.arguments.n == 2', sending('bob'), true],
    ['mcp["tool"].arguments["to"] == "bob"', sending('bob'), true],
    ['mcp.tool["arguments"].to == "bob"', sending('bob'), true],
    ['mcp.tool.arguments.to.exists(one, one == "eve")', sending(['bob', 'eve']), true],
    ['has(mcp.method) && has(mcp.tool) && has(mcp.tool.arguments) && has(mcp.tool.arguments.to)', sending('x'), true],
    ['has(mcp.tool.arguments)', bare, false],
    ['has(mcp.tool)', listing, false],
    ['has(mcp.tool) && has(mcp.tool.arguments)', listing, false],
    // What is asked for is the last name only: all before it must be there.
    ['has(mcp.tool.name)', listing, 'failed'],
    ['has(mcp.tool.arguments.to)', bare, 'failed'],
  ])('%s', (source, mcp, expected) => {
    expect(judged(source, mcp)).toBe(expected);
  });

  it.each<[string, Mcp | undefined]>([
    ['a body of another kind', null],
    ['a batch', 'batch'],
    ['no body', undefined],
  ])('is without fields for %s, so that a rule which does not ask first fails', (_name, mcp) => {
    expect(judged('has(mcp.method) || has(mcp.tool)', mcp)).toBe(false);
    expect(judged('mcp.method == "tools/call"', mcp)).toBe('failed');
    expect(judged('mcp.tool.name == "send"', mcp)).toBe('failed');
    expect(judged('mcp.method != "tools/call"', mcp)).toBe('failed');
  });

  it('has arguments that are too large for a rule that reads them, and for no other', () => {
    const large = sending('x'.repeat(70_000));
    expect(judged('has(mcp.tool) && mcp.tool.name == "send"', large)).toBe(true);
    expect(judged('mcp["tool"].name == "send"', large)).toBe(true);
    for (const source of [
      'mcp.tool.arguments.n == 2',
      'mcp.tool["arguments"].n == 2',
      'has(mcp.tool.arguments.n)',
      '[mcp.tool].exists(tool, has(tool.arguments.n))',
    ]) {
      expect(judged(source, large), source).toMatch(/^mcp\.tool\.arguments: /);
    }
  });

  it.each([
    'mcp.tool.argument.x == 1',
    'mcp.methods == "x"',
    'mcp.tool == "x"',
    'mcp.method == 1',
    'has(mcp.tool.nam)',
  ])('is typed: %s is refused', (source) => {
    expect(compile(source, 'bool')).toHaveProperty('offset');
  });
});

describe('request.operation', () => {
  it('is the name that the exchange has', () => {
    expect(judged('request.operation == "GET /repos/{repo}"', null)).toBe(true);
  });
});
