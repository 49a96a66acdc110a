import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Context } from '../../src/policy/context.ts';
import { compiled, contextWith } from './exchanges.ts';

const text = fc.constantFrom(
  'request.method',
  'request.url_path',
  'request.operation',
  'agent.id',
  'route.name',
  'token.jti',
);
const literal = fc.constantFrom(
  '"GET"',
  '"POST"',
  '"/repos/a"',
  '"/repos"',
  '"github"',
  '"agent-7"',
  '""',
  'token.acr',
);
const plain = fc.oneof(
  fc.tuple(text, fc.constantFrom('==', '!='), literal).map((parts) => parts.join(' ')),
  fc.tuple(literal, fc.constantFrom('==', '!='), text).map((parts) => parts.join(' ')),
  fc.tuple(text, literal).map(([on, by]) => `${on}.startsWith(${by})`),
  fc
    .tuple(text, fc.array(literal, { minLength: 1, maxLength: 3 }))
    .map(([one, all]) => `${one} in [${all.join(', ')}]`),
);
const part = fc.oneof(
  plain,
  plain.map((test) => `!(${test})`),
  plain.map((test) => `!(!(${test}))`),
  fc.tuple(plain, plain).map(([one, other]) => `(${one} || ${other})`),
  fc.constantFrom('"repo:read" in token.scopes', 'token.acr == "high"', '1 / size(token.roles) > 0', 'true', 'false'),
);
const condition = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(' && '));

const contexts: readonly Context[] = [
  contextWith({ method: 'GET', path: '/repos/a' }),
  contextWith({ method: 'POST', path: '/repos', token: { jti: '' } }),
  // As replay has it where a record does not tell what was asked.
  { ...contextWith({}), request: undefined as never },
];

function outcomeOf(source: string, context: Context): unknown {
  try {
    return compiled(source).evaluate(context);
  } catch {
    return 'failed';
  }
}

describe('precondition', () => {
  it('changes nothing about what a condition gives', () => {
    fc.assert(
      fc.property(condition, (source) => {
        for (const context of contexts) {
          // Of an "or" nothing is plain, so that the engine alone says what it gives.
          expect([source, outcomeOf(source, context)]).toEqual([source, outcomeOf(`(${source}) || false`, context)]);
        }
      }),
      { numRuns: 400 },
    );
  });

  it.each([
    'request.method == "PUT"',
    '"PUT" == request.method',
    'request.method != "GET"',
    'request.url_path.startsWith("/users/")',
    '!request.url_path.startsWith("/repos/")',
    'request.method in ["PUT", "PATCH"]',
    'agent.id == "agent-8"',
    'route.name == "jira" && request.operation == "x"',
  ])('asks nothing else where %s is false', (source) => {
    const context = contextWith({ method: 'GET', path: '/repos/a' });
    let isAsked = false;
    const watched = new Proxy(context, {
      get(target, name, receiver) {
        if (name === 'token') isAsked = true;
        return Reflect.get(target, name, receiver);
      },
    });
    expect(compiled(`"repo:read" in token.scopes && ${source}`).evaluate(watched)).toBe(false);
    expect(isAsked).toBe(false);
    expect(compiled('"repo:read" in token.scopes').evaluate(watched)).toBe(true);
    expect(isAsked).toBe(true);
  });
});
