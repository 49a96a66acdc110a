import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Effect, Mode } from '../../src/decision.ts';
import { createReadAllInputs } from '../../src/policy/all-inputs.ts';
import { createContextBuilder, withRates } from '../../src/policy/context.ts';
import { createDecide } from '../../src/policy/decide.ts';
import { explainRecord, isExplainableRecord } from '../../src/policy/explain-decision.ts';
import { createReadInputs } from '../../src/policy/inputs.ts';
import { createReplay, isReplayableRecord, type ReplayableRecord } from '../../src/policy/replay.ts';
import { createReplayCounter } from '../../src/policy/replay-report.ts';
import type { Rule, RuleSet } from '../../src/policy/rule-files.ts';
import { wouldOf } from '../../src/policy/shadow.ts';
import { createShadowCounter, isRecordedDecision } from '../../src/policy/shadow-report.ts';
import { auditLine } from '../../src/record/audit-record.ts';
import { type Asked, compile, compiled, exchangeWith } from './exchanges.ts';

type Written = {
  readonly when: string;
  readonly effect: Effect;
  readonly mode: Mode;
  readonly routes: readonly string[] | null;
};

const ruleSetOf = (written: readonly Written[], prefix: string): readonly Rule[] =>
  written.map(({ when, effect, mode, routes }, index) => ({
    id: `${prefix}${index}`,
    description: undefined,
    routes,
    when: compiled(when),
    effect,
    message: undefined,
    mode,
    challenge: effect === 'challenge' ? { acrValues: 'urn:strong' } : null,
    place: { file: 'x', line: 1 },
  }));

const noFalls = new Map<string, number>();

/** What these rules decide about a request, and its record. */
function judged(rules: readonly Rule[], asked: Asked, { rates = {}, inputs = 'read', enforcement = 'enforce' }: More) {
  const exchange = exchangeWith(asked);
  exchange.rates = new Map(Object.entries(rates));
  const reads = new Set(rules.flatMap(({ when }) => [...when.reads]));
  const context = withRates(createContextBuilder({ reads })(exchange), exchange.rates);
  if (inputs === 'read') exchange.inputs = createReadInputs(rules.map(({ when }) => when))(context);
  if (inputs === 'all') exchange.inputs = createReadAllInputs()(context, exchange);
  const decide = createDecide({ ruleSet: { rules }, enforcement, onRuleError: () => {} });
  exchange.decision = decide(context, { route: exchange.route?.name ?? '', fallsInMs: noFalls });
  const record: unknown = JSON.parse(auditLine(exchange));
  if (!isReplayableRecord(record)) throw new TypeError('is no record');
  return { verdict: wouldOf(exchange.decision), record, exchange };
}

type More = {
  readonly rates?: Readonly<Record<string, number>>;
  readonly inputs?: 'read' | 'all' | 'off';
  readonly enforcement?: Mode;
};

const atom = fc.constantFrom(
  'true',
  'false',
  'request.method == "GET"',
  'request.url_path.startsWith("/repos/")',
  'request.path.contains("tag=a")',
  'request.headers["x-team"] == "blue"',
  '"x-team" in request.headers',
  'request.headers.exists(name, name == "x-api-key")',
  '"a" in request.query["tag"]',
  'size(request.query) > 1',
  'request.body.amount > 3',
  'has(request.body.amount)',
  '"amount" in request.body',
  'has(token.claims.tier) && token.claims.tier == "gold"',
  'jwt.groups.exists(group, group == "ops")',
  'token.claims.missing == "x"',
  'has(token.acr) && token.acr == "mfa"',
  'token.acr == "mfa"',
  '"repo:read" in token.scopes',
  '"repo:write" in token.scopes',
  '"dev" in token.roles',
  'token.authorization_details.exists(detail, detail.type == "t")',
  'rate.calls_per_minute > 5',
  'rate.spend_per_day > 5',
  'has(agent.owner) && agent.owner == "o"',
  'has(mcp.tool) && mcp.tool.name == "t"',
  'has(mcp.tool) && mcp.tool.arguments.to == "x"',
  'cidr("10.0.0.0/8").contains(source.address)',
  'now - token.issued_at > duration("1m")',
  'act.depth == 0',
  'revocation.age < 5',
);
const { when } = fc.letrec<{ when: string }>((tie) => ({
  when: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    atom,
    fc.tuple(tie('when'), fc.constantFrom('&&', '||'), tie('when')).map(([a, op, b]) => `(${a} ${op} ${b})`),
    fc.tuple(tie('when'), tie('when'), tie('when')).map(([c, a, b]) => `(${c} ? ${a} : ${b})`),
    tie('when').map((a) => `!(${a})`),
  ),
}));
const ruleSet = fc.array(
  fc.record({
    when,
    effect: fc.constantFrom<Effect>('allow', 'allow', 'allow', 'deny', 'throttle', 'challenge'),
    mode: fc.constantFrom<Mode>('enforce', 'enforce', 'enforce', 'shadow'),
    routes: fc.constantFrom<Written['routes']>(null, null, ['github'], ['other']),
  }),
  { minLength: 1, maxLength: 5 },
);
const asked: fc.Arbitrary<Asked> = fc.record({
  method: fc.constantFrom('GET', 'POST'),
  path: fc.constantFrom('/repos/a', '/', `/${'x'.repeat(1500)}`),
  query: fc.constantFrom(null, 'tag=a', 'tag=b&q=1', '%ff', 'access_token=s3cret'),
  fields: fc.constantFrom({}, { 'x-team': ['blue'] }, { 'x-team': ['red'], 'x-api-key': ['s3cret'] }),
  token: fc.record({
    claims: fc.constantFrom(
      {},
      { tier: 'gold', groups: ['ops', null] },
      { tier: 3, groups: 'ops' },
      { groups: Array.from({ length: 300 }, () => 'x') },
      { authorization_details: [{ type: 't' }] },
      { authorization_details: 'none' },
    ),
    acr: fc.constantFrom(null, 'mfa'),
    scopes: fc.constantFrom(
      [],
      ['repo:read'],
      ['repo:read', 'repo:write'],
      Array.from({ length: 300 }, () => 's'),
    ),
    roles: fc.constantFrom([], ['dev']),
  }),
  agent: fc.record({ owner: fc.constantFrom(null, 'o') }),
  heldBody: fc.constantFrom(
    undefined,
    ...[{ amount: 5 }, { amount: 'x' }, ['amount'], 'amount', null, { amount: 5, deep: { password: 's3cret' } }].map(
      (json) => ({ isBound: true, json, mcp: null }),
    ),
    {
      isBound: false,
      json: {},
      mcp: { method: 'tools/call', tool: { name: 't', arguments: { to: 'x' } } } as never,
    },
  ),
}) as fc.Arbitrary<Asked>;
const rates = fc.constantFrom({ calls_per_minute: 3, spend_per_day: 9 }, { calls_per_minute: 9 });

