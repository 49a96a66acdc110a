import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { type CallOptions, type Harness, publicOrigin, startSidecar } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';

const rules = `
rules:
  - { id: all, when: 'true', effect: allow }
  - { id: small-only, when: 'request.url_path == "/api/pay" && request.body.amount > 100', effect: deny }
  - id: one-call
    when: request.url_path == "/api/mcp" && request.body.method != "tools/list"
    effect: deny
  - { id: no-release, when: 'request.reason == "release"', effect: deny }
`;

let harness: Harness;
beforeAll(async () => {
  const config = { reason: { metaKey: 'example.com/reason' }, limits: { heldBodyTimeout: '300ms' } };
  harness = await startSidecar({
    rules,
    config,
    route: { inspectBody: { json: true, max: '1KiB' }, maxBody: '64KiB' },
  });
});
afterAll(() => harness.close());

type Sent = Omit<CallOptions, 'body'> & {
  readonly path?: string;
  readonly type?: string;
  /** Further claims of the proof. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly on?: Harness;
};

/** Sends the body as JSON, and gives what came of it. */
async function send(body: string | Buffer, sent: Sent = {}) {
  const { path = '/api/x', type = 'application/json', claims = {}, on = harness, fields = {}, ...rest } = sent;
  const token = on.mint();
  const url = `${publicOrigin}${path}`;
  const proof = mintProof({ key: on.agentKey, method: 'POST', url, accessToken: token, claims });
  const before = on.upstream.requests.length;
  const all = type === '' ? fields : { 'content-type': type, ...fields };
  const answer = await on.call(path, { method: 'POST', token, proof, fields: all, body, ...rest });
  return { ...answer, seen: on.upstream.requests.slice(before), record: await on.record(answer.decision) };
}

describe('a JSON body on a route that inspects bodies', () => {
  it('is judged by rules, and goes on byte for byte', async () => {
    const body = ' {"amount" : 1e2,\t"to":"\\u0062ob", "note":"caf\u00e9"}\n';
    const { status, seen } = await send(body, { path: '/api/pay' });
    expect(status).toBe(200);
    expect(seen.map((request) => request.body)).toEqual([body]);
    const tooMuch = await send('{"amount":100.5}', { path: '/api/pay' });
    expect(tooMuch).toMatchObject({ status: 403, reason: 'rule_denied', seen: [] });
  });

  it.each([
    ['of another type', '{"amount":1}', 'text/plain'],
    ['without a type', '{"amount":1}', ''],
    ['that is empty', '', 'application/json'],
    ['that is null', 'null', 'application/json'],
    ['without what the rule reads', '{"amounts":1}', 'application/json'],
    ['with what the rule reads of another type', '{"amount":"1"}', 'application/json'],
    ['that is a batch', '[{"amount":1}]', 'application/json'],
  ])('can not slip past a rule that reads it: a body %s', async (_name, body, type) => {
    expect(await send(body, { path: '/api/pay', type })).toMatchObject({ reason: 'policy_error', seen: [] });
  });

  it('of a JSON-RPC batch is no JSON-RPC call to a rule', async () => {
    const call = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}';
    expect(await send(call, { path: '/api/mcp' })).toMatchObject({ status: 200, seen: [{ body: call }] });
    expect(await send(`[${call}]`, { path: '/api/mcp' })).toMatchObject({ reason: 'policy_error', seen: [] });
    expect(await send(call.replace('list', 'drop'), { path: '/api/mcp' })).toMatchObject({ reason: 'rule_denied' });
  });

  it.each<[string, string | Buffer, string, Readonly<Record<string, string | string[]>>]>([
    ['one name twice', '{"amount":1,"amount":1000}', 'application/json', {}],
    ['one name twice, differently spelt', '{"amount":1,"\\u0061mount":1000}', 'application/json', {}],
    ['a byte order mark', '\ufeff{}', 'application/json', {}],
    ['UTF-16', Buffer.from('{}', 'utf16le'), 'application/json', {}],
    ['bytes that are no UTF-8', Buffer.from('{"a":"\xff"}', 'latin1'), 'application/json', {}],
    ['another charset', '{}', 'application/json; charset=utf-16', {}],
    ['a coding', gzipSync('{}'), 'application/json', { 'content-encoding': 'gzip' }],
    ['two types', '{}', '', { 'content-type': ['application/json', 'text/plain'] }],
    ['33 levels', `${'['.repeat(33)}${']'.repeat(33)}`, 'application/json', {}],
    ['a text cut off', '{"a":1', 'application/vnd.api+json', {}],
    ['something after the text', '{} {}', 'application/json', {}],
    ['half a surrogate pair', '{"role":"admin\\ud800"}', 'application/json', {}],
    ['NUL in a name', '{"amount":1,"amount\\u0000":1000}', 'application/json', {}],
    ['JSON-RPC in two spellings', '{"jsonrpc":"2.0","method":"a","Method":"b"}', 'application/json', {}],
  ])('is refused with %s', async (_name, body, type, fields) => {
    expect(await send(body, { type, fields })).toMatchObject({ status: 400, reason: 'body_malformed', seen: [] });
  });

  it('is refused when it is larger than inspectBody.max, and other bodies are not', async () => {
    const fits = JSON.stringify('x'.repeat(1022));
    expect(await send(fits)).toMatchObject({ status: 200, seen: [{ body: fits }] });
    const large = JSON.stringify('x'.repeat(1023));
    expect(await send(large)).toMatchObject({ status: 413, reason: 'body_too_large', seen: [] });
    expect(await send(large, { type: 'text/plain' })).toMatchObject({ status: 200, seen: [{ body: large }] });
  });

  it('is refused with request_timeout when it is slow', async () => {
    const before = harness.upstream.requests.length;
    const token = harness.mint();
    const proof = harness.proofFor('/api/x', token, 'POST');
    const fields = 'content-type: application/json\r\ncontent-length: 2\r\n';
    const head = `POST /api/x HTTP/1.1\r\nhost: a\r\nauthorization: DPoP ${token}\r\ndpop: ${proof}\r\n${fields}\r\n`;
    expect(await new RawClient(harness.port).send(`${head}{`).end()).toMatch(/^HTTP\/1\.1 408 /);
    expect(harness.upstream.requests.length).toBe(before);
  });

  it('is compared with its digest before it is parsed', async () => {
    const digest = `sha-256=:${createHash('sha256').update('{"a":1}').digest('base64')}:`;
    const claims = { content_digest: digest };
    expect(await send('{"a":1,"a":2}', { claims })).toMatchObject({ reason: 'proof_invalid', seen: [] });
    const bound = await send('{"a":1}', { claims });
    expect(bound).toMatchObject({ status: 200, record: { pop: { body_bound: true } } });
  });

  it('streams where the route does not inspect it, malformed or not', async () => {
    const on = await startSidecar();
    expect(await send('{"a":1,"a":2}', { on })).toMatchObject({ status: 200, seen: [{ body: '{"a":1,"a":2}' }] });
    await on.close();
  });
});

