import { describe, expect, it } from 'vitest';
import type { RuleInputs } from '../../src/exchange.ts';
import { createReadAllInputs } from '../../src/policy/all-inputs.ts';
import { createContextBuilder, withRates } from '../../src/policy/context.ts';
import { createReadInputs, type RecordedInputs, restoreContext, wantedBy } from '../../src/policy/inputs.ts';
import { records } from '../../src/policy/variables.ts';
import { auditLine } from '../../src/record/audit-record.ts';
import { type Asked, compiled, exchangeWith } from './exchanges.ts';

/** Builds the record of a request for these expressions, as JSON, and the context that it was. */
function recorded(sources: readonly string[], asked: Asked = {}, rates: Readonly<Record<string, number>> = {}) {
  const expressions = sources.map((source) => compiled(source, 'any'));
  const build = createContextBuilder({ reads: new Set(expressions.flatMap(({ reads }) => [...reads])) });
  const exchange = exchangeWith(asked);
  exchange.rates = new Map(Object.entries(rates));
  const context = withRates(build(exchange), exchange.rates);
  exchange.inputs = createReadInputs(expressions)(context);
  const record = JSON.parse(auditLine(exchange)) as RecordedInputs & { readonly inputs: RuleInputs };
  return { record, context, expressions };
}

const asked: Asked = {
  method: 'POST',
  path: '/repos/a',
  query: 'q=x&access_token=s3cret&q=y',
  fields: { 'x-team': ['blue'], 'x-other': ['o'], 'x-api-key': ['s3cret'] },
  token: {
    claims: { tier: 'gold', level: 3, nested: { list: ['a', { b: 1.5 }] }, authorization_details: [{ type: 't' }] },
    acr: 'mfa',
    authTimeMs: Date.UTC(2026, 10, 30, 11),
    roles: ['dev'],
    actors: [{ iss: 'i', sub: 's', profile: 'p', verified: true }],
  },
  statedReason: 'because',
  heldBody: { isBound: true, json: { amount: 5, items: [null, 'x'], password: 's3cret' } },
};

const readable = [
  'request.headers["x-team"] == "blue"',
  'request.query["q"] == ["x", "y"]',
  'request.body.amount == 5 && request.body.items.size() == 2',
  'token.claims.tier == "gold" && jwt.level >= 3 && jwt.nested.list[1].b == 1.5',
  'has(token.claims.absent) || "x-absent" in request.headers',
  'has(token.acr) && token.acr == "mfa" && now - token.auth_time == duration("1h")',
  'token.authorization_details.exists(d, d.type == "t")',
  'act.chain.exists(a, a.sub == "s" && a.verified) && act.depth == 1',
  'rate.calls_per_minute > 60',
  'token.age == 90 && token.issued_at < now && token.expires_at > now',
  'pop.method == "dpop" && pop.proof_age == 2 && pop.nonce && pop.body_bound && !has(pop.x5t)',
  'request.reason == "because" && request.url_path == "/repos/a" && request.method == "POST"',
  'cidr("10.0.0.0/8").contains(source.address) && route.name == "github" && request.size == 0',
  'agent.id == "agent-7" && !agent.registered && !has(agent.owner) && subject.type == "unknown"',
  '"dev" in token.roles && "openid" in token.scopes && token.sub == subject.id && token.iss == agent.issuer',
  'mcp.method == "tools/call"',
  'drift.ready && drift.score > 0.995 && drift.tainted && drift.samples == 1234 && !drift.stale',
  'drift.top.exists(t, t.contains("new"))',
];