describe('replay', () => {
  const numRuns = 1500;

  for (const inputs of ['read', 'all', 'off'] as const) {
    it(`foretells what other rules decide, or says that it can't, with inputs ${inputs}`, () => {
      let [told, untold, flips] = [0, 0, 0];
      fc.assert(
        fc.property(ruleSet, ruleSet, asked, rates, (one, other, request, counts) => {
          const candidate = ruleSetOf(other, 'r');
          const { record } = judged(ruleSetOf(one, 'r'), request, { rates: counts, inputs });
          expect(JSON.stringify(record)).not.toContain('s3cret');
          const replayed = createReplay({ rules: candidate })(record);
          const { verdict } = judged(candidate, request, { rates: counts });
          // Only with all inputs it is known of a value that nobody read then whether it was beyond its bounds.
          const isUnfit = verdict.reason === 'policy_error' && verdict.rule === null;
          if (replayed.kind === 'told') {
            if (inputs === 'all' || !isUnfit) expect(replayed.is).toEqual(verdict);
            told++;
            if (replayed.is.effect !== replayed.was.effect) flips++;
          } else {
            expect(replayed).toEqual({ kind: 'untold', missing: expect.anything() });
            untold++;
          }
        }),
        { numRuns },
      );
      // What is tested is not nothing: enough can be told, something not, and something flips.
      expect(told).toBeGreaterThan(numRuns / 4);
      expect(untold).toBeGreaterThan(0);
      expect(flips).toBeGreaterThan(numRuns / 20);
    });
  }

  it('finds nothing changed by the rules that decided', () => {
    fc.assert(
      fc.property(
        ruleSet,
        asked,
        rates,
        fc.constantFrom<Mode>('enforce', 'shadow'),
        (written, request, counts, mode) => {
          const rules = ruleSetOf(written, 'r');
          const { record } = judged(rules, request, { rates: counts, enforcement: mode });
          const replayed = createReplay({ rules })(record);
          if (replayed.kind === 'told') expect(replayed.is).toEqual(replayed.was);
          else expect(replayed.kind).toBe('untold');
        },
      ),
      { numRuns },
    );
  });

  const allows = (source: string, effect: Effect = 'allow'): Written => ({
    when: source,
    effect,
    mode: 'enforce',
    routes: null,
  });

  it('tells what does not depend on what is missing', () => {
    const { record } = judged(ruleSetOf([allows('true')], 'r'), { method: 'GET' }, {});
    const outcomeOf = (...written: Written[]) => createReplay({ rules: ruleSetOf(written, 'n') })(record);
    const missing = 'request.headers["x-team"] == "blue"';
    expect(outcomeOf(allows(`request.method == "POST" && ${missing}`))).toMatchObject({
      kind: 'told',
      is: { reason: 'no_matching_rule' },
    });
    expect(outcomeOf(allows(`${missing} || request.method == "GET"`))).toMatchObject({
      kind: 'told',
      is: { effect: 'allow' },
    });
    expect(outcomeOf(allows(missing))).toEqual({ kind: 'untold', missing: ['request.headers[x-team]'] });
    expect(outcomeOf({ ...allows(missing), routes: ['other'] })).toMatchObject({ kind: 'told' });
    expect(outcomeOf({ ...allows(missing), mode: 'shadow' })).toMatchObject({ kind: 'told' });
    // Whatever a later rule says, the first deny decides; an earlier one might have.
    const denies = allows('request.method == "GET"', 'deny');
    expect(outcomeOf(denies, allows(missing, 'deny'), allows(missing))).toMatchObject({
      kind: 'told',
      is: { reason: 'rule_denied', rule: 'n0' },
    });
    expect(outcomeOf(allows(missing, 'deny'), denies)).toMatchObject({ kind: 'untold' });
    expect(outcomeOf(allows('rate.spend_per_day > 1'))).toEqual({ kind: 'untold', missing: ['rate.spend_per_day'] });
  });

  it('leaves alone what rules did not decide', () => {
    const rules = ruleSetOf([allows('true')], 'r');
    const { record } = judged(rules, {}, {});
    const kindOf = (changes: Partial<ReplayableRecord>) => createReplay({ rules })({ ...record, ...changes }).kind;
    expect(kindOf({})).toBe('told');
    expect(kindOf({ rates: null, decision: 'deny', reason: 'token_expired', rule: null })).toBe('elsewhere');
    expect(kindOf({ rates: null, rule: 'postern:cors-preflight' })).toBe('elsewhere');
    expect(kindOf({ decision: 'deny', reason: 'rule_denied', rule: 'postern:agent-suspended' })).toBe('elsewhere');
    expect(kindOf({ decision: 'deny', reason: 'reason_required', rule: null })).toBe('elsewhere');
  });

  it('takes a call whose credential was not there as the rules decided it', () => {
    const rules = ruleSetOf([allows('true')], 'r');
    const { record } = judged(rules, {}, {});
    const failed: ReplayableRecord = { ...record, decision: 'deny', reason: 'credential_unavailable', rule: null };
    expect(createReplay({ rules })(failed)).toMatchObject({
      kind: 'told',
      was: { effect: 'allow', rule: 'r0' },
      is: { effect: 'allow', rule: 'r0' },
    });
  });
});

