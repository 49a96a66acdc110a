import { inspect } from 'node:util';
import { Redis } from 'ioredis';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { uniquePrefix } from '../support/redis-server.ts';
import { faultCode, open, recorder, serve, usable, waitMs } from './redis-under-test.ts';
import { firstPage, meter, proof, request, revocation } from './samples.ts';

describe('a server that is gone', () => {
  test('is a fault at once for every method, and works again when it is back', async () => {
    const server = await serve();
    const states: string[] = [];
    const store = open(server.url, { onStateChange: (state) => states.push(state) });
    await usable(store);
    await store.check(request({ singleUse: proof('p') }));
    await server.kill();
    await vi.waitFor(() => expect(states).toEqual(['up', 'down']), waitMs);
    const calls = [
      store.check(request()),
      store.revoke(revocation()),
      store.lift('r-1'),
      store.revocations(firstPage),
      store.changes(null),
      store.ping(),
    ];
    for (const call of calls) expect(['redis_econnrefused', 'redis_disconnected']).toContain(await faultCode(call));
    await server.restart();
    await usable(store);
    expect(await store.check(request({ singleUse: proof('q'), meters: [meter()] }))).toMatchObject({ counts: [1] });
    expect(states).toEqual(['up', 'down', 'up']);
  });

  test('fails the checks that were on their way, and never sends them again', async () => {
    const server = await serve();
    const prefix = uniquePrefix();
    const store = open(server.url, { prefix, timeoutMs: 5000 });
    await usable(store);
    server.pause();
    const call = faultCode(store.check(request({ meters: [meter()] })));
    // The call has left once the batch of this turn is written, which happens before the next turn ends.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    await server.kill();
    expect(await call).toMatch(/^redis_(disconnected|econnreset)$/);
    await server.restart();
    await usable(store);
    expect(await store.check(request({ meters: [meter({ cost: 0 })] }))).toMatchObject({ counts: [0] });
  });

  test('is a fault from the start where nothing listens, and no obstacle to closing', async () => {
    const server = await serve();
    await server.kill();
    const states: string[] = [];
    const store = open(server.url, { onStateChange: (state) => states.push(state) });
    await vi.waitFor(() => expect(states).toEqual(['down']), waitMs);
    expect(await faultCode(store.check(request()))).toBe('redis_econnrefused');
    expect(await faultCode(store.ping())).toBe('redis_econnrefused');
    await store.close();
    expect(await faultCode(store.check(request()))).toBe('redis_closed');
  });
});

describe('a server that stands still', () => {
  test('is a fault within the timeout, then at once, and works again when it goes on', async () => {
    const server = await serve();
    const states: string[] = [];
    const store = open(server.url, { timeoutMs: 300, onStateChange: (state) => states.push(state) });
    await usable(store);
    server.pause();
    const startedMs = performance.now();
    expect(await faultCode(store.check(request({ singleUse: proof('p') })))).toBe('redis_timeout');
    const tookMs = performance.now() - startedMs;
    expect(tookMs).toBeGreaterThanOrEqual(299);
    expect(tookMs).toBeLessThan(1500);
    // Its connection is given up, and a new one gets no answer either, so nothing more is sent.
    await vi.waitFor(() => expect(states).toEqual(['up', 'down']), waitMs);
    expect(await faultCode(store.check(request()))).toMatch(/^redis_(disconnected|timeout)$/);
    server.resume();
    await usable(store);
    expect(await store.check(request({ singleUse: proof('q') }))).toMatchObject({ isReplay: false });
  });

  test('is given up in the handshake too', async () => {
    const server = await serve();
    server.pause();
    const states: string[] = [];
    const store = open(server.url, { timeoutMs: 300, onStateChange: (state) => states.push(state) });
    await vi.waitFor(() => expect(states).toEqual(['down']), waitMs);
    await faultCode(store.ping());
    server.resume();
    await usable(store);
    expect(states).toEqual(['down', 'up']);
  });

  test('keeps no more than a bounded number of checks waiting', async () => {
    const server = await serve();
    const store = open(server.url, { timeoutMs: 2000 });
    await usable(store);
    server.pause();
    const calls = Array.from({ length: 10_001 }, () => faultCode(store.check(request())));
    const codes = await Promise.all(calls);
    expect(codes.filter((code) => code === 'redis_backlog')).toHaveLength(1);
    server.resume();
    await usable(store);
    expect(await store.check(request())).toMatchObject({ revokedIndex: -1 });
  });
});

