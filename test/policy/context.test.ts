import { describe, expect, it } from 'vitest';
import { createContextBuilder, withRates, withScopes } from '../../src/policy/context.ts';
import { accessTokenWith, contextWith, evaluated, exchangeWith, nowMs } from './exchanges.ts';

const claimsOf = (claims: Record<string, unknown>) => contextWith({ token: { claims } });

describe('createContextBuilder', () => {
  it('tells what was asked, without credentials', () => {
    const { request } = contextWith({
      method: 'POST',
      path: '/repos/a',
      query: 'x=1',
      bodyBytes: 12,
      statedReason: 'release',
      fields: {
        authorization: ['DPoP secret'],
        'proxy-authorization': ['Basic secret'],
        dpop: ['proof'],
        cookie: ['session=secret'],
        accept: ['text/plain', 'text/html'],
      },
    });
    expect(request).toMatchObject({
      method: 'POST',
      path: '/repos/a?x=1',
      url_path: '/repos/a',
      host: 'github.agents.example.com',
      scheme: 'https',
      id: '0193-decision',
      size: 12n,
      reason: 'release',
      headers: new Map([['accept', 'text/plain, text/html']]),
    });
    expect(request.time?.getTime()).toBe(nowMs);
  });

  it('leaves out the size of a body that does not say it, so that a rule about it denies', () => {
    expect(contextWith({ bodyBytes: null }).request.size).toBeUndefined();
    expect(contextWith({ bodyBytes: 0 }).request.size).toBe(0n);
  });

  it('tells the JSON of a body as Maps and lists, with every item in its place', () => {
    const json = { a: 'x', n: 3, none: null, list: [null, { b: true }, 'y'] };
    const { request, unfit } = contextWith({ heldBody: { isBound: false, json } });
    expect(unfit).toBeNull();
    expect(request.body).toEqual(
      new Map<string, unknown>([
        ['a', 'x'],
        ['n', 3],
        ['list', [new Map(), new Map([['b', true]]), 'y']],
      ]),
    );
    expect(contextWith({ heldBody: { isBound: false, json: [1, 2] } }).request.body).toEqual([1, 2]);
    expect(contextWith({ heldBody: { isBound: false, json: null } }).request.body).toBeUndefined();
    expect(contextWith({}).request.body).toBeUndefined();
  });

  it.each<[string, unknown]>([
    ['nested too deep', { a: [[[[[[[[1]]]]]]]] }],
    ['with too many values', Array.from({ length: 200 }, () => Array.from({ length: 11 }, () => 1))],
    ['with too long a list', Array.from({ length: 257 }, () => 1)],
    ['with too many characters', { a: 'x'.repeat(65_536) }],
  ])('finds a body unfit that it can not tell whole: %s', (_name, json) => {
    const { request, unfit } = contextWith({ heldBody: { isBound: false, json } });
    expect(unfit).toContain('request.body: ');
    expect(request.body).toBeUndefined();
  });

  it('tells whether the body is bound to the proof', () => {
    expect(contextWith({}).pop.body_bound).toBe(false);
    expect(contextWith({ heldBody: { isBound: false, json: 1 } }).pop.body_bound).toBe(false);
    expect(contextWith({ heldBody: { isBound: true, json: undefined } }).pop.body_bound).toBe(true);
  });

  it('decodes the query as pairs in order', () => {
    const { request, unfit } = contextWith({ query: 'a=1&b=%C3%A9+f&a=2&&c&=d&e=f=g' });
    expect(unfit).toBeNull();
    expect(request.query).toEqual(
      new Map([
        ['a', ['1', '2']],
        ['b', ['é f']],
        ['c', ['']],
        ['', ['d']],
        ['e', ['f=g']],
      ]),
    );
  });

  it.each(['a=%', 'a=%ff', '%c3=1', Array.from({ length: 257 }, () => 'a').join('&')])(
    'finds a query unfit that it can not tell whole: %s',
    (query) => {
      const { request, unfit } = contextWith({ query });
      expect(unfit).toContain('request.query');
      expect(request.query).toBeUndefined();
    },
  );

  it('builds only what some rule reads', () => {
    const build = createContextBuilder({ reads: new Set(['request.method']) });
    const context = build(
      exchangeWith({
        query: '%',
        fields: { a: ['1'] },
        token: { scopes: Array.from({ length: 300 }, String), claims: { list: Array.from({ length: 300 }, String) } },
      }),
    );
    expect(context.unfit).toBeNull();
    expect(context.request).toMatchObject({ headers: undefined, query: undefined });
    expect(context.token).toMatchObject({ claims: undefined, authorization_details: undefined });
  });

  it('builds claims for rules that read them as jwt', () => {
    const build = createContextBuilder({ reads: new Set(['jwt']) });
    expect(build(exchangeWith({ token: { claims: { a: 'b' } } })).jwt).toEqual(new Map([['a', 'b']]));
  });

  it('tells the token, and its age at this request', () => {
    const { token } = contextWith({ token: { acr: 'phr', authTimeMs: nowMs - 5000 } });
    expect(token).toMatchObject({
      iss: 'https://login.example.com',
      sub: 'alice',
      aud: ['https://github.agents.example.com'],
      client_id: 'agent-7',
      scopes: ['openid', 'repo:read'],
      roles: [],
      jti: 'token-1',
      age: 90n,
      acr: 'phr',
      auth_time: new Date(nowMs - 5000),
      issued_at: new Date(nowMs - 90_500),
      expires_at: new Date(nowMs + 600_000),
    });
  });

  it('gives requests with one token their own age and the same claims', () => {
    const build = createContextBuilder({ reads: new Set(['token.claims']) });
    const accessToken = accessTokenWith({ claims: { a: 1 } });
    const first = build(exchangeWith({ accessToken }));
    const later = build({ ...exchangeWith({ accessToken }), arrivedAtMs: nowMs + 10_000 });
    expect([first.token.age, later.token.age]).toEqual([90n, 100n]);
    expect(later.token.claims).toBe(first.token.claims);
    expect(later.now.getTime()).toBe(nowMs + 10_000);
  });

  it('tells the client certificate in hexadecimal', () => {
    const { connection } = contextWith({ certificate: { thumbprint: '3q2-7w', uriSan: 'spiffe://a/b' } });
    expect(connection).toMatchObject({
      mtls: true,
      sha256_peer_certificate_digest: 'deadbeef',
      uri_san_peer_certificate: 'spiffe://a/b',
    });
  });

  it('tells the chain of actors, outermost first', () => {
    const actors = [
      { iss: 'https://login.example.com', sub: 'agent-7', profile: 'ai_agent', verified: true },
      { iss: 'https://login.example.com', sub: 'agent-1', profile: '', verified: false },
    ];
    const { act } = contextWith({ token: { actors } });
    expect(act.depth).toBe(2n);
    expect(act.chain.map((link) => ({ ...link }))).toEqual(actors);
  });

  it('needs a vetted request, a route and an identity', () => {
    const build = createContextBuilder({ reads: new Set() });
    for (const missing of ['request', 'route', 'identity'] as const) {
      expect(() => build({ ...exchangeWith(), [missing]: null })).toThrow(TypeError);
    }
  });
});

