import { describe, expect, it } from 'vitest';
import type { Context } from '../../src/policy/context.ts';
import { createDecide } from '../../src/policy/decide.ts';
import type { Rule } from '../../src/policy/rule-files.ts';
import { type Asked, compiled, contextWith } from './exchanges.ts';

type Written = Omit<Partial<Rule>, 'when'> & { readonly id: string; readonly when: string };

function rulesOf(written: readonly Written[]): readonly Rule[] {
  return written.map((rule) => ({
    description: undefined,
    routes: null,
    effect: 'allow',
    message: undefined,
    mode: 'enforce',
    challenge: null,
    place: { file: 'rules.yaml', line: 1 },
    ...rule,
    when: compiled(rule.when),
  }));
}

const rates = { calls_per_minute: 61, spend_per_day: 5 };

function decided(
  written: readonly Written[],
  asked: Asked = {},
  circumstances: { route?: string; falls?: [string, number][] } = {},
) {
  const errors: string[] = [];
  const decide = createDecide({ ruleSet: { rules: rulesOf(written) }, onRuleError: (id) => errors.push(id) });
  const context: Context = contextWith(asked, rates);
  const { route = 'github', falls = [] } = circumstances;
  return { ...decide(context, { route, fallsInMs: new Map(falls) }), errors };
}

const allowing: Written = { id: 'allowing', when: 'true' };
const failing = 'token.claims.missing == 1';

describe('decide', () => {
  it('allows by the first matching allow rule in file order, and records every match', () => {
    const decision = decided([
      { id: 'posts', when: 'request.method == "POST"' },
      { id: 'reads', when: 'request.method == "GET"' },
      { id: 'everything', when: 'true' },
    ]);
    expect(decision).toMatchObject({ effect: 'allow', rule: 'reads' });
    expect(decision.matches).toEqual([
      { id: 'reads', effect: 'allow', mode: 'enforce', failed: false },
      { id: 'everything', effect: 'allow', mode: 'enforce', failed: false },
    ]);
  });

  it('denies what no rule allows', () => {
    expect(decided([{ id: 'posts', when: 'request.method == "POST"' }])).toMatchObject({
      effect: 'deny',
      reason: 'no_matching_rule',
      matches: [],
    });
    expect(decided([])).toMatchObject({ reason: 'no_matching_rule' });
  });

  it('lets deny beat challenge, challenge beat throttle, and throttle beat allow', () => {
    const all: Written[] = [
      allowing,
      { id: 'throttling', when: 'true', effect: 'throttle' },
      { id: 'challenging', when: 'true', effect: 'challenge', challenge: { acrValues: 'phr' } },
      { id: 'denying', when: 'true', effect: 'deny', message: 'Not now.' },
      { id: 'denying-too', when: 'true', effect: 'deny', message: 'Never.' },
    ];
    expect(decided(all)).toMatchObject({ reason: 'rule_denied', rule: 'denying', detail: 'Not now.' });
    expect(decided(all.slice(0, 3))).toMatchObject({ reason: 'step_up_required', rule: 'challenging' });
    expect(decided(all.slice(0, 2))).toMatchObject({ reason: 'rate_limited', rule: 'throttling' });
    expect(decided(all.slice(0, 1))).toMatchObject({ effect: 'allow', rule: 'allowing' });
    expect(decided(all).matches?.map((match) => match.id)).toEqual(all.map((rule) => rule.id));
  });

  it('applies a rule with routes on those routes only', () => {
    const rules: Written[] = [
      { id: 'elsewhere', when: 'true', routes: ['mail', 'chat'] },
      { ...allowing, when: 'request.method == "GET"' },
    ];
    expect(decided(rules, {}, { route: 'mail' })).toMatchObject({ rule: 'elsewhere' });
    expect(decided(rules, {}, { route: 'github' })).toMatchObject({ rule: 'allowing', matches: [{ id: 'allowing' }] });
    expect(decided(rules, { method: 'POST' }, { route: 'github' })).toMatchObject({ reason: 'no_matching_rule' });
  });

  it('records shadow rules and does nothing else about them', () => {
    const decision = decided([
      { id: 'shadow-deny', when: 'true', effect: 'deny', mode: 'shadow' },
      { id: 'shadow-error', when: failing, effect: 'deny', mode: 'shadow' },
      allowing,
    ]);
    expect(decision).toMatchObject({ effect: 'allow', rule: 'allowing', errors: ['shadow-error'] });
    expect(decision.matches).toEqual([
      { id: 'shadow-deny', effect: 'deny', mode: 'shadow', failed: false, would: 'deny' },
      { id: 'shadow-error', effect: 'deny', mode: 'shadow', failed: true, would: 'deny' },
      { id: 'allowing', effect: 'allow', mode: 'enforce', failed: false },
    ]);
    expect(decided([{ id: 'shadow-allow', when: 'true', mode: 'shadow' }])).toMatchObject({
      reason: 'no_matching_rule',
    });
  });

  it.each(['allow', 'deny', 'throttle', 'challenge'] as const)('denies where an enforced %s rule fails', (effect) => {
    const decision = decided([
      allowing,
      { id: 'failing', when: failing, effect, message: 'told' },
      { id: 'other', when: failing },
    ]);
    expect(decision).toMatchObject({ effect: 'deny', reason: 'policy_error', rule: 'failing', detail: undefined });
    expect(decision.errors).toEqual(['failing', 'other']);
    expect(decision.matches?.[1]).toEqual({ id: 'failing', effect, mode: 'enforce', failed: true });
  });

  it('lets a deny stand where another rule fails, and a failure stand where another throttles or challenges', () => {
    const failed: Written = { id: 'failing', when: failing };
    expect(decided([failed, { id: 'denying', when: 'true', effect: 'deny' }])).toMatchObject({ reason: 'rule_denied' });
    expect(decided([{ id: 'throttling', when: 'true', effect: 'throttle' }, failed])).toMatchObject({
      reason: 'policy_error',
    });
    expect(decided([{ id: 'challenging', when: 'true', effect: 'challenge' }, failed])).toMatchObject({
      reason: 'policy_error',
    });
  });

  it('denies a request with a value that rules can not be shown whole', () => {
    const decision = decided([allowing], { query: 'a=%' });
    expect(decision).toMatchObject({
      effect: 'deny',
      reason: 'policy_error',
      cause: expect.stringContaining('request.query'),
    });
  });

  it('tells when to come back: when every meter that the rule reads has fallen', () => {
    const limits: Written = {
      id: 'limits',
      when: 'rate.calls_per_minute > 60 || rate.spend_per_day > 9',
      effect: 'throttle',
    };
    const calls: Written = { ...limits, when: 'rate.calls_per_minute > 60' };
    const falls: [string, number][] = [
      ['calls_per_minute', 1001],
      ['spend_per_day', 30_000],
    ];
    expect(decided([limits, allowing], {}, { falls })).toMatchObject({ reason: 'rate_limited', retryAfterSeconds: 30 });
    expect(decided([calls, allowing], {}, { falls })).toMatchObject({ reason: 'rate_limited', retryAfterSeconds: 2 });
    expect(decided([calls], {}, { falls: [['calls_per_minute', 0]] })).toMatchObject({ retryAfterSeconds: 1 });
    expect(decided([{ ...limits, when: 'true' }], {}, { falls })).toMatchObject({ retryAfterSeconds: 1 });
  });

  it('says which login it asks for', () => {
    const rule: Written = {
      id: 'fresh',
      when: '!has(token.acr) || token.acr != "phr"',
      effect: 'challenge',
      challenge: { acrValues: 'phr phrh', maxAgeSeconds: 300 },
      message: 'Log in again with a passkey.',
    };
    expect(decided([allowing, rule])).toMatchObject({
      reason: 'step_up_required',
      rule: 'fresh',
      detail: 'Log in again with a passkey.',
      challenge: { acrValues: 'phr phrh', maxAgeSeconds: 300 },
    });
    expect(decided([allowing, rule], { token: { acr: 'phr' } })).toMatchObject({ effect: 'allow' });
  });
});

