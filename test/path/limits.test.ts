import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import { RawClient } from '../support/raw-http.ts';
import { type Answer, type Harness, publicOrigin, startSidecar } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';

/** Each limit of the configuration: what is right at it passes, what is beyond it is refused for its own reason. */
const shown = new Set<string>();

const reasonIn = (text: string) => /"reason":"([a-z_]+)"/.exec(text)?.[1];
const statusIn = (text: string) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1]);
const hasAnswer = (text: string) => text.includes('{"ok":true}') || text.includes('"}');

type Line = readonly [string, string];

let harness: Harness;
beforeAll(async () => {
  const limits = { headers: '4KiB', headerCount: 20, body: '1KiB', url: '512B', token: '1KiB', proof: '1KiB' };
  harness = await startSidecar({ config: { limits } });
});
afterAll(() => harness.close());

function credentials(path: string, method = 'GET', token = harness.mint()): readonly Line[] {
  return [
    ['host', 'a'],
    ['authorization', `DPoP ${token}`],
    ['dpop', harness.proofFor(path, token, method)],
  ];
}

async function send(lines: readonly Line[], { method = 'GET', target = '/api/x', body = '' } = {}) {
  const before = harness.upstream.requests.length;
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const client = new RawClient(harness.port).send(`${method} ${target} HTTP/1.1\r\n${head}\r\n${body}`);
  const text = await client.until(hasAnswer);
  client.destroy();
  return { status: statusIn(text), reason: reasonIn(text), calls: harness.upstream.requests.length - before };
}

const passed = { status: 200, reason: undefined, calls: 1 };
const refused = (reason: string, status: number) => ({ status, reason, calls: 0 });

/** Right before and right after the length at which something has become too long. */
function around(lengthMax: number, make: (padding: string) => string): readonly [string, string] {
  let within = make('');
  for (let padding = 1; padding <= lengthMax; padding += 1) {
    const longer = make('x'.repeat(padding));
    if (longer.length > lengthMax) return [within, longer];
    within = longer;
  }
  throw new Error('nothing gets too long');
}

describe('limits', () => {
  it('limits.headers: headers_too_large', async () => {
    shown.add('headers');
    const lines = credentials('/api/x');
    const taken = lines.reduce((sum, [name, value]) => sum + name.length + value.length + 4, 'x-pad'.length + 4);
    const padded = (length: number): Line => ['x-pad', 'a'.repeat(length)];
    expect(await send([...lines, padded(4096 - taken + 1)])).toEqual(refused('headers_too_large', 431));
    expect(await send([...lines, padded(4096 - taken)])).toEqual(passed);
  });

  it('limits.headerCount: headers_too_large', async () => {
    shown.add('headerCount');
    const lines = credentials('/api/x');
    const more = Array.from({ length: 20 - lines.length }, (): Line => ['x', '1']);
    expect(await send([...lines, ...more, ['x', '1']])).toEqual(refused('headers_too_large', 431));
    expect(await send([...lines, ...more])).toEqual(passed);
  });

  it('limits.url: target_too_long', async () => {
    shown.add('url');
    const targetOf = (length: number) => '/api/x?'.padEnd(length, 'a');
    expect(await send(credentials('/api/x'), { target: targetOf(513) })).toEqual(refused('target_too_long', 414));
    expect(await send(credentials('/api/x'), { target: targetOf(512) })).toEqual(passed);
  });

  it.each([
    ['announced', (length: number): Line => ['content-length', String(length)], (body: string) => body],
    [
      'in chunks',
      (): Line => ['transfer-encoding', 'chunked'],
      (body: string) => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
    ],
  ])('limits.body, %s: body_too_large', async (_name, framing, written) => {
    shown.add('body');
    const post = (length: number) =>
      send([...credentials('/api/x', 'POST'), framing(length)], { method: 'POST', body: written('a'.repeat(length)) });
    expect(await post(1025)).toEqual(refused('body_too_large', 413));
    expect(await post(1024)).toEqual(passed);
  });

  it('limits.token: token_invalid', async () => {
    shown.add('token');
    const [within, beyond] = around(1024, (padding) => harness.mint({ claims: { padding } }));
    expect(await send(credentials('/api/x', 'GET', beyond))).toEqual(refused('token_invalid', 401));
    expect(await send(credentials('/api/x', 'GET', within))).toEqual(passed);
  });

  it('limits.proof: proof_invalid', async () => {
    shown.add('proof');
    const token = harness.mint();
    const key = harness.agentKey;
    const [within, beyond] = around(1024, (padding) =>
      mintProof({ key, method: 'GET', url: `${publicOrigin}/api/x`, accessToken: token, claims: { padding } }),
    );
    const withProof = (proof: string) => send([...credentials('/api/x', 'GET', token).slice(0, 2), ['dpop', proof]]);
    expect(await withProof(beyond)).toEqual(refused('proof_invalid', 401));
    expect(await withProof(within)).toEqual(passed);
  });
});