describe('the inputs of a record', () => {
  it('give every expression the value that it had', () => {
    const { record, context, expressions } = recorded(readable, asked, { calls_per_minute: 61 });
    const restored = restoreContext(record, wantedBy(expressions));
    expect(restored.missing).toEqual([]);
    for (const { source, evaluate } of expressions) {
      const outcome = (of: typeof context) => {
        try {
          return evaluate(of);
        } catch {
          return 'failed';
        }
      };
      expect([source, outcome(restored.context)]).toEqual([source, outcome(context)]);
    }
    expect(expressions.slice(0, 4).map(({ evaluate }) => evaluate(restored.context))).toEqual([true, true, true, true]);
  });

  it('give every declared variable back', () => {
    const fields = records.flatMap(({ variable, fields: types }) =>
      variable === null ? [] : Object.keys(types).map((field) => `${variable}.${field}`),
    );
    // Paths with secrets in their query are not kept; that has a test of its own.
    const { record, context, expressions } = recorded(fields, {
      ...asked,
      query: 'q=x',
      fields: {},
      heldBody: { isBound: true, json: [1] },
    });
    const restored = restoreContext(record, wantedBy(expressions));
    expect(restored.missing).toEqual([]);
    for (const { variable } of records) {
      if (variable === null) continue;
      const of = (from: object) => (from as Readonly<Record<string, unknown>>)[variable];
      expect({ [variable]: of(restored.context) }).toEqual({ [variable]: of(context) });
    }
  });

  it('hold what rules read, and nothing else', () => {
    const { record } = recorded(
      ['request.headers["x-team"] == "a" && has(jwt.tier)', 'request.method == "GET"'],
      asked,
    );
    expect(record.inputs).toEqual({
      values: { 'request.headers[x-team]': 'blue', 'token.claims[tier]': 'gold' },
      missing: [],
    });
  });

  it('hold nothing whose name sounds secret, and say so', () => {
    const sources = [
      'request.headers.exists(name, name == "x")',
      'request.query["access_token"][0] == "x"',
      'request.body.password == "x" || request.path == "/"',
    ];
    const { record, expressions } = recorded(sources, asked);
    expect(JSON.stringify(record)).not.toContain('s3cret');
    const missing = [
      'request.headers[x-api-key]',
      'request.query[access_token]',
      'request.body[password]',
      'request.path',
    ];
    expect([...record.inputs.missing].toSorted()).toEqual(missing.toSorted());
    expect([...restoreContext(record, wantedBy(expressions)).missing].toSorted()).toEqual(missing.toSorted());
  });

  it.each(['a=1?access_token=s3cret', 'a=1&%61ccess%5Ftoke%6e=s3cret'])(
    'hold no path with a secret in it: ?%s',
    (query) => {
      const { record } = recorded(['request.path == "/"'], { ...asked, query });
      expect(record.inputs).toEqual({ values: {}, missing: ['request.path'] });
    },
  );

  it('hold nothing beyond their bounds, and say so', () => {
    const long = { ...asked, fields: { 'x-team': ['x'.repeat(4097)], 'x-other': ['y'.repeat(4096)] } };
    const { record } = recorded(['request.headers["x-team"] == request.headers["x-other"]'], long);
    expect(record.inputs.missing).toEqual(['request.headers[x-team]']);
    expect(Object.keys(record.inputs.values)).toEqual(['request.headers[x-other]']);
    const path = `/${'x'.repeat(2000)}`;
    const deep = recorded(['request.url_path == "/"'], { ...asked, path });
    expect(restoreContext(deep.record, wantedBy(deep.expressions)).context.request.url_path).toBe(path);
  });

  it('hold nothing of a request that is beyond the bounds of rules', () => {
    const { record, context, expressions } = recorded(['"q" in request.query && has(token.acr)'], {
      ...asked,
      query: '%ff',
    });
    expect(context.unfit).not.toBeNull();
    expect(record.inputs).toEqual({ values: {}, missing: ['request.query', 'token.acr'], unfit: 'request.query' });
    expect(restoreContext(record, wantedBy(expressions)).missing).toEqual(['request.query[q]', 'token.acr']);
  });

  it('say what they lack for rules that read something else', () => {
    const { record } = recorded(['request.headers["x-team"] == "a"'], asked);
    const other = [
      compiled('request.headers["x-team"] == request.headers["x-other"]'),
      compiled('request.query.size() > 0 && has(token.acr) && rate.spend_per_day > 1 && request.method == "GET"'),
      compiled('request.headers.size() > 0'),
    ];
    expect(restoreContext(record, wantedBy(other.slice(0, 2))).missing).toEqual([
      'request.headers[x-other]',
      'request.query',
      'token.acr',
      'rate.spend_per_day',
    ]);
    expect(restoreContext(record, wantedBy(other.slice(2))).missing).toEqual(['request.headers']);
  });
});

