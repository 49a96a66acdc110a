import { describe, expect, it } from 'vitest';
import { isDeny } from '../../../src/decision.ts';
import { createContextBuilder } from '../../../src/policy/context.ts';
import { plainOf } from '../../../src/policy/plain.ts';
import { runTests } from '../../../src/policy/tests/run-tests.ts';
import { buildExchange } from '../../../src/policy/tests/situation.ts';
import { records } from '../../../src/policy/variables.ts';
import { route as clientRoute } from '../../support/client-request.ts';
import { planFor, writeFiles } from './files.ts';

/** Values of expressions in a situation, without any rule that matters. */
async function valuesOf(given: object, values: Readonly<Record<string, unknown>>): Promise<readonly unknown[]> {
  const folder = writeFiles({
    'x.yaml': 'rules: [{ id: all, when: "true", effect: allow }]',
    'x.test.yaml': JSON.stringify({
      meters: ['calls'],
      cases: [{ name: 'the case', ...given, expect: { values } }],
    }),
  });
  const { results, problems } = await runTests(planFor([folder]));
  expect(problems).toEqual([]);
  return results.flatMap(({ mismatches }) => mismatches);
}

describe('a situation', () => {
  it('has the defaults of an ordinary call', async () => {
    const values = {
      'request.method': 'GET',
      'request.path': '/',
      'request.scheme': 'https',
      'request.size': 0,
      'request.headers.size()': 0,
      'token.scopes': [],
      'token.aud': ['https://api.agents.example'],
      'token.age': 60,
      'token.sub == subject.id': true,
      'pop.method': 'dpop',
      'has(pop.x5t)': false,
      'connection.mtls': false,
      'agent.id': 'agent-7',
      'agent.registered': false,
      'subject.human': false,
      'act.depth': 0,
      'rate.calls': 1,
      now: '2026-11-30T12:00:00Z',
    };
    expect(await valuesOf({}, values)).toEqual([]);
  });

  it('derives from a path what a request with it would have', async () => {
    const values = {
      'request.url_path': '/repos/a-b',
      'request.path': '/repos/a-b?q=x%20y&q=z',
      'request.query': { q: ['x y', 'z'] },
    };
    expect(await valuesOf({ request: { path: '/repos/a%2Db?q=x%20y&q=z' } }, values)).toEqual([]);
    const beside = { 'request.path': '/x?a=1&limit=5&tag=b%26c&tag=d', 'request.query["tag"]': ['b&c', 'd'] };
    const request = { path: '/x?a=1', query: { limit: '5', tag: ['b&c', 'd'] } };
    expect(await valuesOf({ request }, beside)).toEqual([]);
  });

  it('shows header fields as rules see them: lower case, without credentials', async () => {
    const headers = { 'X-Team': 'blue', Accept: ['a', 'b'], Authorization: 'DPoP x', cookie: 'y', 'x-gone': null };
    const values = { 'request.headers': { 'x-team': 'blue', accept: 'a, b' } };
    expect(await valuesOf({ request: { headers } }, values)).toEqual([]);
  });

  it('derives ages and times from now', async () => {
    const values = {
      now: '2027-01-02T03:04:05.000Z',
      'request.time == now': true,
      'token.age': 600,
      'token.issued_at': '2027-01-02T02:54:05Z',
      'token.auth_time': '2027-01-02T02:04:05Z',
      'token.expires_at - now': '300s',
      'token.claims.iat': Date.parse('2027-01-02T02:54:05Z') / 1000,
    };
    const given = { now: '2027-01-02T03:04:05Z', token: { age: 600, auth_time: '-1h' } };
    expect(await valuesOf(given, values)).toEqual([]);
  });

  it('gives the token the claims of its fields, and those that are written', async () => {
    const token = { scopes: ['a', 'b'], acr: 'mfa', claims: { tier: 'gold' }, authorization_details: [{ type: 't' }] };
    const values = {
      'jwt.scope': 'a b',
      'token.claims.acr': 'mfa',
      'jwt.tier': 'gold',
      'token.authorization_details[0].type': 't',
    };
    expect(await valuesOf({ token }, values)).toEqual([]);
  });

  it('makes a chain of a depth, and an agent of the outermost actor', async () => {
    expect(await valuesOf({ act: { depth: 2 } }, { 'act.depth': 2, 'act.chain[0].verified': true })).toEqual([]);
    const act = { chain: [{ sub: 'planner' }, { sub: 'worker', profile: 'p' }] };
    const values = {
      'act.depth': 2,
      'agent.id': 'planner',
      'act.chain[1].profile': 'p',
      'act.chain[1].verified': false,
    };
    expect(await valuesOf({ act }, values)).toEqual([]);
  });

  it('makes a certificate of mtls', async () => {
    const values = {
      'connection.mtls': true,
      'has(connection.sha256_peer_certificate_digest)': true,
      'has(pop.x5t)': true,
      'has(pop.jkt)': false,
      'pop.proof_age': 0,
    };
    expect(await valuesOf({ pop: { method: 'mtls' } }, values)).toEqual([]);
  });

  it('holds a body to be what the JSON is, and its size to be its own', async () => {
    const values = { 'request.body.amount': 5, 'request.body.items[1]': 'b', 'request.size': 30 };
    expect(await valuesOf({ request: { body: { amount: 5, items: ['a', 'b'] } } }, values)).toEqual([]);
    expect(await valuesOf({ request: { size: null } }, { 'has(request.size)': false })).toEqual([]);
  });

  it('takes null for a field that is absent', async () => {
    expect(await valuesOf({ token: { acr: null }, pop: { jkt: null } }, { 'has(token.acr)': false })).toEqual([]);
  });

  it('is refused before the rules where a request would be', () => {
    const exchange = buildExchange({ request: { path: '/a/../b' } }, { ...planFor([]), routeOf: () => route });
    expect(isDeny(exchange) && exchange.reason).toBe('target_ambiguous');
  });
});