describe('a denied request that more scopes would allow', () => {
  const reads: Written = { id: 'reads', when: 'request.method == "GET" && "repo:admin" in token.scopes' };

  it('is told which', () => {
    expect(decided([reads])).toMatchObject({
      reason: 'scope_insufficient',
      rule: 'reads',
      matches: [],
      challenge: { scope: 'repo:admin' },
    });
  });

  it('is told no more than needed, of what it does not hold', () => {
    const either: Written = {
      id: 'either',
      when: '"repo:read" in token.scopes && ("x" in token.scopes || "y" in token.scopes) && "z" in token.scopes',
    };
    expect(decided([either])).toMatchObject({ reason: 'scope_insufficient', challenge: { scope: 'y z' } });
  });

  it('is told of the first rule in file order that scopes can satisfy', () => {
    const posts: Written = { id: 'posts', when: 'request.method == "POST" && "repo:write" in token.scopes' };
    const other: Written = { id: 'other', when: '"other" in token.scopes' };
    expect(decided([posts, reads, other])).toMatchObject({ rule: 'reads', challenge: { scope: 'repo:admin' } });
  });

  it.each<[string, Written[]]>([
    ['another method', [{ ...reads, when: 'request.method == "POST" && "repo:admin" in token.scopes' }]],
    ['fewer scopes', [{ ...reads, when: '"repo:admin" in token.scopes && !("openid" in token.scopes)' }]],
    ['a shadow rule enforced', [{ ...reads, mode: 'shadow' }]],
    ['another route', [{ ...reads, routes: ['mail'] }]],
    ['no deny for that very scope', [reads, { id: 'no-admins', when: '"repo:admin" in token.scopes', effect: 'deny' }]],
  ])('is not sent for scopes where it would need %s', (_, rules) => {
    expect(decided(rules)).toMatchObject({ reason: 'no_matching_rule' });
    expect(decided(rules)).not.toHaveProperty('challenge');
  });

  it('is not told of scopes where a rule denies, throttles or fails', () => {
    for (const effect of ['deny', 'throttle', 'challenge'] as const) {
      expect(decided([reads, { id: 'other', when: 'true', effect }]).effect).toBe('deny');
      expect(decided([reads, { id: 'other', when: 'true', effect }])).not.toMatchObject({
        reason: 'scope_insufficient',
      });
    }
    expect(decided([reads, { id: 'failing', when: failing }])).toMatchObject({ reason: 'policy_error' });
  });
});
