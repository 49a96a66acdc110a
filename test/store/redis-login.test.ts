import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { createRedisStore } from '../../src/store/redis.ts';
import { createRedisAgents } from '../../src/store/redis-agents.ts';
import { createRedisConnection } from '../../src/store/redis-connection.ts';
import { createRedisDrift } from '../../src/store/redis-drift.ts';
import { type RedisServer, startRedis, uniquePrefix } from '../support/redis-server.ts';
import { agentStoreContract } from './agents.contract.ts';
import { driftStoreContract } from './drift.contract.ts';
import { faultCode, open, recorder, serve, usable, waitMs } from './redis-under-test.ts';
import { proof, request } from './samples.ts';
import { storeContract } from './store.contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-login-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
function fileWith(text: string): string {
  const file = join(folder, `password-${files++}`);
  writeFileSync(file, text);
  return file;
}

async function adminOf(server: RedisServer): Promise<Redis> {
  const admin = new Redis(server.url);
  onTestFinished(() => admin.disconnect());
  return admin;
}

const setUser = (admin: Redis, ...rules: string[]) => admin.call('ACL', 'SETUSER', 'postern', ...rules);

describe('a password in a file', () => {
  test('is taken without the line end, with a user name of its own key, and goes before one in the URL', async () => {
    const server = await serve();
    const admin = await adminOf(server);
    await setUser(admin, 'on', '>s3cret', '~*', '+@all');
    const url = `redis://nobody:wrong@127.0.0.1:${server.port}`;
    await usable(open(url, { username: 'postern', passwordFile: fileWith('s3cret\n') }));
  });

  test('that changes is used by the live connection, before the old one is taken away', async () => {
    const server = await serve();
    const admin = await adminOf(server);
    await setUser(admin, 'on', '>old-s3cret', '~*', '+@all');
    const file = fileWith('old-s3cret');
    const states: string[] = [];
    const { lines, logger } = recorder();
    const store = open(`redis://127.0.0.1:${server.port}`, {
      username: 'postern',
      passwordFile: file,
      passwordPollMs: 20,
      onStateChange: (state) => states.push(state),
      logger,
    });
    await usable(store);
    // The file is first here, so that Redis refuses it for a while.
    writeFileSync(file, 'new-s3cret\n');
    const said = (level: string) => lines.filter((line) => line.level === level && !('check' in line.fields)).length;
    await vi.waitFor(() => expect(said('warn')).toBe(1), waitMs);
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: false });
    await setUser(admin, '>new-s3cret');
    // The store is up, and then the password is taken.
    await vi.waitFor(() => expect(said('info')).toBe(2), waitMs);
    await setUser(admin, '<old-s3cret');
    expect(await store.check(request({ singleUse: proof('q') }))).toMatchObject({ isReplay: false });
    expect(states).toEqual(['up']);
    await admin.call('CLIENT', 'KILL', 'USER', 'postern');
    await vi.waitFor(() => expect(states).toEqual(['up', 'down', 'up']), waitMs);
    expect(said('warn')).toBe(2);
    expect(inspect(lines, { depth: 10 })).not.toContain('s3cret');
  });

  test('is read again on each attempt where Redis refuses it', async () => {
    const server = await serve({ password: 'right-s3cret' });
    const file = fileWith('wrong-s3cret');
    const store = open(`redis://127.0.0.1:${server.port}`, { passwordFile: file });
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toBe('redis_wrongpass'), waitMs);
    writeFileSync(file, 'right-s3cret');
    await usable(store);
  });

  test('stays as it was while its file is gone or empty, with one warning', async () => {
    const server = await serve({ password: 'right-s3cret' });
    const file = fileWith('right-s3cret');
    const states: string[] = [];
    const { lines, logger } = recorder();
    const store = open(`redis://127.0.0.1:${server.port}`, {
      passwordFile: file,
      onStateChange: (state) => states.push(state),
      logger,
    });
    await usable(store);
    writeFileSync(file, '');
    const admin = await adminOf(server);
    for (const states_ of [2, 3]) {
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await vi.waitFor(() => expect(states.filter((state) => state === 'up')).toHaveLength(states_), waitMs);
    }
    expect(lines.filter((line) => line.message.includes('is empty'))).toHaveLength(1);
  });

  test('that is not there at the start is a fault at once', () => {
    const options = { url: 'redis://127.0.0.1:1', prefix: 'p:', timeoutMs: 300 };
    const make = (passwordFile: string) => () => createRedisStore({ ...options, passwordFile });
    expect(make(join(folder, 'none'))).toThrow(expect.objectContaining({ code: 'PASSWORDFILE' }));
    expect(make(folder)).toThrow(expect.objectContaining({ code: 'PASSWORDFILE' }));
    expect(make(fileWith(' \n'))).toThrow(expect.objectContaining({ code: 'PASSWORDFILE' }));
  });
});

