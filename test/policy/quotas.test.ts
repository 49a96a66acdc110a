import { describe, expect, it } from 'vitest';
import { createRateLimitFields } from '../../src/policy/quotas.ts';
import type { Rule } from '../../src/policy/rule-files.ts';
import { type Asked, compiled, contextWith } from './exchanges.ts';

const rule = (when: string, changes: Partial<Rule> = {}): Rule =>
  ({ id: 'r', effect: 'throttle', mode: 'enforce', routes: null, when: compiled(when), ...changes }) as Rule;

const meters = [
  { name: 'calls_per_minute', windowMs: 60_000 },
  { name: 'spend_per_day', windowMs: 86_400_000 },
];
const counts = { calls_per_minute: 12, spend_per_day: 700 };
const rates = new Map(Object.entries(counts));
const fallsInMs = new Map([
  ['calls_per_minute', 1500],
  ['spend_per_day', 3_600_000],
]);

function told(rules: readonly Rule[], asked: Asked = {}, route = 'github') {
  const fields = createRateLimitFields({ ruleSet: { rules }, meters });
  return Object.fromEntries(fields(contextWith(asked, counts), { route, rates, fallsInMs }));
}

describe('the condition of a throttle rule', () => {
  it.each([
    ['rate.calls_per_minute > 60', 60],
    ['rate.calls_per_minute >= 60', 59],
    ['60 < rate.calls_per_minute', 60],
    ['60 <= rate.calls_per_minute', 59],
    ['rate.calls_per_minute > 0', 0],
    ['request.method == "GET" && rate.calls_per_minute > 60 && "openid" in token.scopes', 60],
    ['agent.id == "agent-7" && (request.method == "GET" || has(token.acr)) && rate.calls_per_minute > 60', 60],
  ])('is a quota: %s', (when, limit) => {
    expect(compiled(when).quota).toEqual({ meter: 'calls_per_minute', limit, isAlways: !when.includes('&&') });
  });

  it.each([
    'true',
    'rate.calls_per_minute < 60',
    'rate.calls_per_minute == 60',
    'rate.calls_per_minute > int(request.time.getHours())',
    'rate.calls_per_minute > (agent.id == "x" ? 100 : 10)',
    'rate.calls_per_minute + 1 > 60',
    'rate.calls_per_minute > 60 || agent.id == "x"',
    '!(rate.calls_per_minute > 60)',
    'rate.calls_per_minute > 60 && rate.spend_per_day > 10',
    'rate.calls_per_minute > 60 && rate.calls_per_minute < 100',
    'rate.calls_per_minute >= 0',
    'rate.calls_per_minute > -1',
    'rate.calls_per_minute > 1000000000000000',
  ])('is no quota: %s', (when) => {
    expect(compiled(when).quota).toBeNull();
  });
});

describe('createRateLimitFields', () => {
  it('tells quota, window, what remains and when the count falls, in whole seconds', () => {
    expect(told([rule('rate.calls_per_minute > 60'), rule('rate.spend_per_day > 500')])).toEqual({
      'ratelimit-policy': '"calls_per_minute";q=60;w=60, "spend_per_day";q=500;w=86400',
      ratelimit: '"calls_per_minute";r=48;t=2, "spend_per_day";r=0;t=3600',
    });
  });

  it('tells the strictest of several of one meter', () => {
    const rules = [60, 20, 40].map((limit) => rule(`rate.calls_per_minute > ${limit}`));
    expect(told(rules)).toMatchObject({ ratelimit: '"calls_per_minute";r=8;t=2' });
  });

  it.each<[string, Rule]>([
    ['is about other requests', rule('request.method == "POST" && rate.calls_per_minute > 60')],
    ['is about other routes', rule('rate.calls_per_minute > 60', { routes: ['other'] })],
    ['can not be evaluated', rule('token.claims.absent == "x" && rate.calls_per_minute > 60')],
    ['does not throttle', rule('rate.calls_per_minute > 60', { effect: 'deny' })],
    ['is not enforced', rule('rate.calls_per_minute > 60', { mode: 'shadow' })],
    ['states no number', rule('rate.calls_per_minute > int(token.auth_time.getHours())')],
  ])('says nothing of a rule that %s', (_name, silent) => {
    expect(told([silent])).toEqual({});
    expect(told([silent, rule('rate.spend_per_day > 900')])).toMatchObject({
      ratelimit: '"spend_per_day";r=200;t=3600',
    });
  });

  it('is about the request at hand', () => {
    const rules = [rule('request.method == "POST" && rate.calls_per_minute > 60', { routes: ['github'] })];
    expect(told(rules, { method: 'POST' })).toMatchObject({ ratelimit: '"calls_per_minute";r=48;t=2' });
    expect(told(rules, { method: 'POST' }, 'other')).toEqual({});
  });
});
