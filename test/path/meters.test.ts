import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type Harness, publicOrigin, type StoreKind, startSidecar, stores } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';

const rules = `
rules:
  - { id: all, when: 'true', effect: allow }
  - { id: nobody, when: 'request.url_path == "/api/forbidden"', effect: deny }
  - { id: few, when: 'request.url_path == "/api/few" && rate.calls > 3', effect: throttle }
  - { id: budget, when: 'request.url_path == "/api/pay" && rate.spend > 100', effect: throttle }
  - { id: tools, when: 'request.url_path == "/api/mcp" && rate.tools > 2', effect: throttle }
`;

const meters = {
  spend: {
    by: 'subject.id',
    window: '1d',
    cost: 'has(request.body) && has(request.body.amount) ? int(request.body.amount) : 0',
  },
  tools: { by: 'agent.id + " " + request.operation', window: '1h', cost: 'has(mcp.tool) ? 1 : 0' },
};

const policies = (answer: Answer) => [answer.headers['ratelimit-policy'], answer.headers.ratelimit];

describe('quotas', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startSidecar({ rules, config: { meters }, clock: () => 1_800_000_000_000 });
  });
  afterAll(() => harness.close());
  const callAs = (agent: string, path: string) => {
    const token = harness.mint({ claims: { client_id: agent } });
    return harness.call(path, { token, proof: harness.proofFor(path, token) });
  };

  it('are told on every answer that they are about, until they are used up', async () => {
    const answers: Answer[] = [];
    for (let call = 0; call < 5; call++) answers.push(await callAs('steady', '/api/few'));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429, 429]);
    expect(new Set(answers.map(({ headers }) => headers['ratelimit-policy']))).toEqual(new Set(['"calls";q=3;w=60']));
    const remaining = answers.map(({ headers }) => /^"calls";r=(\d);t=6[0-2]$/.exec(String(headers.ratelimit))?.[1]);
    expect(remaining).toEqual(['2', '1', '0', '0', '0']);
    for (const { headers } of answers.slice(3)) expect(headers.ratelimit).toMatch(`;t=${headers['retry-after']}`);
    expect(answers[3]?.reason).toBe('rate_limited');
  });

  it('take the place of what the upstream says of its own', async () => {
    harness.upstream.answerWith((_incoming, response) => {
      response.writeHead(200, {
        ratelimit: '"theirs";r=1',
        'ratelimit-policy': '"theirs";q=9',
        'x-ratelimit-limit': '9',
      });
      response.end();
    });
    const [few, other] = [await callAs('replaced', '/api/few'), await callAs('replaced', '/api/x')];
    expect(policies(few)).toEqual(['"calls";q=3;w=60', expect.stringMatching(/^"calls";r=2;/)]);
    expect(policies(other)).toEqual([undefined, undefined]);
    expect(few.headers['x-ratelimit-limit']).toBe('9');
  });

  it('are not told where no rule is about the request, nor to whom nobody knows', async () => {
    expect(policies(await callAs('other', '/api/x'))).toEqual([undefined, undefined]);
    expect(policies(await callAs('other', '/api/forbidden'))).toEqual([undefined, undefined]);
    const anonymous = await harness.call('/api/few', { token: '', proof: null });
    expect([anonymous.status, ...policies(anonymous)]).toEqual([401, undefined, undefined]);
  });
});

describe.each<StoreKind>(['memory', 'redis'])('a meter that counts what bodies say, in %s', (kind) => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startSidecar({
      rules,
      store: stores[kind](),
      config: { meters },
      route: { inspectBody: { json: true } },
    });
  });
  afterAll(() => harness.close());

  const post = (path: string, body: unknown, subject: string) => {
    const token = harness.mint({ claims: { sub: subject, client_id: subject } });
    const url = `${publicOrigin}${path}`;
    const proof = mintProof({ key: harness.agentKey, method: 'POST', url, accessToken: token });
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const fields = { 'content-type': 'application/json' };
    return harness.call(path, { method: 'POST', token, proof, fields, body: text });
  };
  const storeCalls = async () => {
    const { text } = await harness.admin('GET', '/metrics');
    return Number(/^postern_store_seconds_count (\d+)$/m.exec(text)?.[1]);
  };

  it('keeps a budget, in one round trip a call', async () => {
    const before = await storeCalls();
    const spent: unknown[] = [];
    for (const amount of [60, 40.9, 1, 1]) {
      const { status, headers } = await post('/api/pay', { amount }, 'spender');
      spent.push([status, /^"spend";r=(\d+);/.exec(String(headers.ratelimit))?.[1]]);
    }
    expect(spent).toEqual([
      [200, '40'],
      [200, '0'],
      [429, '0'],
      [429, '0'],
    ]);
    expect(await storeCalls()).toBe(before + 4);
    expect((await post('/api/pay', { amount: 100 }, 'another')).status).toBe(200);
  });

  it.each([
    ['a negative amount', { amount: -50 }],
    ['no number', { amount: {} }],
    ['more than there is', { amount: 1e300 }],
  ])('denies what it can not count: %s', async (_name, body) => {
    const before = harness.upstream.requests.length;
    expect(await post('/api/pay', body, 'trickster')).toMatchObject({ status: 403, reason: 'policy_error' });
    expect(harness.upstream.requests.length).toBe(before);
  });

  it('counts nothing for a body that is refused', async () => {
    expect((await post('/api/pay', '{"amount":100,"amount":1}', 'careless')).reason).toBe('body_malformed');
    const { headers } = await post('/api/pay', { amount: 1 }, 'careless');
    expect(headers.ratelimit).toMatch(/^"spend";r=99;/);
  });

  it('counts each tool apart', async () => {
    const tool = (name: string) => ({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name } });
    const statuses: number[] = [];
    for (const name of ['a', 'b', 'a', 'a', 'b', 'b', 'c']) {
      statuses.push((await post('/api/mcp', tool(name), 'caller')).status);
    }
    expect(statuses).toEqual([200, 200, 200, 429, 200, 429, 200]);
  });

  it('still refuses a proof that was used, and forwards the exact bytes', async () => {
    const body = ' {"amount" :\t1}\n';
    const token = harness.mint();
    const proof = mintProof({
      key: harness.agentKey,
      method: 'POST',
      url: `${publicOrigin}/api/pay`,
      accessToken: token,
    });
    const sent = { method: 'POST', token, proof, fields: { 'content-type': 'application/json' }, body };
    expect((await harness.call('/api/pay', sent)).status).toBe(200);
    expect(harness.upstream.requests.at(-1)?.body).toBe(body);
    expect((await harness.call('/api/pay', sent)).reason).toBe('proof_replayed');
  });
});