describe('the user of the README', () => {
  let server: RedisServer;
  let url: string;
  beforeAll(async () => {
    server = await startRedis({ extraArguments: ['--appendonly', 'yes'] });
    const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
    const rule = /^ACL SETUSER postern [^`]*/m.exec(readme)?.[0] ?? '';
    expect(rule).toContain('~postern:*');
    const words = rule
      .replaceAll('\\\n', ' ')
      .replace('~postern:*', '~test:*')
      .replace('&postern:*', '&test:*')
      .split(/\s+/)
      .filter((word) => word !== '');
    const admin = new Redis(server.url);
    await admin.call(words[0] ?? '', ...words.slice(1));
    admin.disconnect();
    const password = words.find((word) => word.startsWith('>'))?.slice(1) ?? '';
    url = `redis://postern:${password}@127.0.0.1:${server.port}`;
  });
  afterAll(() => server.stop());

  describe('may do all that a store does', () => {
    storeContract(async ({ maxRevocations }) => {
      const prefix = uniquePrefix();
      const opened = async () => {
        const store = createRedisStore({ url, prefix, timeoutMs: 5000, maxRevocations });
        await store.ping();
        return store;
      };
      return {
        clients: [await opened(), await opened()],
        eventually: (probe) => vi.waitFor(async () => expect(await probe()).toBe(true), waitMs),
      };
    });
  });

  describe('may keep the agents that have called', () => {
    agentStoreContract(async (bounds) => {
      const prefix = uniquePrefix();
      const opened = async () => {
        const connection = createRedisConnection({ url, timeoutMs: 5000 });
        onTestFinished(() => connection.close());
        await connection.whenUp();
        return createRedisAgents(connection, prefix, bounds);
      };
      return [await opened(), await opened()];
    });
  });

  describe('may keep and tell how agents behave', () => {
    driftStoreContract(async () => {
      const prefix = uniquePrefix();
      const opened = async () => {
        const connection = createRedisConnection({ url, timeoutMs: 5000 });
        onTestFinished(() => connection.close());
        await connection.whenUp();
        return createRedisDrift(connection, prefix);
      };
      return [await opened(), await opened()];
    });
  });

  test('may see all that is looked at on connecting', async () => {
    const { lines, logger } = recorder();
    // The clock is off, so that there is something to wait for.
    await usable(open(url, { logger, clock: () => 0 }));
    await vi.waitFor(() => expect(lines.some((line) => line.message.includes('clocks'))).toBe(true), waitMs);
    expect(lines.filter((line) => line.level === 'warn')).toHaveLength(1);
  });

  test.each([
    [['GET', 'other:key']],
    [['SET', 'other:key', 'x']],
    [['FLUSHALL']],
    [['CONFIG', 'GET', 'requirepass']],
    [['KEYS', '*']],
    [['ACL', 'LIST']],
    [['SHUTDOWN', 'NOSAVE']],
    [['PUBLISH', 'channel', 'x']],
    [['SUBSCRIBE', 'channel']],
    [['PSUBSCRIBE', '*']],
    [['SCRIPT', 'FLUSH']],
  ])('may not run %j', async ([command = '', ...rest]) => {
    const redis = new Redis(url);
    onTestFinished(() => redis.disconnect());
    await expect(redis.call(command, ...rest)).rejects.toThrow('NOPERM');
  });
});
