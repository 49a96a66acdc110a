import { inspect } from 'node:util';
import { Redis } from 'ioredis';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createRedisStore } from '../../src/store/redis.ts';
import { uniquePrefix } from '../support/redis-server.ts';
import { faultCode, open, recorder, serve, usable, waitMs } from './redis-under-test.ts';
import { bulk, startRespStub } from './resp-stub.ts';
import { proof, request } from './samples.ts';

describe('a server that is not fit', () => {
  const stub = async (info: string, script = bulk('[-1,0]')) => {
    const server = await startRespStub((name) => {
      if (name === 'info') return info;
      if (name === 'ping') return '+PONG\r\n';
      return name.startsWith('eval') ? script : '+OK\r\n';
    });
    onTestFinished(() => server.stop());
    return server;
  };

  test.each([
    ['is older than 6.2', bulk('redis_version:6.0.16\r\nrole:master\r\n'), 'redis_version'],
    ['does not tell its version', bulk('role:master\r\n'), 'redis_version'],
    ['is loading its data', bulk('redis_version:7.2.0\r\nloading:1\r\n'), 'redis_loading'],
    ['answers LOADING', '-LOADING Redis is loading the dataset in memory\r\n', 'redis_loading'],
  ])('one that %s is a fault and never sees a check', async (_, info, code) => {
    const server = await stub(info);
    const store = open(server.url);
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe(code), waitMs);
    await vi.waitFor(() => expect(server.commands.filter((name) => name === 'info').length).toBeGreaterThan(1), waitMs);
    expect(server.commands.filter((name) => name.startsWith('eval'))).toEqual([]);
  });

  test.each([
    ['too short', bulk('[-1]'), 'redis_answer'],
    ['too long', bulk('[-1,0,1]'), 'redis_answer'],
    ['no JSON', '+OK\r\n', 'redis_answer'],
    ['no array', bulk('{"length":2}'), 'redis_answer'],
    ['no numbers', bulk('["-1","0"]'), 'redis_answer'],
    ['a fraction', bulk('[-1,0.5]'), 'redis_answer'],
    ['nothing', '$-1\r\n', 'redis_answer'],
    ['an array', '*2\r\n:-1\r\n:0\r\n', 'redis_answer'],
    ['LOADING', '-LOADING Redis is loading the dataset in memory\r\n', 'redis_loading'],
    [
      'an error inside a script of Redis 6.2',
      "-ERR Error running script (call to f_ab): @user_script:3: -READONLY You can't write\r\n",
      'redis_readonly',
    ],
  ])('an answer that is %s is a fault', async (_, answer, code) => {
    const server = await stub(bulk('redis_version:6.2.0\r\nrole:master\r\n'), answer);
    const store = open(server.url);
    await usable(store);
    expect(await faultCode(store.check(request()))).toBe(code);
  });

  test('one that is a Sentinel is a fault by name', async () => {
    const sentinel = await stub(bulk('redis_version:7.2.0\r\nredis_mode:sentinel\r\n'));
    const store = open(sentinel.url);
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe('redis_sentinel'), waitMs);
  });
});

describe('what is wrong with a server that is used nevertheless', () => {
  /** What is warned of on connecting, once all of it is there: the clock is looked at last but told of with the rest. */
  async function warningsOf(
    options: { readonly extraArguments?: readonly string[]; readonly user?: readonly string[] },
    clock: () => number = () => Date.now() + 60_000,
  ) {
    const server = await serve({ extraArguments: options.extraArguments ?? [] });
    if (options.user !== undefined) {
      const admin = new Redis(server.url);
      onTestFinished(() => admin.disconnect());
      await admin.call('ACL', 'SETUSER', 'default', ...options.user);
    }
    const { lines, logger } = recorder();
    await usable(open(server.url, { logger, clock }));
    await vi.waitFor(() => expect(checksIn(lines)).toContain('clock'), waitMs);
    return lines.filter((line) => 'check' in line.fields);
  }
  const checksIn = (lines: readonly { readonly fields: object }[]) =>
    lines.flatMap(({ fields }) => ('check' in fields ? [fields.check] : []));

  const persistent = ['--appendonly', 'yes'];

  test('is nothing for one that keeps what it is told, but for a clock that is a minute off', async () => {
    expect(checksIn(await warningsOf({ extraArguments: persistent }))).toEqual(['clock']);
  });

  test.each([
    ['may evict anything', ['--maxmemory-policy', 'allkeys-lru', ...persistent], 'eviction', 'revocations'],
    ['may evict what expires', ['--maxmemory-policy', 'volatile-ttl', ...persistent], 'eviction', 'used twice'],
    ['keeps nothing on disk', [], 'persistence', 'forgets every revocation'],
    ['saves snapshots only', ['--save', '3600 1'], 'persistence', 'snapshots'],
  ])('is told of one that %s', async (_, extraArguments, check, words) => {
    const warnings = await warningsOf({ extraArguments });
    expect(checksIn(warnings)).toEqual([check, 'clock']);
    expect(warnings[0]?.message).toContain(words);
  });

  test.each([
    [['-info'], ['info', 'clock']],
    [['-config'], ['persistence', 'clock']],
  ])('cannot be known all of with %s', async (user, checks) => {
    const warnings = await warningsOf({ user });
    expect(checksIn(warnings)).toEqual(checks);
    expect(warnings[0]?.message).toContain('unchecked');
  });

  test('is told of once, however often the connection is made anew, and again when it is another', async () => {
    const server = await serve();
    const { lines, logger } = recorder();
    const store = open(server.url, { logger });
    await usable(store);
    const count = (check: string) => checksIn(lines).filter((one) => one === check).length;
    await vi.waitFor(() => expect(count('persistence')).toBe(1), waitMs);
    const admin = new Redis(server.url);
    onTestFinished(() => admin.disconnect());
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lfu');
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await vi.waitFor(() => expect(count('eviction')).toBe(1), waitMs);
    expect(count('persistence')).toBe(1);
  });
});

describe('the URL of a store', () => {
  test.each([
    'http://:s3cret@127.0.0.1',
    'redis://',
    'redis://:s3cret@host:99999',
    'redis://:s3cret@host/0?enableOfflineQueue=true',
    'redis://:s3cret@host/0#s3cret',
    'redis://:s3cret@host/db',
    'redis://:s3cret%zz@host/0',
  ])('is refused without being quoted: case %#', (url) => {
    let thrown: unknown;
    try {
      createRedisStore({ url, prefix: 'p:', timeoutMs: 300 });
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: 'configuration' });
    expect(inspect(thrown)).not.toContain('s3cret');
  });

  test('may name a database', async () => {
    const server = await serve();
    const prefix = uniquePrefix();
    const store = open(`${server.url}/3`, { prefix });
    await usable(store);
    await store.check(request({ singleUse: proof('p') }));
    const admin = new Redis(`${server.url}/3`);
    onTestFinished(() => admin.disconnect());
    expect(await admin.exists(`${prefix}{v1}:proof:p`)).toBe(1);
  });
});