describe('a server that says no', () => {
  test.each([
    ['a wrong password', 'wrong-s3cret', 'redis_wrongpass'],
    ['no password', undefined, 'redis_noauth'],
  ])('%s is a fault that shows no secret, and is not retried without pause', async (_, password, code) => {
    const server = await serve({ password: 'right-s3cret' });
    const url = `redis://127.0.0.1:${server.port}`;
    const { lines, logger } = recorder();
    const store = open(url, { logger, ...(password === undefined ? {} : { password }) });
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe(code), waitMs);
    const error: unknown = await store.check(request()).catch((reason: unknown) => reason);
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain('s3cret');
    expect(inspect(lines, { depth: 10 })).not.toContain('s3cret');
    expect(lines.filter((line) => line.level === 'warn')).toHaveLength(1);
  });

  test('a password option goes before the one in the URL, and both work', async () => {
    const server = await serve({ password: 'a:b@c/d%' });
    await usable(open(server.url));
    await usable(open(server.url.replace(/:[^:@/]*@/, ':wrong@'), { password: 'a:b@c/d%' }));
  });

  test('a read-only replica is a fault, until it is promoted', async () => {
    const primary = await serve();
    const replica = await serve({ replicaOfPort: primary.port });
    const store = open(replica.url);
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe('redis_readonly'), waitMs);
    const admin = new Redis(replica.url);
    onTestFinished(() => admin.disconnect());
    await admin.replicaof('NO', 'ONE');
    await usable(store);
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: false });
  });

  test('a primary that becomes a replica under us is a fault and gets a new connection', async () => {
    const primary = await serve();
    const server = await serve();
    const store = open(server.url);
    await usable(store);
    const admin = new Redis(server.url);
    onTestFinished(() => admin.disconnect());
    await admin.replicaof('127.0.0.1', primary.port);
    expect(await faultCode(store.check(request({ singleUse: proof('p') })))).toBe('redis_readonly');
    await vi.waitFor(async () => expect(await faultCode(store.ping())).toBe('redis_readonly'), waitMs);
    await admin.replicaof('NO', 'ONE');
    await usable(store);
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: false });
  });

  test('a server out of memory is a fault that uses up no proof', async () => {
    const server = await serve();
    const store = open(server.url);
    await usable(store);
    const admin = new Redis(server.url);
    onTestFinished(() => admin.disconnect());
    await store.check(request());
    await admin.config('SET', 'maxmemory', '1');
    expect(await faultCode(store.check(request({ singleUse: proof('p') })))).toBe('redis_oom');
    expect(await faultCode(store.revoke(revocation()))).toBe('redis_oom');
    await admin.config('SET', 'maxmemory', '0');
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: false });
  });

  test('a key of another type is a fault', async () => {
    const server = await serve();
    const prefix = uniquePrefix();
    const store = open(server.url, { prefix });
    await usable(store);
    const admin = new Redis(server.url);
    onTestFinished(() => admin.disconnect());
    await admin.set(`${prefix}{v1}:revoked:handles`, 'x');
    expect(await faultCode(store.check(request({ handles: ['h'] })))).toBe('redis_wrongtype');
    await admin.del(`${prefix}{v1}:revoked:handles`);
    await admin.hset(`${prefix}{v1}:revoked:entries`, 'r-1', '{"id":1}');
    expect(await faultCode(store.copy(null))).toBe('redis_answer');
    await admin.zadd(`${prefix}{v1}:revoked:order`, 0, '0:r-1');
    expect(await faultCode(store.revocations(firstPage))).toBe('redis_answer');
  });

  test('a user without the rights is a fault, and without INFO alone is only told of', async () => {
    const server = await serve();
    const admin = new Redis(server.url);
    onTestFinished(() => admin.disconnect());
    await admin.call('ACL', 'SETUSER', 'postern', 'on', '>s3cret', '~*', '+@all', '-info');
    const { lines, logger } = recorder();
    const url = `redis://postern:s3cret@127.0.0.1:${server.port}`;
    const store = open(url, { logger });
    await usable(store);
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: false });
    expect(lines.filter((line) => line.level === 'warn')).toHaveLength(1);
    await admin.call('ACL', 'SETUSER', 'postern', 'resetkeys', '~other:*');
    expect(await faultCode(store.check(request({ singleUse: proof('q') })))).toBe('redis_noperm');
  });
});