describe('all inputs of a record', () => {
  /** As with `audit.inputs: all`, where no rule in use reads anything. */
  function recordedAll(changes: Asked, reads: readonly string[] = []) {
    const exchange = exchangeWith(changes);
    exchange.rates = new Map([['calls_per_minute', 61]]);
    const context = withRates(createContextBuilder({ reads: new Set(reads) })(exchange), exchange.rates);
    exchange.inputs = createReadAllInputs()(context, exchange);
    return { record: JSON.parse(auditLine(exchange)) as RecordedInputs & { readonly inputs: RuleInputs }, context };
  }

  it('give rules that were not there yet what they read', () => {
    const { record } = recordedAll({
      ...asked,
      heldBody: {
        isBound: true,
        json: { amount: 5, items: [null, 'x'] },
        mcp: { method: 'tools/call', tool: { name: 'pay', arguments: { to: 'x' } } } as never,
      },
    });
    const expressions = [...readable.slice(0, -1), 'mcp.tool.name == "pay" && mcp.tool.arguments.to == "x"'].map(
      (source) => compiled(source, 'any'),
    );
    const { context, missing } = restoreContext(record, wantedBy(expressions));
    expect(missing).toEqual([]);
    const wrong = expressions.filter(({ evaluate }) => evaluate(context) !== true).map(({ source }) => source);
    expect(wrong).toEqual(['has(token.claims.absent) || "x-absent" in request.headers']);
  });

  it('hold nothing that has a name in it which sounds secret, and say so', () => {
    const { record } = recordedAll({
      ...asked,
      token: { claims: { tier: 'gold', profile: { apiKey: 's3cret' }, keys: [{ password: 's3cret' }] } },
      heldBody: { isBound: true, json: { amount: 5, login: { user: 'a', password: 's3cret' } } },
    });
    expect(JSON.stringify(record)).not.toContain('s3cret');
    expect(record.inputs.values).toMatchObject({
      'token.claims': { tier: 'gold' },
      'request.body': { amount: 5 },
      'request.headers': { 'x-team': 'blue', 'x-other': 'o' },
      'request.query': { q: ['x', 'y'] },
    });
    expect([...record.inputs.missing].toSorted()).toEqual([
      'request.body[login]',
      'request.headers[x-api-key]',
      'request.path',
      'request.query[access_token]',
      'token.claims[keys]',
      'token.claims[profile]',
    ]);
  });

  it('hold bodies within a limit only, and few names of what is left out', () => {
    const long = recordedAll({ heldBody: { isBound: true, json: { text: 'x'.repeat(5000) } } }).record.inputs;
    expect(long.missing).toEqual(['request.body']);
    const names = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`token-${index}`, 'x']));
    const many = recordedAll({ heldBody: { isBound: true, json: names } }).record.inputs;
    expect(many.missing).toEqual(['request.body']);
  });

  it('leave what rules see as it is, and name what is beyond its bounds', () => {
    const { record, context } = recordedAll({ ...asked, query: '%ff' });
    expect(context.unfit).toBeNull();
    expect(context.request.headers).toBeUndefined();
    expect(record.inputs.unfit).toBe('request.query');
    expect(record.inputs.values).toMatchObject({ 'token.acr': 'mfa', 'token.roles': ['dev'] });
    const restored = (source: string) => restoreContext(record, wantedBy([compiled(source)]));
    expect(restored('"q" in request.query').context.unfit).toContain('request.query');
    expect(restored('token.acr == "mfa"')).toMatchObject({ missing: [], context: { unfit: null } });
    expect(restored('has(token.claims.tier)').missing).toEqual(['token.claims[tier]']);
  });
});
