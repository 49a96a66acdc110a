import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Admin, type AdminOptions, createAdmin, createReadAdminToken } from '../src/admin.ts';
import { json as jsonAnswer } from '../src/admin-answer.ts';
import { StoreFault } from '../src/errors.ts';
import { writeConfiguration } from './cli/configuration-file.ts';
import { exchangeRaw, RawClient } from './support/raw-http.ts';

const token = 'a-long-and-random-admin-token';
const entry = { id: 'entry-1', agent: 'agent-7' };
const metrics = { contentType: 'text/plain; version=0.0.4; charset=utf-8', expose: async () => 'up 1\n' };

type Started = {
  readonly admin: Admin;
  readonly port: number;
  readonly created: { body: unknown; author: string }[];
  readonly faults: unknown[];
  /** Status, fields by lower-case name, and body of one answer. */
  readonly call: (method: string, path: string, fields?: Fields, body?: string) => Promise<Answer>;
};
type Fields = Readonly<Record<string, string>>;
type Answer = { readonly status: number; readonly fields: ReadonlyMap<string, string>; readonly body: string };

const admins: Admin[] = [];
afterEach(async () => {
  for (const admin of admins.splice(0)) await admin.close();
});

async function start(changes: Partial<AdminOptions> = {}, address = '127.0.0.1:0'): Promise<Started> {
  const created: Started['created'] = [];
  const faults: unknown[] = [];
  const admin = createAdmin({
    readToken: () => null,
    readiness: async () => ({ store: { ok: true } }),
    metrics,
    revocations: {
      create: async (body, author) => {
        created.push({ body, author });
        return entry;
      },
      preview: async (body) => ({ dry_run: true, body }),
      lift: async (id) => (id === entry.id ? entry : null),
      list: async (query) => ({ revocations: [entry], next: query === '' ? null : query }),
    },
    agents: async ({ path }) => (path === '/v1/agents' ? jsonAnswer(200, { agents: [] }) : null),
    findDecision: (id) => (id === 'known' ? '{"id":"known"}' : null),
    explain: async () => null,
    reload: async () => jsonAnswer(200, { outcome: 'unchanged' }),
    onFault: (fault) => faults.push(fault),
    ...changes,
  });
  const port = await admin.start(address);
  admins.push(admin);
  const call: Started['call'] = async (method, path, fields = {}, body = '') => {
    const given = { host: `127.0.0.1:${port}`, connection: 'close', 'content-length': `${body.length}`, ...fields };
    const head = Object.entries(given).map(([name, value]) => `${name}: ${value}\r\n`);
    return parse(await exchangeRaw(port, `${method} ${path} HTTP/1.1\r\n${head.join('')}\r\n${body}`));
  };
  return { admin, port, created, faults, call };
}

function parse(text: string): Answer {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const [first = '', ...lines] = head.split('\r\n');
  const fields = lines.map((line) => [line.split(': ')[0]?.toLowerCase() ?? '', line.split(': ')[1] ?? ''] as const);
  return { status: Number(first.split(' ')[1]), fields: new Map(fields), body: rest.join('\r\n\r\n') };
}

const json = { 'content-type': 'application/json' };
const bearer = (text: string) => ({ authorization: `Bearer ${text}` });