describe('claims', () => {
  it('become Maps and lists without null', () => {
    const { token, jwt } = claimsOf({ a: { b: [1, null, { c: null, d: true }] }, e: null, f: 'g' });
    expect(token.claims).toEqual(
      new Map<string, unknown>([
        ['a', new Map([['b', [1, new Map([['d', true]])]]])],
        ['f', 'g'],
      ]),
    );
    expect(jwt).toBe(token.claims);
  });

  const deep = (depth: number): unknown => (depth === 0 ? 'x' : { a: deep(depth - 1) });

  it.each<[string, Record<string, unknown>]>([
    ['deep', { a: deep(8) }],
    ['deep in lists', { a: [[[[[[[[1]]]]]]]] }],
    ['long as a list', { a: Array.from({ length: 257 }, () => 1) }],
    ['wide', Object.fromEntries(Array.from({ length: 257 }, (_, index) => [`a${index}`, 1]))],
    ['many', { a: Array.from({ length: 10 }, () => Array.from({ length: 250 }, () => 1)) }],
    ['large', { a: Array.from({ length: 10 }, () => 'x'.repeat(7000)) }],
    ['large in names', { ['x'.repeat(65_537)]: 1 }],
  ])('too %s are unfit as a whole, and never cut short', (_, claims) => {
    const { unfit, token, jwt } = claimsOf(claims);
    expect(unfit).toContain('token.claims');
    expect([token.claims, jwt]).toEqual([undefined, undefined]);
  });

  it('are fit at their bounds', () => {
    expect(claimsOf({ a: deep(7), b: Array.from({ length: 256 }, () => 'x'.repeat(200)) }).unfit).toBeNull();
  });

  it.each([
    [['x']],
    ['x'],
    [{ type: 'payment' }],
    [[{ type: 'payment' }, null]],
    [Array.from({ length: 33 }, () => ({}))],
  ])('with authorization_details %j are unfit', (details) => {
    expect(claimsOf({ authorization_details: details }).unfit).toContain('token.authorization_details');
  });

  it('give authorization details as a list, empty where there are none', () => {
    const details = [{ type: 'payment', limit: 5 }];
    expect(claimsOf({ authorization_details: details }).token.authorization_details).toEqual([
      new Map<string, unknown>([
        ['type', 'payment'],
        ['limit', 5],
      ]),
    ]);
    expect(claimsOf({}).token.authorization_details).toEqual([]);
  });

  it('with more text than rules can look through are unfit, where a rule reads it', () => {
    const wide = 'a'.repeat(9000);
    expect(contextWith({ token: { scopes: [wide] } }).unfit).toContain('token.scopes has more than 8192');
    expect(contextWith({ token: { roles: [wide] } }).unfit).toContain('token.roles');
    expect(contextWith({ fields: { x: [wide], y: [wide] } }).unfit).toContain('request.headers');
    expect(contextWith({ path: `/${wide}`, query: wide }).unfit).toContain('request.path');
    const many = Object.fromEntries(Array.from({ length: 257 }, (_, index) => [`x${index}`, ['1']]));
    expect(contextWith({ fields: many }).unfit).toContain('request.headers has more than 256');
    const details = Array.from({ length: 30 }, () => ({ type: 'x', list: Array.from({ length: 20 }, () => 1) }));
    expect(contextWith({ token: { claims: { authorization_details: details } } }).unfit).toContain('512 values');
    const asked = { fields: { x: [wide], y: [wide] }, token: { scopes: [wide] } };
    expect(createContextBuilder({ reads: new Set(['token.sub']) })(exchangeWith(asked)).unfit).toBeNull();
  });

  it('with more scopes, audiences or actors than rules can look through are unfit', () => {
    const many = Array.from({ length: 257 }, String);
    expect(contextWith({ token: { scopes: many } }).unfit).toContain('token.scopes');
    expect(contextWith({ token: { roles: many } }).unfit).toContain('token.roles');
    expect(contextWith({ token: { audience: many } }).unfit).toContain('token.aud');
    const actors = many.map((sub) => ({ iss: 'i', sub, profile: '', verified: false }));
    expect(contextWith({ token: { actors } }).unfit).toContain('act.chain');
  });
});

