import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, startSidecar, upstreamSecret } from '../support/sidecar.ts';
import { fieldValues, type UpstreamRequest } from '../support/upstream.ts';

/**
 * What may stand on the wire, byte for byte, against a running sidecar. A case that must be refused carries a good token
 * and a good proof all the same, so that nothing but its form can be the reason.
 */
let harness: Harness;
beforeAll(async () => {
  const limits = { headers: '4KiB', headerCount: 20, url: '512B' };
  harness = await startSidecar({ config: { limits }, route: { maxBody: '1KiB' } });
});
afterAll(() => harness.close());

type Form = {
  readonly method?: string;
  readonly target?: string;
  readonly version?: string;
  /** Without it, one good Host field. */
  readonly host?: string;
  /** Whole lines, each with its end. */
  readonly lines?: string;
  readonly body?: string;
};

/** A request that would be allowed if it were not for its form. The proof is for `path`, where the target is not it. */
function written(form: Form, path = form.target?.split('?')[0] ?? '/api/x'): string {
  const { method = 'GET', target = path, version = 'HTTP/1.1', host = 'host: a\r\n', lines = '', body = '' } = form;
  const token = harness.mint();
  const credentials = `authorization: DPoP ${token}\r\ndpop: ${harness.proofFor(path, token, method)}\r\n`;
  return `${method} ${target} ${version}\r\n${host}${credentials}${lines}\r\n${body}`;
}