describe('the admin listener', () => {
  it('tells that it lives and whether it is ready, with what is wrong', async () => {
    const { call } = await start({
      readiness: async () => ({ store: { ok: false, detail: 'it is gone' }, audit: { ok: true } }),
    });
    expect(await call('GET', '/livez')).toMatchObject({ status: 200, body: '{"status":"ok"}\n' });
    const { status, body } = await call('GET', '/readyz');
    expect(status).toBe(503);
    expect(JSON.parse(body)).toEqual({
      status: 'not ready',
      checks: { store: { ok: false, detail: 'it is gone' }, audit: { ok: true } },
    });
  });

  it('gives metrics in the content type of the text format, and keeps them out of caches', async () => {
    const { call } = await start();
    const { status, fields, body } = await call('GET', '/metrics?x=y');
    expect({ status, body }).toEqual({ status: 200, body: 'up 1\n' });
    expect(fields.get('content-type')).toBe(metrics.contentType);
    expect(fields.get('cache-control')).toBe('no-store');
    expect(fields.get('x-content-type-options')).toBe('nosniff');
  });

  it('answers HEAD as GET without the body', async () => {
    const { call } = await start();
    const { status, fields, body } = await call('HEAD', '/metrics');
    expect({ status, body, length: fields.get('content-length') }).toEqual({ status: 200, body: '', length: '5' });
  });

  it('explains a recent decision and knows no other', async () => {
    const { call } = await start();
    expect(await call('GET', '/v1/decisions/known')).toMatchObject({ status: 200, body: '{"id":"known"}\n' });
    expect((await call('GET', '/v1/decisions/unknown')).status).toBe(404);
  });

  it('takes, lists and lifts revocations, with the author that the caller names', async () => {
    const { call, created } = await start();
    const posted = await call('POST', '/v1/revocations', { ...json, 'postern-author': 'kim' }, '{"agent":"agent-7"}');
    expect({ status: posted.status, body: JSON.parse(posted.body) }).toEqual({ status: 201, body: entry });
    await call('POST', '/v1/revocations', { 'content-type': 'application/json; charset=utf-8' }, '{}');
    expect(created).toEqual([
      { body: { agent: 'agent-7' }, author: 'kim' },
      { body: {}, author: 'admin' },
    ]);
    expect(JSON.parse((await call('GET', '/v1/revocations')).body)).toEqual({ revocations: [entry], next: null });
    expect((await call('DELETE', '/v1/revocations/entry-1')).status).toBe(200);
    expect((await call('DELETE', '/v1/revocations/entry-2')).status).toBe(404);
  });

  it('says what a revocation would hit without making it, and makes none where the query says anything else', async () => {
    const { call, created } = await start();
    const dryRun = await call('POST', '/v1/revocations?dry_run=true', json, '{"agent":"agent-7"}');
    expect([dryRun.status, JSON.parse(dryRun.body)]).toEqual([200, { dry_run: true, body: { agent: 'agent-7' } }]);
    for (const query of ['dry_run', 'dry_run=1', 'dry-run=true', 'dry_run=true&x', '%64ry_run=true']) {
      expect((await call('POST', `/v1/revocations?${query}`, json, '{"agent":"agent-7"}')).status).toBe(400);
    }
    expect(created).toEqual([]);
  });

  it('passes on what is about agents', async () => {
    const { call } = await start();
    expect(JSON.parse((await call('GET', '/v1/agents?limit=1')).body)).toEqual({ agents: [] });
  });

  it('tells what is wrong with a revocation', async () => {
    const revocations = {
      create: async () => ({ problem: 'name what to revoke' }),
      preview: async () => ({ problem: 'name what to revoke' }),
      lift: async () => null,
      list: async () => ({ problem: 'limit must be a number' }),
    };
    const { call } = await start({ revocations });
    const { status, body } = await call('POST', '/v1/revocations', json, '{}');
    expect({ status, ...(JSON.parse(body) as object) }).toMatchObject({ status: 400, detail: 'name what to revoke' });
  });

  it.each([
    ['POST', '/livez', 'GET'],
    ['DELETE', '/readyz', 'GET'],
    ['POST', '/metrics', 'GET'],
    ['PUT', '/v1/revocations', 'GET, POST'],
    ['GET', '/v1/revocations/entry-1', 'DELETE'],
    ['DELETE', '/v1/decisions/known', 'GET'],
  ])('answers %s %s with 405 and what is allowed', async (method, path, allow) => {
    const { call } = await start();
    const { status, fields } = await call(method, path);
    expect({ status, allow: fields.get('allow') }).toEqual({ status: 405, allow });
  });

  it.each([
    '/',
    '/v1',
    '/v1/revocations/',
    '/v1/decisions/a%2Fb',
    '/v1/decisions/a/b',
    '/METRICS',
    '//metrics',
    'http://127.0.0.1/metrics',
  ])('knows nothing at %s', async (path) => {
    const { call } = await start();
    expect((await call('GET', path)).status).toBe(404);
  });

  it.each([
    ['no JSON', json, '{"agent":', 400],
    ['nothing', json, '', 400],
    ['a member named twice', json, '{"agent":"a","agent":"b"}', 400],
    ['text that is not UTF-8', json, '"\xff"', 400],
    ['nesting without end', json, '['.repeat(1000) + ']'.repeat(1000), 400],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 'agent=a', 415],
    ['a type that only begins as JSON does', { 'content-type': 'application/jsonp' }, '{}', 415],
    ['no type', {}, '{}', 415],
  ])('takes no revocation from a body of %s', async (_name, fields, body, status) => {
    const { call, created } = await start();
    expect((await call('POST', '/v1/revocations', fields, body)).status).toBe(status);
    expect(created).toEqual([]);
  });

  it('tells who sends too much so, and closes', async () => {
    const { port, created } = await start();
    const body = `"${'a'.repeat(70_000)}"`;
    const head = `POST /v1/revocations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n`;
    const client = new RawClient(port).send(`${head}content-length: 1000000\r\n\r\n${body}`);
    const { status, fields } = parse(await client.end());
    expect({ status, connection: fields.get('connection') }).toEqual({ status: 413, connection: 'close' });
    expect(created).toEqual([]);
  });

  it('outlives clients that leave in the middle of a body, and calls that no fault', async () => {
    const { port, created, faults, call } = await start();
    const head = `POST /v1/revocations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n`;
    const client = new RawClient(port).send(`${head}content-length: 10\r\n\r\n{"a`);
    client.socket.once('connect', () => client.socket.resetAndDestroy());
    await client.end();
    const polite = new RawClient(port).send(`${head}content-length: 10\r\nexpect: 100-continue\r\n\r\n`);
    await polite.until((received) => received.includes('100 Continue'));
    polite.destroy();
    await polite.end();
    expect((await call('GET', '/livez')).status).toBe(200);
    expect({ created, faults }).toEqual({ created: [], faults: [] });
  });

  it('answers with 503 while the store is down, and with 500 to a bug, of which it tells the log alone', async () => {
    const down = async () => Promise.reject(new StoreFault('the store took too long'));
    const bug = new TypeError('secret detail of a bug');
    const { call, faults } = await start({
      revocations: { create: down, preview: down, lift: down, list: down },
      findDecision: () => {
        throw bug;
      },
    });
    expect((await call('GET', '/v1/revocations')).status).toBe(503);
    expect((await call('POST', '/v1/revocations', json, '{}')).status).toBe(503);
    expect((await call('DELETE', '/v1/revocations/x')).status).toBe(503);
    expect(faults).toEqual([]);
    const { status, body } = await call('GET', '/v1/decisions/x');
    expect(status).toBe(500);
    expect(body).not.toContain('secret detail');
    expect(faults).toEqual([bug]);
  });

  it('cannot be started where another listens, and names the key', async () => {
    const { port } = await start();
    await expect(start({}, `127.0.0.1:${port}`)).rejects.toMatchObject({
      code: 'listen',
      message: expect.stringContaining('admin.address'),
    });
  });
});

