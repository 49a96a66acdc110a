import type { ServerResponse } from 'node:http';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { type RedisServer, startRedis, uniquePrefix } from '../support/redis-server.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { frame, handshakeLines, startWebSocketUpstream, type WebSocketUpstream } from '../support/web-socket.ts';

/** Within which everything under way must have ended. */
const withinMs = 1000;

const decisionIn = (text: string) => /^postern-decision: (.*)\r$/im.exec(text)?.[1] ?? '';

describe('what is under way on one sidecar, revoked on another', () => {
  let redis: RedisServer;
  let asked: Harness;
  let serving: Harness;
  let feed: Harness;
  let upstream: WebSocketUpstream;
  let agents = 0;
  beforeAll(async () => {
    redis = await startRedis();
    upstream = await startWebSocketUpstream();
    const store = { kind: 'redis', url: redis.url, prefix: uniquePrefix(), timeout: '5s' };
    asked = await startSidecar({ store });
    const config = { issuer: { issuer: asked.issuer.issuer } };
    serving = await startSidecar({ store, config, route: { inspectBody: { json: true } } });
    feed = await startSidecar({
      store,
      config,
      route: { upstream: `http://127.0.0.1:${upstream.port}`, websocket: true },
    });
  });
  afterEach(() => serving.upstream.answerWith((_incoming, response) => void response.end('{}')));
  afterAll(async () => {
    await Promise.all([asked.close(), serving.close(), feed.close()]);
    await upstream.close();
    await redis.stop();
  });

  /** A request by an agent of its own, and how to revoke that agent elsewhere and measure. */
  function agent(path: string, method = 'GET', lines: readonly string[] = []) {
    const id = `agent-${agents++}`;
    const token = asked.mint({ claims: { client_id: id } });
    const fields = [
      'host: a',
      `authorization: DPoP ${token}`,
      `dpop: ${asked.proofFor(path, token, method)}`,
      ...lines,
    ];
    const head = `${method} ${path} HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`;
    /** Milliseconds from the answer to the revocation to the end of `ended`. */
    const revokeUntil = async (ended: Promise<unknown>): Promise<number> => {
      const { status } = await asked.admin('POST', '/v1/revocations', { agent: id, reason: 'test' });
      const startedMs = performance.now();
      expect(status).toBe(201);
      await ended;
      return performance.now() - startedMs;
    };
    return { id, head, revokeUntil };
  }

  function opened(): Promise<ServerResponse> {
    const { promise, resolve } = Promise.withResolvers<ServerResponse>();
    serving.upstream.answerWith((_incoming, response) => resolve(response));
    return promise;
  }

  it('server-sent events are cut, and the upstream let go', async () => {
    const { head, revokeUntil, id } = agent('/api/events');
    const response = opened();
    const client = new RawClient(serving.port).send(head);
    (await response).writeHead(200, { 'content-type': 'text/event-stream' }).write('data: first\n\n');
    await client.until((text) => text.includes('first'));
    expect(await revokeUntil(client.closed)).toBeLessThan(withinMs);
    // Without its last chunk: nobody takes the part for the whole (RFC 9112 §8).
    expect(client.received.endsWith('data: first\n\n\r\n')).toBe(true);
    expect(await serving.record(decisionIn(client.received))).toMatchObject({
      decision: 'allow',
      status: 200,
      end: 'revoked',
      cause: `revoked: ["agent","${id}"]`,
    });
    await expect.poll(async () => (await response).destroyed).toBe(true);
    expect((await serving.admin('GET', '/metrics')).text).toMatch(/^postern_streams_cut_total [1-9]/m);
  });

  it('a download is cut for a client that does not read', async () => {
    serving.upstream.answerWith((_incoming, response) => {
      response.writeHead(200, { 'content-length': 64 * 1024 * 1024 });
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      };
      response.on('drain', more);
      more();
    });
    const { head, revokeUntil } = agent('/api/long');
    const client = new RawClient(serving.port).send(head);
    await client.until((text) => text.includes('\r\n\r\n'));
    client.socket.pause();
    const ended = serving.record(decisionIn(client.received));
    expect(await revokeUntil(ended)).toBeLessThan(withinMs);
    expect(await ended).toMatchObject({ status: 200, end: 'revoked' });
    client.destroy();
  });

  it('a call that waits for its answer is refused, and the upstream let go', async () => {
    const { head, revokeUntil, id } = agent('/api/slow');
    const response = opened();
    const client = new RawClient(serving.port).send(head);
    await response;
    expect(await revokeUntil(client.closed)).toBeLessThan(withinMs);
    expect(client.received).toMatch(/^HTTP\/1\.1 401 .*"reason":"token_revoked"/s);
    expect(await serving.record(decisionIn(client.received))).toMatchObject({
      decision: 'allow',
      reason: 'token_revoked',
      cause: expect.stringContaining(id),
    });
    await expect.poll(async () => (await response).destroyed).toBe(true);
  });

  it('an upload is cut short', async () => {
    const { head, revokeUntil } = agent('/api/up', 'POST', ['content-length: 1000000', 'expect: 100-continue']);
    const client = new RawClient(serving.port).send(head);
    // The body is asked for once it is on its way.
    await client.until((text) => text.includes('100 Continue'));
    client.send('some');
    const before = serving.upstream.requests.length;
    expect(await revokeUntil(client.until((text) => text.includes('token_revoked')))).toBeLessThan(withinMs);
    expect(client.received).toContain('HTTP/1.1 401 ');
    client.destroy();
    expect(serving.upstream.requests.length).toBe(before);
  });

  it('a body that is read before the decision is not forwarded', async () => {
    const body = '{"amount":1}';
    const lines = ['content-type: application/json', `content-length: ${body.length}`, 'expect: 100-continue'];
    const { head, revokeUntil, id } = agent('/api/held', 'POST', lines);
    const client = new RawClient(serving.port).send(head);
    // The body is asked for once token, proof and revocation have been checked.
    await client.until((text) => text.includes('100 Continue'));
    const before = serving.upstream.requests.length;
    const isKnown = async () => (await serving.admin('GET', '/v1/revocations')).text.includes(id);
    await revokeUntil(expect.poll(isKnown).toBe(true));
    const metric = async () => /^postern_revocations (\d+)/m.exec((await serving.admin('GET', '/metrics')).text)?.[1];
    const listed = JSON.parse((await serving.admin('GET', '/v1/revocations?limit=1000')).text).revocations.length;
    await expect.poll(metric).toBe(String(listed));
    client.send(body);
    expect(await client.until((text) => text.includes('token_revoked'))).toContain('HTTP/1.1 401 ');
    expect(serving.upstream.requests.length).toBe(before);
    client.destroy();
  });

  it('a WebSocket ends with a frame that says why', async () => {
    const { head, revokeUntil } = agent('/api/feed', 'GET', handshakeLines);
    const client = new RawClient(feed.port).send(head);
    await client.until((text) => text.includes('\r\n\r\n'));
    client.send(frame(1, 'hello'));
    await client.until((text) => text.endsWith(frame(1, 'hello')));
    expect(await revokeUntil(client.closed)).toBeLessThan(withinMs);
    // RFC 6455 §7.4.1: 1008.
    expect(client.received.endsWith(frame(8, '\x03\xf0access has been revoked'))).toBe(true);
    expect(await feed.record(decisionIn(client.received))).toMatchObject({ status: 101, end: 'revoked' });
    await expect.poll(() => upstream.sockets.at(-1)?.closed).toBe(true);
  });

  it('others go on, and so does what is lifted', async () => {
    const kept = agent('/api/kept');
    const response = opened();
    const client = new RawClient(serving.port).send(kept.head);
    (await response).writeHead(200).write('first');
    await client.until((text) => text.includes('first'));
    const gone = agent('/api/gone');
    const second = opened();
    const other = new RawClient(serving.port).send(gone.head);
    (await second).writeHead(200).write('first');
    await other.until((text) => text.includes('first'));
    await gone.revokeUntil(other.closed);
    (await response).end('last');
    expect(await client.until((text) => text.includes('last'))).toContain('last');
    client.destroy();
    // Lifted on the one, passes on the other.
    const listed = JSON.parse((await asked.admin('GET', '/v1/revocations')).text).revocations;
    const { id } = listed.find((entry: { agent: string }) => entry.agent === gone.id);
    expect((await asked.admin('DELETE', `/v1/revocations/${id}`)).status).toBe(200);
    serving.upstream.answerWith((_incoming, answer) => void answer.end('{}'));
    const call = () => {
      const token = asked.mint({ claims: { client_id: gone.id } });
      return serving.call('/api/x', { token, proof: asked.proofFor('/api/x', token) });
    };
    await expect.poll(async () => (await call()).status).toBe(200);
  });
});

