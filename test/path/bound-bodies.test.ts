import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditRecord } from '../../src/record/audit-record.ts';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, publicOrigin, startSidecar } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';
import { fieldValues } from '../support/upstream.ts';

const rules = `
rules:
  - { id: all, when: 'true', effect: allow }
  - { id: bound-only, when: 'request.url_path == "/api/bound-only" && !pop.body_bound', effect: deny }
`;

let harness: Harness;
beforeAll(async () => {
  const limits = { boundBody: '64KiB', heldBodyTimeout: '300ms' };
  harness = await startSidecar({ rules, route: { maxBody: '1MiB' }, config: { limits } });
});
afterAll(() => harness.close());

const digestOf = (body: string | Buffer, name = 'sha-256') =>
  `${name}=:${createHash(name.replace('-', '')).update(body).digest('base64')}:`;

type Sent = {
  readonly digest?: unknown;
  readonly method?: string;
  readonly path?: string;
  /** Lines that frame the body, each with its end. */
  readonly lines?: string;
  readonly body?: string;
  readonly on?: Harness;
};

/** A request of known form with a good token and a proof that holds this digest. */
function written({ digest, method = 'POST', path = '/api/x', lines = '', body = '', on = harness }: Sent): string {
  const token = on.mint();
  const url = `${publicOrigin}${path}`;
  const claims = digest === undefined ? {} : { content_digest: digest };
  const proof = mintProof({ key: on.agentKey, method, url, accessToken: token, claims });
  return `${method} ${path} HTTP/1.1\r\nhost: a\r\nauthorization: DPoP ${token}\r\ndpop: ${proof}\r\n${lines}\r\n${body}`;
}

