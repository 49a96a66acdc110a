import { describe, expect, it } from 'vitest';
import { type Explained, explainRule, type RuleExplanation } from '../../src/policy/explain.ts';
import { explainDecision } from '../../src/policy/explain-decision.ts';
import type { Rule } from '../../src/policy/rule-files.ts';
import { type Asked, compile, compiled, contextWith } from './exchanges.ts';

function ruleOf(when: string, more: Partial<Rule> = {}): Rule {
  return {
    id: 'the-rule',
    description: undefined,
    routes: null,
    when: compiled(when),
    effect: 'allow',
    message: undefined,
    mode: 'enforce',
    challenge: null,
    place: { file: 'rules.yaml', line: 3 },
    ...more,
  };
}

const explained = (when: string, asked: Asked = {}): RuleExplanation =>
  explainRule(ruleOf(when), compile, contextWith(asked, { calls_per_minute: 3 }));

/** Every part with its value, in the order in which it is written. */
function valuesOf({ source, value, failed, parts }: Explained): readonly (readonly [string, unknown])[] {
  return [[source, failed ?? value] as const, ...parts.flatMap(valuesOf)];
}

describe('a rule explained', () => {
  it('says of each part what its value was', () => {
    const when = '(request.method == "GET" || request.method == "HEAD") && !("admin" in token.scopes)';
    const { result, when: told, file, line } = explained(when, { method: 'HEAD' });
    expect({ result, file, line }).toEqual({ result: 'matched', file: 'rules.yaml', line: 3 });
    expect(valuesOf(told)).toEqual([
      ['(request.method == "GET" || request.method == "HEAD") && !("admin" in token.scopes)', true],
      ['request.method == "GET" || request.method == "HEAD"', true],
      ['request.method == "GET"', false],
      ['request.method', 'HEAD'],
      ['request.method == "HEAD"', true],
      ['request.method', 'HEAD'],
      ['!("admin" in token.scopes)', true],
      ['"admin" in token.scopes', false],
      ['token.scopes', ['openid', 'repo:read']],
    ]);
  });

  it('takes for a loop the item that settles it, else the first', () => {
    const found = explained('token.scopes.exists(s, s.startsWith("repo:") && s.endsWith("read"))').when;
    expect(found.item).toEqual({ name: 's', value: 'repo:read' });
    expect(valuesOf(found).slice(2)).toEqual([
      ['s.startsWith("repo:") && s.endsWith("read")', true],
      ['s.startsWith("repo:")', true],
      ['s', 'repo:read'],
      ['s.endsWith("read")', true],
      ['s', 'repo:read'],
    ]);
    expect(explained('token.scopes.exists(s, s == "absent")').when.item).toEqual({ name: 's', value: 'openid' });
    expect(explained('token.scopes.all(s, s == "openid")').when.item).toEqual({ name: 's', value: 'repo:read' });
    expect(explained('token.roles.exists(r, r == "x")').when).toMatchObject({ value: false, parts: [{ value: [] }] });
  });

  it('looks into loops in loops, and at what actors are', () => {
    const actors = [{ iss: 'i', sub: 'planner', profile: 'p', verified: true }];
    const { when: told } = explained('act.chain.exists(a, a.profile == "p" && a.verified)', { token: { actors } });
    expect(valuesOf(told)).toContainEqual(['a.profile', 'p']);
    const details = [
      { type: 'a', actions: ['x'] },
      { type: 'b', actions: ['x', 'read'] },
    ];
    const nested = explained('token.authorization_details.exists(d, d.actions.exists(a, a == "read"))', {
      token: { claims: { authorization_details: details } },
    });
    expect(nested.when.item).toEqual({ name: 'd', value: details[1] });
    expect(valuesOf(nested.when)).toContainEqual(['a == "read"', true]);
    expect(valuesOf(nested.when)).toContainEqual(['d.actions', ['x', 'read']]);
  });

  it('says why a part has no value', () => {
    const { result, when, toFlip } = explained('token.claims.tier == "gold" && request.method == "GET"');
    expect(result).toBe('failed');
    expect(when.parts[0]?.parts[0]?.failed).toContain('key');
    expect(toFlip).toEqual([]);
  });

  it('shows no value whose name sounds secret, and cuts long ones', () => {
    const asked: Asked = {
      query: 'access_token=s3cret&q=1',
      fields: { 'x-api-key': ['s3cret'], 'x-long': ['y'.repeat(500)] },
      heldBody: { isBound: false, json: { password: 's3cret', other: { session_id: 's3cret' } } },
      token: { claims: { refresh_token: 's3cret' } },
    };
    const when = `request.headers["x-api-key"] == "a" || request.query["access_token"][0] == "b"
      || request.body.password == "c" || request.body.other == request.body || request.path == "d"
      || jwt.refresh_token == "e" || request.headers.exists(h, h == "x") || request.headers["x-long"] == "f"
      || request.query.size() > 9 || token.claims.size() > 9`;
    const { when: told } = explained(when, asked);
    expect(JSON.stringify(told)).not.toContain('s3cret');
    expect(valuesOf(told)).toContainEqual(['request.headers["x-api-key"]', '[secret]']);
    expect(valuesOf(told)).toContainEqual(['request.headers["x-long"]', `${'y'.repeat(200)}…`]);
  });

  it.each([
    '"x-" + request.headers["x-api-key"] == "a"',
    'string(request.headers["x-api-key"]) == "a"',
    '[request.headers["x-api-key"]] == ["a"]',
    '(has(jwt.tier) ? "" : request.headers["x-api-key"]).lowerAscii() == "a"',
    'request.headers.exists(name, request.headers[name] == "a")',
    'request.headers.map(name, request.headers[name].split("-")) == [["a"]]',
    '"" + request.path == "a"',
    'request.path.split("?") == ["a"]',
    'request.query["access_token"].exists(one, one == "a")',
    'request.query.exists(name, request.query[name].exists(one, one == "a"))',
    'jwt.exists(name, string(jwt[name]) == "a")',
  ])('shows no secret that came another way: %s', (when) => {
    const secret = 'S3cret-Of-An-Api';
    const { when: told, toFlip } = explained(when, {
      query: `q=1?&access%5Ftoken=${secret}`,
      fields: { 'x-api-key': [secret] },
      token: { claims: { 'x-api-key': secret } },
    });
    expect(JSON.stringify([told, toFlip])).not.toMatch(/s3cret|of-an-api/i);
    expect(JSON.stringify(told)).toContain('[secret]');
  });

  it('hides no truth, and nothing that only looks like a secret', () => {
    const when = 'request.headers["x-api-key"] == "abc" && token.sub == "abc" && "x-other" in request.headers';
    const { when: told, toFlip } = explained(when, { fields: { 'x-api-key': ['abc'] }, token: { subject: 'abc' } });
    expect(valuesOf(told)).toContainEqual(['request.headers["x-api-key"] == "abc"', true]);
    expect(valuesOf(told)).toContainEqual(['token.sub', 'abc']);
    expect(toFlip[0]?.map(({ source }) => source)).toEqual(['"x-other" in request.headers']);
  });

  it.each([
    [
      'request.method == "PUT" && "x" in token.scopes && request.host != ""',
      ['request.method == "PUT"', '"x" in token.scopes'],
    ],
    ['request.method == "PUT" && request.host == "" || "x" in token.scopes', ['"x" in token.scopes']],
    ['!(request.method == "GET")', ['request.method == "GET"']],
    ['request.method == "GET" && token.sub == "alice"', ['request.method == "GET"']],
    ['request.method == "GET" || token.sub == "alice"', ['request.method == "GET"', 'token.sub == "alice"']],
  ])('says the least that would turn it round: %s', (when, sources) => {
    expect(explained(when).toFlip[0]?.map(({ source }) => source)).toEqual(sources);
  });
});