describe('a record that no Postern wrote', () => {
  const sources = [
    'act.chain.exists(actor, actor.sub == "x") || source.port > 1 || request.time < now',
    'request.headers["x-team"] == "a" || request.query["tag"][0] == "a" || jwt.tier == "gold"',
    'token.expires_at > now || token.scopes.exists(scope, scope == "x") || rate.calls_per_minute > 1',
    'token.authorization_details.exists(detail, detail.type == "x") || mcp.tool.name == "x" || agent.registered',
  ];
  const rules = ruleSetOf(
    sources.map((when) => ({ when, effect: 'allow', mode: 'enforce', routes: null })),
    'r',
  );
  const { record } = judged(
    rules,
    { fields: { 'x-team': ['blue'] }, token: { claims: { tier: 'gold', authorization_details: [{ type: 'x' }] } } },
    { rates: { calls_per_minute: 2 }, inputs: 'all' },
  );
  const placesOf = (value: unknown, path: readonly string[]): readonly (readonly string[])[] =>
    typeof value !== 'object' || value === null
      ? []
      : Object.entries(value).flatMap(([name, member]) => [[...path, name], ...placesOf(member, [...path, name])]);
  const junk: readonly unknown[] = [
    null,
    1,
    -1.5,
    1e300,
    'x',
    true,
    [],
    [1],
    [null],
    {},
    { a: {} },
    { toString: 1 },
    '9999-99-99',
  ];
  const policy = { ruleSet: { rules, hash: 'h', reads: new Set<string>() } as unknown as RuleSet, compile };

  it('is passed over, or judged as far as it goes: never a fault', async () => {
    const replay = createReplay({ rules });
    const change = fc.tuple(fc.constantFrom(...placesOf(record, [])), fc.constantFrom(...junk));
    let judgedAtAll = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const odd: unknown = structuredClone(record);
        for (const [path, value] of changes) {
          const parent = path.slice(0, -1).reduce((at: unknown, name) => (at as Record<string, unknown>)?.[name], odd);
          if (typeof parent === 'object' && parent !== null) Object.assign(parent, { [path.at(-1) ?? '']: value });
        }
        if (isRecordedDecision(odd)) createShadowCounter().add(odd);
        if (isExplainableRecord(odd)) await explainRecord(policy, odd);
        if (!isReplayableRecord(odd)) return;
        judgedAtAll++;
        replay(odd);
        createReplayCounter(policy.ruleSet, 5).add(odd);
      }),
      { numRuns: 1000, seed: 6 },
    );
    expect(judgedAtAll).toBeGreaterThan(200);
  }, 60_000);
});