describe('a Redis that forgets', () => {
  it.each<[string, (server: RedisServer) => Promise<void>]>([
    [
      'because somebody flushes it',
      async (server) => {
        const redis = new Redis(server.url);
        await redis.flushall();
        redis.disconnect();
      },
    ],
    ['because it restarts empty', (server) => server.restart()],
  ])('%s, is noticed and given back what it held', async (_name, harm) => {
    const server = await startRedis();
    onTestFinished(() => server.stop());
    const store = { kind: 'redis', url: server.url, prefix: uniquePrefix(), timeout: '2s' };
    const [one, other] = [await startSidecar({ store }), await startSidecar({ store })];
    onTestFinished(() => Promise.all([one.close(), other.close()]).then(() => undefined));
    const { status } = await one.admin('POST', '/v1/revocations', { agent: 'agent-7', reason: 'stolen' });
    expect(status).toBe(201);
    await expect.poll(async () => (await other.admin('GET', '/metrics')).text).toMatch(/^postern_revocations 1$/m);
    await harm(server);
    // Not once does it pass, from the first moment on; while Redis is away, nothing does.
    const restored = () => [one, other].some(({ auditText }) => auditText().includes('"action":"restored"'));
    const deadlineMs = performance.now() + 10_000;
    const reasons = new Set<string | null>();
    while (!restored() && performance.now() < deadlineMs) reasons.add((await one.call('/api/x')).reason);
    reasons.add((await one.call('/api/x')).reason);
    reasons.add((await other.call('/api/x')).reason);
    expect([...reasons].filter((reason) => reason !== 'token_revoked' && reason !== 'store_unavailable')).toEqual([]);
    expect(one.upstream.requests.length + other.upstream.requests.length).toBe(0);
    // A sidecar that has known nothing of it finds it in Redis again.
    const fresh = await startSidecar({ store });
    onTestFinished(() => fresh.close());
    expect((await fresh.call('/api/x')).reason).toBe('token_revoked');
    const told = [one, other].find(({ auditText }) => auditText().includes('"action":"restored"'));
    expect(told?.auditText()).toMatch(/"type":"store".*"action":"lost","revocations":1/);
    expect((await told?.admin('GET', '/metrics'))?.text).toMatch(/^postern_store_losses_total 1$/m);
    expect(told?.log.some((line) => line.includes('has lost what it held'))).toBe(true);
  });
});