describe('the stated reason', () => {
  const mcp = (reason: unknown) => JSON.stringify({ params: { _meta: { 'example.com/reason': reason } } });

  it('is taken from the proof, else the field, else _meta, and recorded with its source', async () => {
    const everything = { claims: { reason: 'signed\u0007' }, fields: { 'agent-reason': 'written' } };
    const records = [
      (await send(mcp('within'), everything)).record,
      (await send(mcp('within'), { fields: everything.fields })).record,
      (await send(mcp('within'))).record,
      (await send(mcp('within'), { type: 'text/plain' })).record,
    ];
    expect(records.map((record) => [record.stated_reason, record.stated_reason_source])).toEqual([
      ['signed', 'signed'],
      ['written', 'header'],
      ['within', 'meta'],
      [null, null],
    ]);
  });

  it.each([
    ['signed', { claims: { reason: 'release' } }, '{}'],
    ['meta', {}, mcp('release')],
  ])('reaches rules as request.reason: %s', async (_source, sent, body) => {
    expect(await send(body, sent)).toMatchObject({ reason: 'rule_denied', seen: [] });
  });

  it.each([
    ['signed', { claims: { reason: { text: 'x' } }, fields: { 'agent-reason': 'good' } }, '{}'],
    ['signed, too long', { claims: { reason: 'x'.repeat(257) } }, '{}'],
    ['meta', {}, mcp(['x'])],
  ])('in a wrong form is refused: %s', async (_source, sent, body) => {
    expect(await send(body, sent)).toMatchObject({ status: 403, reason: 'reason_required', seen: [] });
  });

  it('that is required may be in _meta, and its absence is found out there only', async () => {
    const reason = { required: true, pattern: '[A-Z]+-[0-9]+', metaKey: 'example.com/reason' };
    const on = await startSidecar({ rules, config: { reason }, route: { inspectBody: { json: true } } });
    expect(await send(mcp('OPS-1'), { on })).toMatchObject({ status: 200, seen: [{ body: mcp('OPS-1') }] });
    expect(await send('{}', { on, claims: { reason: 'OPS-1' } })).toMatchObject({ status: 200 });
    for (const body of ['{}', mcp('because'), `[${mcp('OPS-1')}]`]) {
      expect(await send(body, { on })).toMatchObject({ reason: 'reason_required', seen: [] });
    }
    expect(await send(mcp('OPS-1'), { on, type: 'text/plain' })).toMatchObject({ reason: 'reason_required', seen: [] });
    await on.close();
  });
});