describe('the agent', () => {
  it('has owner and team only where they are known', () => {
    expect(evaluated('has(agent.owner) || has(agent.team) || agent.registered')).toBe(false);
    const agent = { owner: 'alice', team: 'payments', registered: true, status: 'active' } as const;
    expect({ ...contextWith({ agent }).agent }).toEqual({
      id: 'agent-7',
      issuer: 'https://login.example.com',
      ...agent,
    });
    const source = 'agent.owner == "alice" && agent.team == "payments" && agent.registered && agent.status == "active"';
    expect(evaluated(source, { agent })).toBe(true);
  });

  it('is what the registry says at that moment, though the token is the same', () => {
    const build = createContextBuilder({ reads: new Set() });
    const before = exchangeWith();
    const after = { ...before, agent: { ...exchangeWith().agent, status: 'suspended' } } as typeof before;
    expect([build(before).agent.status, build(after).agent.status]).toEqual(['unknown', 'suspended']);
  });
});

describe('the subject', () => {
  it.each([
    ['user', true],
    ['agent', false],
    ['service', false],
    ['unknown', false],
  ] as const)('is a human only where the token was judged to be a user’s: %s', (subjectType, human) => {
    const { subject } = contextWith({ token: { subjectType } });
    expect({ ...subject }).toEqual({ id: 'alice', type: subjectType, human });
  });
});

describe('withRates and withScopes', () => {
  it('leave the context alone that they are given', () => {
    const build = createContextBuilder({ reads: new Set(['token.scopes']) });
    const context = build(exchangeWith());
    const counted = withRates(context, new Map([['calls_per_minute', 7]]));
    const granted = withScopes(counted, ['a']);
    expect(counted.rate?.get('calls_per_minute')).toBe(7n);
    expect(granted.token).toMatchObject({ scopes: ['a'], sub: 'alice', age: 90n });
    expect(granted.rate).toBe(counted.rate);
    expect([context.rate, context.token.scopes]).toEqual([undefined, ['openid', 'repo:read']]);
  });
});