describe('limits of connections and of their time', () => {
  let own: Harness;
  beforeAll(async () => {
    const limits = {
      connections: 2,
      requestHeadersTimeout: '100ms',
      requestTimeout: '1s',
      keepAliveTimeout: '1s',
    };
    own = await startSidecar({ config: { limits } });
  });
  afterAll(() => own.close());

  it('limits.connections: one more is closed without a word, and one that goes makes room', async () => {
    shown.add('connections');
    const held = [new RawClient(own.port), new RawClient(own.port)];
    for (const client of held) {
      client.send('GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n');
      expect(await client.until(hasAnswer)).toContain('no_route');
    }
    expect(await new RawClient(own.port).send('GET / HTTP/1.1\r\nhost: a\r\n\r\n').end()).toBe('');
    for (const client of held) client.destroy();
    await expect
      .poll(async () => reasonIn(await new RawClient(own.port).send('GET /\r\n\r\n').end()))
      .toBe('request_malformed');
  });

  it('limits.requestHeadersTimeout: request_timeout', async () => {
    shown.add('requestHeadersTimeout');
    const text = await new RawClient(own.port).send('GET / HTTP/1.1\r\nhost: a\r\n').end();
    expect([statusIn(text), reasonIn(text)]).toEqual([408, 'request_timeout']);
  });

  it('limits.requestTimeout: the connection is cut under a body that never ends', async () => {
    shown.add('requestTimeout');
    const token = own.mint();
    const fields = `authorization: DPoP ${token}\r\ndpop: ${own.proofFor('/api/x', token, 'POST')}\r\n`;
    const head = `POST /api/x HTTP/1.1\r\nhost: a\r\n${fields}content-length: 9\r\n\r\n`;
    expect(await new RawClient(own.port).send(`${head}abc`).end()).toBe('');
    await expect.poll(() => own.auditText()).toContain('"end":"client_aborted"');
  });

  it('limits.keepAliveTimeout: an idle connection is closed', async () => {
    shown.add('keepAliveTimeout');
    const client = new RawClient(own.port).send('GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n');
    const text = await client.end();
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  });
});

describe('limits of calls under way', () => {
  const limits = { agentConcurrency: 2, upstreamConnections: 3, upstreamWaiting: 1 };
  let own: Harness;
  let held: ServerResponse[];
  beforeAll(async () => {
    own = await startSidecar({ config: { limits } });
  });
  afterAll(() => own.close());
  beforeEach(() => {
    held = [];
    own.upstream.answerWith((_incoming, response) => void held.push(response));
  });

  const callAs = (agent: string) => own.call('/api/x', { token: own.mint({ claims: { client_id: agent } }) });
  const letAllEnd = async (calls: readonly Promise<Answer>[]) => {
    own.upstream.answerWith((_incoming, response) => void response.end());
    for (const response of held) response.end();
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(calls.map(() => 200));
  };

  it('limits.agentConcurrency: rate_limited, for that agent alone and until one of its calls has ended', async () => {
    shown.add('agentConcurrency');
    const calls = [callAs('busy'), callAs('busy')];
    await expect.poll(() => held.length).toBe(2);
    const before = own.upstream.requests.length;
    const refusal = await callAs('busy');
    expect([refusal.status, refusal.reason, refusal.headers['retry-after']]).toEqual([429, 'rate_limited', '1']);
    expect(own.upstream.requests.length).toBe(before);
    const other = callAs('other');
    await expect.poll(() => held.length).toBe(3);
    held[0]?.end();
    expect((await Promise.race(calls)).status).toBe(200);
    const next = callAs('busy');
    await expect.poll(() => held.length).toBe(4);
    await letAllEnd([...calls, other, next]);
  });

  it('limits.agentConcurrency: refused calls take no place, and an agent that leaves gives its own back', async () => {
    for (let count = 0; count < 4; count++) expect((await own.call('/api/forbidden')).reason).toBe('rule_denied');
    const token = own.mint();
    const fields = `authorization: DPoP ${token}\r\ndpop: ${own.proofFor('/api/x', token)}\r\n`;
    const client = new RawClient(own.port).send(`GET /api/x HTTP/1.1\r\nhost: a\r\n${fields}\r\n`);
    const call = own.call('/api/x');
    await expect.poll(() => held.length).toBe(2);
    expect((await own.call('/api/x')).reason).toBe('rate_limited');
    client.destroy();
    await expect.poll(async () => (await own.call('/api/forbidden')).reason).toBe('rule_denied');
    await letAllEnd([call]);
  });

  it('limits.upstreamConnections and limits.upstreamWaiting: upstream_failed, for all agents together', async () => {
    shown.add('upstreamConnections').add('upstreamWaiting');
    const calls = ['a', 'b', 'c', 'd'].map(callAs);
    await expect.poll(() => held.length).toBe(3);
    const refusal = await callAs('e');
    expect([refusal.status, refusal.reason, refusal.headers['retry-after']]).toEqual([502, 'upstream_failed', '1']);
    expect(held).toHaveLength(3);
    await letAllEnd(calls);
  });
});

it('shows every limit of the configuration that is not about held bodies', () => {
  const keys = Object.keys(configSchema.shape.limits.parse({}));
  // Those are in bound-bodies.test.ts and inspected-bodies.test.ts.
  const held = ['boundBody', 'heldBodies', 'heldBodyTimeout'];
  expect(keys.filter((key) => !held.includes(key)).toSorted()).toEqual([...shown].toSorted());
});