describe('a decision explained', () => {
  const rules = [
    ruleOf('request.method == "GET" && "repo:write" in token.scopes', { id: 'near' }),
    ruleOf('request.method == "PUT" && token.sub == "bob"', { id: 'far' }),
    ruleOf('rate.calls_per_minute > 60', { id: 'often', effect: 'throttle' }),
    ruleOf('request.url_path == "/x"', { id: 'never', effect: 'deny' }),
    ruleOf('true', { id: 'elsewhere', routes: ['other'] }),
    ruleOf('request.method == "GET"', { id: 'shadow', effect: 'deny', mode: 'shadow' }),
  ];
  const ruleSet = { rules, hash: '', reads: new Set<string>() };
  const explain = (asked: Asked, calls = 1) =>
    explainDecision({ ruleSet, compile }, contextWith(asked, { calls_per_minute: calls }));

  it('has every rule of the route, and the nearest rule that would allow', async () => {
    const told = await explain({});
    expect(told).toMatchObject({
      effect: 'deny',
      reason: 'scope_insufficient',
      rule: 'near',
      would: { rule: 'shadow' },
    });
    expect(told.rules.map(({ id, result }) => [id, result])).toEqual([
      ['near', 'not matched'],
      ['far', 'not matched'],
      ['often', 'not matched'],
      ['never', 'not matched'],
      ['shadow', 'matched'],
    ]);
    expect(told.toFlip).toMatchObject({
      needs: 'any',
      rules: [
        {
          rule: 'near',
          mustMatch: true,
          changes: [{ source: '"repo:write" in token.scopes', is: false, mustBe: true }],
        },
        { rule: 'far', changes: [{}, {}] },
      ],
    });
  });

  it('says of a refusal every rule that stands in the way', async () => {
    const told = await explain({ path: '/x' }, 61);
    expect(told).toMatchObject({ reason: 'rule_denied', rule: 'never' });
    expect(told.toFlip).toMatchObject({
      needs: 'all',
      rules: [
        { rule: 'often', mustMatch: false },
        { rule: 'never', mustMatch: false },
        { rule: 'near', mustMatch: true },
      ],
    });
  });

  it('says of an allowed call what would have refused it', async () => {
    const told = await explain({ token: { scopes: ['repo:write'] } });
    expect(told).toMatchObject({ effect: 'allow', rule: 'near' });
    expect(told.toFlip).toMatchObject({
      needs: 'any',
      rules: [
        { rule: 'near', mustMatch: false },
        { rule: 'often', mustMatch: true },
        { rule: 'never', mustMatch: true },
      ],
    });
  });
});