const plain = (body: string) => ({ lines: `content-length: ${Buffer.byteLength(body, 'latin1')}\r\n`, body });
const inChunks = (...parts: readonly string[]) => ({
  lines: 'transfer-encoding: chunked\r\n',
  body: [...parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`), '0\r\n\r\n'].join(''),
});

/** Status, reason and what reached the upstream. `goesOn` says whether the connection served another request. */
async function outcomeOf(sent: Sent) {
  const on = sent.on ?? harness;
  const before = on.upstream.requests.length;
  const client = new RawClient(on.port).send(written(sent));
  await client.until((received) => received.endsWith('}') || received.endsWith('\r\n0\r\n\r\n'));
  client.send('GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n');
  const text = await client.until((received) => received.includes('"reason":"no_route"'));
  client.destroy();
  const [, status = ''] = /HTTP\/1\.1 (\d{3}) /.exec(text) ?? [];
  return {
    status: Number(status),
    reason: /"reason":"([a-z_]+)"/.exec(text)?.[1] ?? null,
    goesOn: text.includes('"reason":"no_route"'),
    challenge: /www-authenticate: (.*)/i.exec(text)?.[1] ?? '',
    seen: on.upstream.requests.slice(before),
  };
}

describe('a proof with the digest of the body', () => {
  it.each([
    ['a body with its length', { digest: digestOf('hello'), ...plain('hello') }, 'hello'],
    ['sha-512', { digest: digestOf('hello', 'sha-512'), ...plain('hello') }, 'hello'],
    ['a chunked body', { digest: digestOf('hello world'), ...inChunks('hello', ' ', 'world') }, 'hello world'],
    ['a chunked body of no bytes', { digest: digestOf(''), ...inChunks() }, ''],
    ['no body', { digest: digestOf('') }, ''],
    ['no body on GET', { digest: digestOf(''), method: 'GET' }, ''],
    ['a body on DELETE', { digest: digestOf('x'), method: 'DELETE', ...plain('x') }, 'x'],
    ['every octet', { digest: digestOf(Buffer.from('\0\xff\r\n', 'latin1')), ...plain('\0\xff\r\n') }, null],
  ])('passes, byte for byte and with a length: %s', async (_name, sent, body) => {
    const { status, seen, goesOn } = await outcomeOf(sent);
    expect({ status, goesOn, calls: seen.length }).toEqual({ status: 200, goesOn: true, calls: 1 });
    const [request] = seen;
    if (body !== null) expect(request?.body).toBe(body);
    expect(fieldValues(request?.rawHeaders ?? [], 'transfer-encoding')).toEqual([]);
    const lengths = fieldValues(request?.rawHeaders ?? [], 'content-length');
    if (body !== null && body !== '') expect(lengths).toEqual([String(body.length)]);
  });

  it.each([
    ['another body of the same length', { digest: digestOf('hello'), ...plain('hellO') }],
    ['a body cut short', { digest: digestOf('hello'), ...plain('hell') }],
    ['a body made longer', { digest: digestOf('hello'), ...plain('hello!') }],
    ['another chunked body', { digest: digestOf('hello'), ...inChunks('hel', 'l0') }],
    ['no body where there was one', { digest: digestOf('hello') }],
    ['a body where there was none', { digest: digestOf(''), ...plain('x') }],
    ['two digests of which one differs', { digest: `${digestOf('x')}, ${digestOf('y', 'sha-512')}`, ...plain('x') }],
  ])('is refused for %s, and the upstream is not called', async (_name, sent) => {
    const { challenge, ...outcome } = await outcomeOf(sent);
    expect(outcome).toEqual({ status: 401, reason: 'proof_invalid', goesOn: true, seen: [] });
    expect(challenge).toContain('DPoP error="invalid_dpop_proof"');
  });

  it.each([
    ['that is no text', 7],
    ['of unknown algorithms only', 'md5=:kAFQmDzST7DWlj99KOF/cg==:'],
    ['that is malformed', digestOf('x').slice(0, -1)],
    ['that is null', null],
  ])('is refused with a digest %s, before the body is read', async (_name, digest) => {
    // The body never comes: the answer does not wait for it.
    const client = new RawClient(harness.port).send(written({ digest, lines: 'content-length: 1\r\n' }));
    const text = await client.until((received) => received.includes('proof_invalid'));
    expect(text).toMatch(/^HTTP\/1\.1 401 /);
    client.destroy();
  });

  it('is used up by a body that does not match', async () => {
    const token = harness.mint();
    const claims = { content_digest: digestOf('right') };
    const proof = mintProof({
      key: harness.agentKey,
      method: 'POST',
      url: `${publicOrigin}/api/x`,
      accessToken: token,
      claims,
    });
    const wrong = await harness.call('/api/x', { method: 'POST', token, proof, body: 'wrong' });
    const right = await harness.call('/api/x', { method: 'POST', token, proof, body: 'right' });
    expect([wrong.reason, right.reason]).toEqual(['proof_invalid', 'proof_replayed']);
  });

  it('covers the bytes as they are sent, coding included, and they are not touched', async () => {
    const bytes = gzipSync('{"a":1}');
    const sent = plain(bytes.toString('latin1'));
    const lines = `content-encoding: gzip\r\ncontent-type: application/json\r\n${sent.lines}`;
    const decoded = { digest: digestOf('{"a":1}'), lines, body: sent.body };
    expect(await outcomeOf(decoded)).toMatchObject({ status: 401, reason: 'proof_invalid', seen: [] });
    const { status, seen } = await outcomeOf({ ...decoded, digest: digestOf(bytes) });
    expect([status, seen.map(({ body }) => body)]).toEqual([200, [bytes.toString('utf8')]]);
    expect(harness.upstream.lastField('content-encoding')).toEqual(['gzip']);
    expect(harness.upstream.lastField('content-length')).toEqual([String(bytes.length)]);
  });

  it('shows rules and the record that the body is bound', async () => {
    const path = '/api/bound-only';
    expect(await outcomeOf({ path, digest: digestOf('x'), ...plain('x') })).toMatchObject({ status: 200 });
    expect(await outcomeOf({ path, ...plain('x') })).toMatchObject({ status: 403, reason: 'rule_denied', seen: [] });
    await expect.poll(() => recordsOf(path).length).toBe(2);
    expect(recordsOf(path).map(({ pop, bytes_in }) => [pop?.body_bound, bytes_in])).toEqual([
      [true, 1],
      [false, expect.any(Number)],
    ]);
  });
});

function recordsOf(path: string, on = harness): AuditRecord[] {
  const lines = on.auditText().trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as AuditRecord).filter(({ request }) => request?.path === path);
}

describe('a body that a proof binds', () => {
  const large = 'a'.repeat(65_536);

  it('may be as large as limits.boundBody', async () => {
    const { status, seen } = await outcomeOf({ digest: digestOf(large), ...inChunks(large.slice(1), 'a') });
    expect(status).toBe(200);
    expect(seen.map(({ body }) => body === large)).toEqual([true]);
  });

  it.each([
    ['announced', plain(`${large}a`)],
    ['in chunks', inChunks(large, 'a')],
  ])('is refused when it is larger: %s', async (_name, sent) => {
    const outcome = await outcomeOf({ digest: digestOf(`${large}a`), ...sent });
    expect(outcome).toMatchObject({ status: 413, reason: 'body_too_large', seen: [] });
  });

  it('may be larger where no proof binds it, and streams then', async () => {
    expect(await outcomeOf(plain(`${large}a`))).toMatchObject({ status: 200, seen: [{ method: 'POST' }] });
  });

  it('is refused with request_timeout when it is slow, and the connection closed', async () => {
    const before = harness.upstream.requests.length;
    const sent = written({ digest: digestOf('abc'), lines: 'content-length: 3\r\n', body: 'ab' });
    const text = await new RawClient(harness.port).send(sent).end();
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(text).toContain('"reason":"request_timeout"');
    expect(text.toLowerCase()).toContain('connection: close');
    expect(harness.upstream.requests.length).toBe(before);
  });

  it.each<[string, string, string, 'destroy' | 'end']>([
    ['with a length', 'content-length: 9\r\n', 'abc', 'destroy'],
    ['in chunks', 'transfer-encoding: chunked\r\n', '3\r\nabc\r\n', 'destroy'],
    ['with a length, closing its half', 'content-length: 9\r\n', 'abc', 'end'],
    ['in chunks, closing its half', 'transfer-encoding: chunked\r\n', '3\r\nabc\r\n', 'end'],
  ])('is recorded once and never sent when its client leaves: %s', async (name, lines, body, leave) => {
    const path = `/api/left/${name.replaceAll(/[ ,]+/g, '-')}`;
    const before = harness.upstream.requests.length;
    const client = new RawClient(harness.port).send(written({ path, digest: digestOf('x'), lines, body }));
    // Sent to the same process on another connection: when it is answered, the upload has begun.
    expect((await harness.call('/api/other')).status).toBe(200);
    client.socket[leave]();
    await client.end();
    await expect.poll(() => recordsOf(path).length).toBe(1);
    // Whatever comes after has been recorded after it.
    await harness.record((await harness.call('/api/other')).decision);
    expect(recordsOf(path)).toMatchObject([
      { decision: 'deny', reason: 'request_malformed', upstream_status: null, credential: null, end: 'refused' },
    ]);
    expect(harness.upstream.requests.length).toBe(before + 2);
  });

  it('with chunks that are none is refused, and the upstream is not called', async () => {
    const before = harness.upstream.requests.length;
    const path = '/api/broken-chunks';
    const lines = 'transfer-encoding: chunked\r\n';
    await new RawClient(harness.port).send(written({ path, digest: digestOf('x'), lines, body: 'zz\r\n' })).end();
    await expect.poll(() => recordsOf(path)).toMatchObject([{ decision: 'deny', reason: 'request_malformed' }]);
    expect(harness.upstream.requests.length).toBe(before);
  });

  it('is asked for with 100 Continue, after token and proof, and before the upstream is called', async () => {
    const before = harness.upstream.requests.length;
    const lines = 'expect: 100-continue\r\ncontent-length: 3\r\n';
    const client = new RawClient(harness.port).send(written({ digest: digestOf('abc'), lines }));
    expect(await client.until((text) => text.includes('\r\n\r\n'))).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    expect(harness.upstream.requests.length).toBe(before);
    client.send('abc');
    expect(await client.until((text) => text.includes('{"ok":true}'))).toMatch(/100 Continue[\s\S]*HTTP\/1\.1 200 /);
    expect(harness.upstream.requests.at(-1)?.body).toBe('abc');
    client.destroy();
  });

  it('is answered to the end when it turns out too large after 100 Continue', async () => {
    const lines = 'expect: 100-continue\r\ntransfer-encoding: chunked\r\n';
    const client = new RawClient(harness.port).send(written({ digest: digestOf('x'), lines }));
    await client.until((text) => text.includes('100 Continue'));
    client.send(inChunks(large, large, large).body);
    expect(await client.end()).toMatch(/HTTP\/1\.1 413 [\s\S]*"reason":"body_too_large"/);
  });

  it('is not asked for where it is announced too large, or the proof was used before', async () => {
    const lines = 'expect: 100-continue\r\ncontent-length: 3\r\n';
    const tooLarge = written({ digest: digestOf('x'), lines: lines.replace('3', '70000') });
    expect(await new RawClient(harness.port).send(tooLarge).end()).toMatch(/^HTTP\/1\.1 413 /);
    const sent = written({ digest: digestOf('abc'), lines });
    const first = new RawClient(harness.port).send(sent);
    await first.until((text) => text.includes('100 Continue'));
    expect(await new RawClient(harness.port).send(sent).end()).toMatch(/^HTTP\/1\.1 401 /);
    first.destroy();
  });

  it('takes room that is given back, and is refused while there is none', async () => {
    const on = await startSidecar({ rules, config: { limits: { boundBody: '1MiB', heldBodies: '1MiB' } } });
    const path = '/api/first';
    const lines = 'content-length: 1048576\r\n';
    const first = new RawClient(on.port).send(written({ on, path, digest: digestOf('x'), lines, body: 'a' }));
    expect((await on.call('/api/other')).status).toBe(200);
    const refused = await outcomeOf({ on, digest: digestOf('x'), ...plain('x') });
    expect(refused).toMatchObject({ status: 429, reason: 'rate_limited', seen: [] });
    first.destroy();
    await expect.poll(() => recordsOf(path, on).length).toBe(1);
    for (let count = 0; count < 3; count++) {
      const body = 'b'.repeat(600_000);
      expect(await outcomeOf({ on, digest: digestOf(body), ...plain(body) })).toMatchObject({ status: 200 });
    }
    await on.close();
  });
});

describe('a route that requires bound bodies', () => {
  let strict: Harness;
  beforeAll(async () => {
    const match = { pathPrefix: '/api/', methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] };
    strict = await startSidecar({ rules, route: { match, accept: ['dpop'], bodyBinding: 'required' } });
  });
  afterAll(() => strict.close());

  it.each([
    ['POST with a body', { method: 'POST', ...plain('x') }],
    ['POST without a body', { method: 'POST' }],
    ['PUT', { method: 'PUT', ...plain('x') }],
    ['PATCH in chunks', { method: 'PATCH', ...inChunks('x') }],
    ['DELETE with a body', { method: 'DELETE', ...plain('x') }],
    ['DELETE in chunks of no bytes', { method: 'DELETE', ...inChunks() }],
    ['GET with a body', { method: 'GET', ...plain('x') }],
  ])('refuses %s without a digest', async (_name, sent) => {
    const { challenge, ...outcome } = await outcomeOf({ ...sent, on: strict });
    expect(outcome).toMatchObject({ status: 401, reason: 'proof_invalid', seen: [] });
    expect(challenge).toContain('content_digest');
  });

  it.each([
    ['POST with a body', { method: 'POST', digest: digestOf('x'), ...plain('x') }],
    ['POST without a body', { method: 'POST', digest: digestOf('') }],
    ['DELETE without a body and digest', { method: 'DELETE' }],
    ['GET without a digest', { method: 'GET' }],
  ])('passes %s', async (_name, sent) => {
    expect(await outcomeOf({ ...sent, on: strict })).toMatchObject({ status: 200, seen: [{ method: sent.method }] });
  });
});
