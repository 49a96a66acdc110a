import { resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { createCompile } from '../../src/policy/cel.ts';
import { createContextBuilder, withRates } from '../../src/policy/context.ts';
import { createDecide, type Decide } from '../../src/policy/decide.ts';
import { loadRules, type RuleSet } from '../../src/policy/rule-files.ts';
import { type Asked, exchangeWith } from '../policy/exchanges.ts';

/** The shipped rules as the demonstration uses them: all of them, with the meter that they need. */
let ruleSet: RuleSet;
let decide: Decide;

beforeAll(async () => {
  const compile = createCompile({ meters: ['calls_per_minute'] });
  ruleSet = await loadRules({ paths: [resolve(import.meta.dirname, '../../rules')], routes: ['any'], compile });
  decide = createDecide({
    ruleSet,
    onRuleError: (id, fault) => {
      throw new TypeError(`${id} fails`, { cause: fault });
    },
  });
});

function decided(asked: Asked, calls = 1) {
  const build = createContextBuilder({ reads: ruleSet.reads });
  const context = withRates(build(exchangeWith(asked)), new Map([['calls_per_minute', calls]]));
  return decide(context, { route: 'any', fallsInMs: new Map([['calls_per_minute', 12_300]]) });
}

const scoped = (...scopes: string[]): Asked => ({ token: { scopes } });

describe('the shipped rules', () => {
  it.each(['GET', 'HEAD'])('allow %s under /repos/ with repo:read', (method) => {
    expect(decided({ method, path: '/repos/a/b', ...scoped('repo:read') })).toMatchObject({
      effect: 'allow',
      rule: 'reads-need-the-read-scope',
    });
  });

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('allow %s under /repos/ with repo:write', (method) => {
    expect(decided({ method, path: '/repos/a', ...scoped('repo:write') })).toMatchObject({
      effect: 'allow',
      rule: 'writes-need-the-write-scope',
    });
  });

  it('name the scope that is missing', () => {
    expect(decided({ method: 'GET', path: '/repos/a', ...scoped('repo:write') })).toMatchObject({
      reason: 'scope_insufficient',
      challenge: { scope: 'repo:read' },
    });
    expect(decided({ method: 'DELETE', path: '/repos/a', ...scoped('repo:read') })).toMatchObject({
      reason: 'scope_insufficient',
      challenge: { scope: 'repo:write' },
    });
  });

  it.each([
    { method: 'GET', path: '/users/a' },
    { method: 'GET', path: '/repos' },
    { method: 'GET', path: '/a/repos/' },
    { method: 'GET', path: '/Repos/a' },
    { method: 'OPTIONS', path: '/repos/a' },
    { method: 'get', path: '/repos/a' },
  ])('allow nothing else, such as $method $path', (asked) => {
    expect(decided({ ...asked, ...scoped('repo:read', 'repo:write') })).toMatchObject({
      effect: 'deny',
      reason: 'no_matching_rule',
    });
  });

  it('throttle the sixty-first call of a minute', () => {
    const asked = { method: 'GET', path: '/repos/a', ...scoped('repo:read') };
    expect(decided(asked, 60)).toMatchObject({ effect: 'allow' });
    expect(decided(asked, 61)).toMatchObject({
      reason: 'rate_limited',
      rule: 'sixty-calls-a-minute',
      retryAfterSeconds: 13,
      detail: expect.any(String),
    });
  });

  it('cost little', () => {
    expect(ruleSet.rules.reduce((total, rule) => total + rule.when.cost, 0)).toBeLessThan(1000);
  });
});