describe('without a token', () => {
  it.each(['localhost', 'localhost:9901', '127.0.0.1:80', '127.1.2.3', '[::1]:9901'])('takes Host %s', async (host) => {
    const { call } = await start();
    expect((await call('GET', '/metrics', { host })).status).toBe(200);
  });

  it.each(['https://evil.example', 'null'])('makes no change for a web page of the origin %s', async (origin) => {
    const reload = vi.fn(async () => jsonAnswer(200, { outcome: 'unchanged' }));
    const { call, created } = await start({ reload });
    // What a page may send without asking first.
    expect((await call('POST', '/v1/reload', { origin, 'content-type': 'text/plain' })).status).toBe(403);
    expect((await call('POST', '/v1/revocations', { origin, ...json }, '{}')).status).toBe(403);
    expect((await call('DELETE', '/v1/revocations/entry-1', { origin })).status).toBe(403);
    expect(reload).not.toHaveBeenCalled();
    expect(created).toEqual([]);
    expect((await call('POST', '/v1/reload')).status).toBe(200);
  });

  it.each(['evil.example', '127.0.0.1.evil.example', 'localhost.evil.example:9901', '10.0.0.1', ''])(
    'refuses Host %j, whose name may have been bound to this machine by a web page',
    async (host) => {
      const { call, created } = await start();
      for (const path of ['/metrics', '/v1/revocations', '/v1/agents', '/v1/decisions/known']) {
        expect((await call('GET', path, { host })).status).toBe(403);
      }
      expect((await call('POST', '/v1/revocations', { ...json, host }, '{}')).status).toBe(403);
      expect(created).toEqual([]);
    },
  );
});

describe('with a token', () => {
  it('takes it from any host, and says nothing without it but whether it lives and is ready', async () => {
    const readiness = async () => ({ store: { ok: false, detail: 'redis.internal is gone' } });
    const { call, created } = await start({ readToken: () => token, readiness });
    const host = 'postern.internal:9901';
    for (const [method, path] of [
      ['GET', '/metrics'],
      ['GET', '/v1/revocations'],
      ['GET', '/v1/agents'],
      ['GET', '/v1/decisions/known'],
      ['DELETE', '/v1/revocations/entry-1'],
      ['GET', '/nowhere'],
    ] as const) {
      const { status, fields } = await call(method, path, { host });
      expect({ status, challenge: fields.get('www-authenticate') }).toEqual({ status: 401, challenge: 'Bearer' });
      expect((await call(method, path, { host, ...bearer(token) })).status).toBe(path === '/nowhere' ? 404 : 200);
    }
    for (const path of [
      '/v1/revocations',
      '/v1/revocations?dry_run=true',
      '/v1/agents/a/offboard',
      '/v1/owners/a/offboard',
      '/v1/explain',
      '/v1/reload',
    ]) {
      expect((await call('POST', path, json, '{}')).status).toBe(401);
    }
    expect(created).toEqual([]);

    expect((await call('GET', '/livez', { host })).status).toBe(200);
    const anonymous = await call('GET', '/readyz', { host });
    expect(anonymous.status).toBe(503);
    expect(JSON.parse(anonymous.body)).toEqual({ status: 'not ready', checks: { store: { ok: false } } });
    expect((await call('GET', '/readyz', { host, ...bearer(token) })).body).toContain('redis.internal');
  });

  it.each([
    ['another', bearer(`${token}x`)],
    ['a part of it', bearer(token.slice(0, -1))],
    ['none', { authorization: 'Bearer' }],
    ['an empty one', bearer('')],
    ['it with more behind it', bearer(`${token} ${token}`)],
    ['it in another scheme', { authorization: `Basic ${token}` }],
  ])('refuses %s', async (_name, fields) => {
    const { call } = await start({ readToken: () => token });
    expect((await call('GET', '/metrics', fields)).status).toBe(401);
  });

  it('reads it from its file without the newline at the end', () => {
    const file = writeConfiguration().write('token', `${token}\n`);
    expect(createReadAdminToken(file)()).toBe(token);
  });
});