const statusesIn = (text: string) => [...text.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map(([, status]) => Number(status));
const reasonIn = (text: string) => /"reason":"([a-z_]+)"/.exec(text)?.[1];

/** Sends the bytes and a harmless request after them: whether that one is answered tells if the connection goes on. */
async function outcomeOf(bytes: string, more = 'GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n') {
  const before = harness.upstream.requests.length;
  const client = new RawClient(harness.port).send(bytes);
  await client.until((received) => received.endsWith('}') || received.endsWith('\r\n0\r\n\r\n'));
  client.send(more);
  const text = await client.until((received) => received.includes('"reason":"no_route"'));
  const goesOn = text.includes('"reason":"no_route"') && !client.socket.closed;
  client.destroy();
  return {
    status: statusesIn(text)[0],
    reason: reasonIn(text),
    goesOn,
    seen: harness.upstream.requests.slice(before),
    text,
  };
}

const chunked = 'transfer-encoding: chunked\r\n';
const post = (lines: string, body = ''): Form => ({ method: 'POST', lines, body });

describe('framing: refused, and the connection closed', () => {
  it.each<[string, Form]>([
    ['two lengths that differ', post('content-length: 3\r\ncontent-length: 4\r\n', 'abcd')],
    ['two lengths that agree', post('content-length: 3\r\ncontent-length: 3\r\n', 'abc')],
    ['a list of lengths', post('content-length: 3, 3\r\n', 'abc')],
    ['a signed length', post('content-length: +3\r\n', 'abc')],
    ['a hexadecimal length', post('content-length: 0x3\r\n', 'abc')],
    ['an endless length', post(`content-length: ${'9'.repeat(30)}\r\n`, 'abc')],
    ['a length and chunks', post(`content-length: 5\r\n${chunked}`, '0\r\n\r\n')],
    ['chunks and a length', post(`${chunked}content-length: 5\r\n`, '0\r\n\r\n')],
    ['chunked twice', post(chunked + chunked, '0\r\n\r\n')],
    ['chunked twice in one field', post('transfer-encoding: chunked, chunked\r\n', '0\r\n\r\n')],
    ['a coding before chunked', post('transfer-encoding: gzip, chunked\r\n', '0\r\n\r\n')],
    ['a coding after chunked', post('transfer-encoding: chunked, gzip\r\n', '0\r\n\r\n')],
    ['identity', post('transfer-encoding: identity\r\n', 'abc')],
    ['a coding that only looks like chunked', post('transfer-encoding: xchunked\r\n', '0\r\n\r\n')],
    ['a vertical tab before chunked', post('transfer-encoding: \x0bchunked\r\n', '0\r\n\r\n')],
    ['chunks on HTTP/1.0', { ...post(chunked, '0\r\n\r\n'), version: 'HTTP/1.0' }],
    ['a blank before the colon', post('content-length : 3\r\n', 'abc')],
    ['a folded field', { lines: 'x-a: 1\r\n content-length: 3\r\n' }],
    ['a bare LF between fields', { lines: 'x-a: 1\nx-b: 2\r\n' }],
    ['a bare CR in a field', { lines: 'x-a: 1\rx-b: 2\r\n' }],
    ['a NUL in a field', { lines: 'x-a: 1\0\r\n' }],
    ['a field without a name', { lines: ': 1\r\n' }],
    ['a line that is no field', { lines: 'nonsense\r\n' }],
    ['HTTP/0.9', { version: 'HTTP/0.9' }],
    ['HTTP/2.0', { version: 'HTTP/2.0' }],
    ['HTTP/1.2', { version: 'HTTP/1.2' }],
    ['no version', { version: '' }],
  ])('%s', async (_name, form) => {
    const outcome = await outcomeOf(written(form));
    expect(outcome).toMatchObject({ status: 400, reason: 'request_malformed', goesOn: false, seen: [] });
  });

  it.each([
    ['a length that is not a number', '3x\r\nabc\r\n0\r\n\r\n'],
    ['a blank after the length', '3 \r\nabc\r\n0\r\n\r\n'],
    ['a bare LF after the length', '3\nabc\n0\n\n'],
    ['more than its length', '3\r\nabcd\r\n0\r\n\r\n'],
    ['an overflowing length', 'fffffffffffffffff\r\nabc\r\n0\r\n\r\n'],
  ])('a chunk with %s: no whole request reaches the upstream', async (_name, body) => {
    const outcome = await outcomeOf(written(post(chunked, body)));
    expect(outcome).toMatchObject({ goesOn: false, seen: [] });
  });

  it('an HTTP/2 preface', async () => {
    const outcome = await outcomeOf('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    expect(outcome).toMatchObject({ status: 400, goesOn: false, seen: [] });
  });
});

describe('target: refused', () => {
  it.each([
    'http://a/api/x',
    'a:443',
    '*',
    '//a/api/x',
    '/api//x',
    '/api/./x',
    '/api/../api/x',
    '/api/%2e%2E/api/x',
    '/api/%2fx',
    '/api\\x',
    '/api/%5cx',
    '/api/%252e',
    '/api/x;v=1',
    '/api/%3bx',
    '/api/%00',
    '/api/x%0d%0a',
    '/api/x#f',
    '/api/%zz',
    '/api/%f',
    '/api/%ff',
    '/api/%c0%ae%c0%ae/x',
    '/api/x?a=%zz',
    '/api/x?a=%',
    '/api/x?<script>',
  ])('%s', async (target) => {
    const outcome = await outcomeOf(written({ target }, '/api/x'));
    expect(outcome).toMatchObject({ status: 400, seen: [] });
    expect(['target_ambiguous', 'request_malformed']).toContain(outcome.reason);
  });

  it.each(['/api/\x01', '/api/\x7f', '/api/caf\xe9', '/api/x y'])('bytes that no target holds: %j', async (target) => {
    expect(await outcomeOf(written({ target }, '/api/x'))).toMatchObject({ status: 400, seen: [] });
  });

  it('one that is too long', async () => {
    const target = `/api/${'a'.repeat(600)}`;
    expect(await outcomeOf(written({ target }))).toMatchObject({ status: 414, reason: 'target_too_long', seen: [] });
  });
});

describe('Host, fields and methods: refused', () => {
  it.each<[string, Form]>([
    ['no Host', { host: '' }],
    ['two Hosts', { host: 'host: a\r\nhost: a\r\n' }],
    ['an empty Host', { host: 'host: \r\n' }],
    ['a Host with a user', { host: 'host: u@a\r\n' }],
    ['a Host with a path', { host: 'host: a/b\r\n' }],
    ['a list of Hosts', { host: 'host: a, b\r\n' }],
    ['Connection naming Authorization', { lines: 'connection: close, authorization\r\n' }],
    ['Connection naming DPoP', { lines: 'connection: DPoP\r\n' }],
    ['Connection naming Host', { lines: 'connection: host\r\n' }],
    ['Connection naming Content_Length', { lines: 'connection: content_length\r\n' }],
    ['an upgrade to WebSocket', { lines: 'connection: upgrade\r\nupgrade: websocket\r\n' }],
    ['another expectation', { lines: 'expect: 200-ok\r\n' }],
    ['two expectations', post('expect: 100-continue\r\nexpect: 100-continue\r\ncontent-length: 1\r\n')],
  ])('%s, and the connection closed', async (_name, form) => {
    const outcome = await outcomeOf(written(form));
    expect(outcome).toMatchObject({ status: 400, reason: 'request_malformed', goesOn: false, seen: [] });
  });

  it.each<[string, Form, number]>([
    ['a second Authorization', { lines: 'Authorization: Bearer x\r\n' }, 400],
    ['a token in the query', { target: '/api/x?access_token=x' }, 400],
    ['a second proof', { lines: 'DPOP: a.b.c\r\n' }, 401],
    ['a method of the wrong case', { method: 'get' }, 400],
    ['a method that nobody knows', { method: 'FOO' }, 400],
    ['TRACE', { method: 'TRACE' }, 405],
    ['a method that the route does not take', { method: 'PUT' }, 405],
    ['more fields than allowed', { lines: 'x: 1\r\n'.repeat(20) }, 431],
    ['larger fields than allowed', { lines: `x: ${'a'.repeat(4096)}\r\n` }, 431],
    ['far larger fields than allowed', { lines: `x: ${'a'.repeat(100_000)}\r\n` }, 431],
  ])('%s', async (_name, form, status) => {
    expect(await outcomeOf(written(form))).toMatchObject({ status, seen: [] });
  });

  it('CONNECT, and the connection closed', async () => {
    const outcome = await outcomeOf('CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n');
    expect(outcome).toMatchObject({ status: 405, reason: 'method_not_allowed', goesOn: false, seen: [] });
  });
});

describe('what passes arrives as it was judged', () => {
  const only = (seen: readonly UpstreamRequest[]): UpstreamRequest => {
    expect(seen).toHaveLength(1);
    return seen[0] as UpstreamRequest;
  };

  it.each<[string, Form, Partial<UpstreamRequest>]>([
    ['a plain request', {}, { method: 'GET', url: '/api/x', body: '' }],
    ['empty lines before it', { method: '\r\nGET' }, { method: 'GET', url: '/api/x' }],
    ['a query, byte for byte', { target: '/api/x?a=%2f&b=1+2&a=%41' }, { url: '/api/x?a=%2f&b=1+2&a=%41' }],
    ['a body with its length', post('content-length: 3\r\n', 'abc'), { method: 'POST', body: 'abc' }],
    ['chunks, without extension and trailer', post(chunked, '3;x=y\r\nabc\r\n0\r\nx-t: 1\r\n\r\n'), { body: 'abc' }],
    ['a body on GET', { lines: 'content-length: 3\r\n', body: 'abc' }, { method: 'GET', body: 'abc' }],
    ['HTTP/1.0', { version: 'HTTP/1.0' }, { method: 'GET', url: '/api/x' }],
    [
      'an upgrade to h2c, which is not made',
      { lines: 'connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n' },
      { method: 'GET', url: '/api/x' },
    ],
  ])('%s', async (_name, form, expected) => {
    const method = form.method?.trim();
    const bytes = written({ ...form, ...(method === undefined ? {} : { method }) });
    const { status, seen } = await outcomeOf(form.method === method ? bytes : `\r\n${bytes}`);
    expect(status).toBe(200);
    const request = only(seen);
    expect(request).toMatchObject(expected);
    expect(fieldValues(request.rawHeaders, 'authorization')).toEqual([`Bearer ${upstreamSecret}`]);
    for (const name of ['dpop', 'upgrade', 'http2-settings', 'trailer', 'x-t', 'expect', 'te']) {
      expect(fieldValues(request.rawHeaders, name)).toEqual([]);
    }
    const framings = [
      ...fieldValues(request.rawHeaders, 'content-length'),
      ...fieldValues(request.rawHeaders, 'transfer-encoding'),
    ];
    expect(framings.length).toBe(request.body === '' ? 0 : 1);
  });

  it('the path, in canonical form', async () => {
    const { status, seen } = await outcomeOf(written({ target: '/api/%7euser/caf%c3%a9' }, '/api/~user/caf%C3%A9'));
    expect(status).toBe(200);
    expect(only(seen).url).toBe('/api/~user/caf%C3%A9');
  });

  it('without the fields that would speak for somebody else, however they are spelt', async () => {
    const lines = [
      'cookie: a=b',
      'X-Forwarded-For: 1.2.3.4',
      'x_forwarded_for: 1.2.3.4',
      'X.Real.IP: 1.2.3.4',
      'X-Original-URL: /admin',
      'X-HTTP-Method-Override: DELETE',
      'client_cert: x',
      'proxy_authorization: x',
      'txn-token: x',
      'x-hop: 1',
      'connection: x-hop',
      'x_other: 1',
      'x-kept: yes',
    ];
    const { seen } = await outcomeOf(written({ lines: `${lines.join('\r\n')}\r\n` }));
    const names = only(seen).rawHeaders.filter((_text, index) => index % 2 === 0);
    expect(names.map((name) => name.toLowerCase()).sort()).toEqual(['authorization', 'connection', 'host', 'x-kept']);
  });
});

describe('Expect: 100-continue', () => {
  const expecting = 'expect: 100-continue\r\ncontent-length: 3\r\n';

  it('is answered after an allow, and the body read then', async () => {
    const before = harness.upstream.requests.length;
    const client = new RawClient(harness.port).send(written(post(expecting)));
    expect(await client.until((text) => text.includes('\r\n\r\n'))).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    expect(harness.upstream.requests.length).toBe(before);
    client.send('abc');
    expect(statusesIn(await client.until((text) => text.includes('{"ok":true}')))).toEqual([100, 200]);
    expect(harness.upstream.requests.at(-1)?.body).toBe('abc');
    client.destroy();
  });

  it('is not answered on a refusal, which closes the connection', async () => {
    const before = harness.upstream.requests.length;
    const text = await new RawClient(harness.port).send(`POST /api/x HTTP/1.1\r\nhost: a\r\n${expecting}\r\n`).end();
    expect(statusesIn(text)).toEqual([401]);
    expect(text.toLowerCase()).toContain('connection: close');
    expect(harness.upstream.requests.length).toBe(before);
  });
});

describe('bodies', () => {
  it.each<[string, Form]>([
    ['announced', post('content-length: 2000\r\n', 'a'.repeat(2000))],
    ['in chunks', post(chunked, `7d0\r\n${'a'.repeat(2000)}\r\n0\r\n\r\n`)],
  ])('over the limit, %s, are refused', async (_name, form) => {
    const outcome = await outcomeOf(written(form));
    expect(outcome).toMatchObject({ status: 413, reason: 'body_too_large', seen: [] });
  });

  it.each<[string, Form]>([
    ['with a length', post('content-length: 100\r\n', 'abc')],
    ['in chunks', post(chunked, '3\r\nabc\r\n')],
  ])('cut off, %s, are no request to the upstream, and are recorded', async (_name, form) => {
    const before = { calls: harness.upstream.requests.length, lines: harness.auditText().split('\n').length };
    const client = new RawClient(harness.port).send(written(form));
    // Sent to the same process on another connection: when it is answered, the upload has begun.
    expect((await harness.call('/api/other')).status).toBe(200);
    client.destroy();
    await expect.poll(() => harness.auditText().split('\n').length).toBe(before.lines + 2);
    const record = harness.auditText().trimEnd().split('\n').at(-1);
    expect(JSON.parse(record ?? '')).toMatchObject({ decision: 'allow', status: 0, end: 'client_aborted' });
    expect(harness.upstream.requests.length).toBe(before.calls + 1);
  });
});