const route = { name: 'r', audience: 'https://r.example' } as never;

/** Something that could stand in YAML for a value of the type, and is no default. */
function sampleOf(type: string): unknown {
  const samples: Readonly<Record<string, unknown>> = {
    string: 'sample',
    int: 7,
    double: 0.25,
    bool: true,
    dyn: { deep: ['sample'] },
    'google.protobuf.Timestamp': '2026-11-30T11:00:00.000Z',
  };
  if (type in samples) return samples[type];
  const item = /^list<(.+)>$/.exec(type)?.[1];
  if (item !== undefined) return [sampleOf(item)];
  const member = /^map<string, (.+)>$/.exec(type)?.[1];
  if (member !== undefined) return { name: sampleOf(member) };
  const fields = records.find(({ name }) => name === type)?.fields ?? {};
  return Object.fromEntries(Object.entries(fields).map(([field, inner]) => [field, sampleOf(inner)]));
}

describe('every declared variable', () => {
  const derived = ['request.url_path', 'request.time'];
  const rows = records.flatMap(({ variable, fields }) =>
    variable === null ? [] : Object.entries(fields).map(([field, type]) => [`${variable}.${field}`, type] as const),
  );

  it.each(rows.filter(([name]) => !derived.includes(name)))('%s can be given (%s)', async (name, type) => {
    const [variable = '', field = ''] = name.split('.');
    const special: Readonly<Record<string, unknown>> = {
      'request.path': '/sample',
      'request.scheme': 'http',
      'subject.type': 'user',
      'pop.method': 'none',
      'connection.sha256_peer_certificate_digest': 'ab'.repeat(32),
      'request.query': { name: ['sample'] },
    };
    const sample = special[name] ?? sampleOf(type);
    const values = { [name]: plainOf(sample) };
    // A set of claims is never just what is written, and a host is written in lower case.
    if (name === 'token.claims') {
      expect(await valuesOf({ token: { claims: sample } }, { 'token.claims.name': { deep: ['sample'] } })).toEqual([]);
    } else {
      expect(await valuesOf({ [variable]: { [field]: sample } }, values)).toEqual([]);
    }
  });
});

describe('the context of a situation', () => {
  it('has a body only where the route looks into bodies', () => {
    const bodyOn = (jsonBytesMax: number | null) => {
      const given = { request: { body: { a: 1 } } };
      const exchange = buildExchange(given, { ...planFor([]), routeOf: () => ({ ...fullRoute, jsonBytesMax }) });
      if (isDeny(exchange)) throw new TypeError('refused');
      return createContextBuilder({ reads: new Set(['request.body']) })(exchange).request.body;
    };
    expect(bodyOn(1024)).toEqual(new Map([['a', 1]]));
    expect(bodyOn(null)).toBeUndefined();
  });

  it('is made by the code that makes it for requests', () => {
    const exchange = buildExchange({ request: { path: '/x?%ff' } }, { ...planFor([]), routeOf: () => fullRoute });
    if (isDeny(exchange)) throw new TypeError('refused');
    const context = createContextBuilder({ reads: new Set(['request.query']) })(exchange);
    expect(context.unfit).toContain('request.query');
  });
});

const fullRoute = clientRoute({ name: 'r' });