describe('a sidecar whose Redis is down', () => {
  it('takes a revocation all the same, cuts at once, and tells the others when Redis is back', async () => {
    const server = await startRedis();
    onTestFinished(() => server.stop());
    const store = { kind: 'redis', url: server.url, prefix: uniquePrefix(), timeout: '2s' };
    const [one, other] = [await startSidecar({ store }), await startSidecar({ store })];
    onTestFinished(() => Promise.all([one.close(), other.close()]).then(() => undefined));
    one.upstream.answerWith((_incoming, response) => void response.writeHead(200).write('first'));
    const token = one.mint();
    const fields = ['host: a', `authorization: DPoP ${token}`, `dpop: ${one.proofFor('/api/x', token)}`];
    const client = new RawClient(one.port).send(`GET /api/x HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`);
    await client.until((text) => text.includes('first'));
    await server.kill();
    const answer = await one.admin('POST', '/v1/revocations', { agent: 'agent-7', reason: 'stolen' });
    expect([answer.status, answer.text]).toEqual([503, expect.stringContaining('this sidecar cuts and refuses')]);
    await client.closed;
    expect(await one.record(decisionIn(client.received))).toMatchObject({ end: 'revoked' });
    expect(one.auditText()).toMatch(/"type":"revocation".*"action":"revoked"/);
    await server.restart();
    // Until it is told the other one knows nothing of it.
    await expect.poll(async () => (await other.call('/api/x')).reason, { timeout: 10_000 }).toBe('token_revoked');
  });
});

describe('a mirror that hears nothing', () => {
  it('fails readiness, is told by a metric and to rules, and recovers', async () => {
    const server = await startRedis();
    onTestFinished(() => server.stop());
    const store = { kind: 'redis', url: server.url, prefix: uniquePrefix(), timeout: '200ms' };
    const rules = 'rules: [{ id: fresh, when: "revocation.age < 5", effect: allow }]\n';
    const harness = await startSidecar({ store, rules, config: { revocation: { mirrorMaxAge: '1s' } } });
    onTestFinished(() => harness.close());
    expect((await harness.call('/api/x')).status).toBe(200);
    const revocations = async () => JSON.parse((await harness.admin('GET', '/readyz')).text).checks.revocations.ok;
    expect(await revocations()).toBe(true);
    server.pause();
    await expect.poll(revocations, { timeout: 10_000 }).toBe(false);
    const { text } = await harness.admin('GET', '/metrics');
    const age = /^postern_revocation_mirror_age_seconds ([\d.]+)/m.exec(text)?.[1];
    expect(Number(age)).toBeGreaterThan(1);
    server.resume();
    await expect.poll(revocations, { timeout: 10_000 }).toBe(true);
  });
});
