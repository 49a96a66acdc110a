import { Redis } from 'ioredis';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { StoreFault } from '../../src/errors.ts';
import type { Channel, DriftStore } from '../../src/store/drift-port.ts';
import { createRedisConnection } from '../../src/store/redis-connection.ts';
import { createRedisDrift } from '../../src/store/redis-drift.ts';
import { uniquePrefix } from '../support/redis-server.ts';
import { driftStoreContract } from './drift.contract.ts';
import { serve, waitMs } from './redis-under-test.ts';

const url = inject('redisUrl');

async function open(prefix = uniquePrefix()) {
  const connections = [0, 1].map(() => createRedisConnection({ url, timeoutMs: 5000 }));
  const stores = connections.map((connection) => createRedisDrift(connection, prefix));
  for (const connection of connections) onTestFinished(() => connection.close());
  await Promise.all(connections.map((connection) => connection.whenUp()));
  const [one, other] = stores;
  if (one === undefined || other === undefined) throw new Error('two stores were opened');
  return [one, other] as const;
}

driftStoreContract(() => open());

test('keeps its keys in the one slot of all others, and lets them expire', async () => {
  const prefix = uniquePrefix();
  const [store] = await open(prefix);
  await store.write('agent:a', null, Uint8Array.of(1), 60_000);
  const redis = new Redis(url);
  onTestFinished(() => redis.disconnect());
  const key = `${prefix}{v1}:drift:agent:a`;
  expect(await redis.keys(`${prefix}*`)).toEqual([key]);
  expect(await redis.pttl(key)).toBeGreaterThan(50_000);
});

test('is a fault of the store where Redis holds something else', async () => {
  const prefix = uniquePrefix();
  const [store] = await open(prefix);
  const redis = new Redis(url);
  onTestFinished(() => redis.disconnect());
  await redis.set(`${prefix}{v1}:drift:a`, 'x');
  await expect(store.read('a')).rejects.toBeInstanceOf(StoreFault);
  await expect(store.write('a', null, Uint8Array.of(1), null)).rejects.toBeInstanceOf(StoreFault);
});

describe('a channel of Redis', () => {
  function join(store: DriftStore) {
    const heard: string[] = [];
    const faults: (string | null)[] = [];
    const channel = store.join('c', {
      onTold: (text) => heard.push(text),
      onFault: (fault) => faults.push(fault === null ? null : fault.message),
    });
    onTestFinished(() => channel.close());
    return { ...channel, heard, faults };
  }

  /** A store on a server of the test's own. */
  async function openOn(url: string, prefix: string, more: object = {}) {
    const connection = createRedisConnection({ url, timeoutMs: 1000, ...more });
    onTestFinished(() => connection.close());
    await connection.whenUp();
    return createRedisDrift(connection, prefix);
  }

  const toldTo = (channel: Channel, others: number) =>
    expect.poll(() => channel.tell('x').catch(() => -1), { timeout: waitMs }).toBe(others);

  test('is joined again when the server was away, and rejects with a fault meanwhile', async () => {
    const server = await serve();
    const prefix = uniquePrefix();
    const [one, two] = [join(await openOn(server.url, prefix)), join(await openOn(server.url, prefix))];
    await toldTo(one, 1);
    await server.kill();
    await expect.poll(() => one.tell('lost').catch((fault: unknown) => fault)).toBeInstanceOf(StoreFault);
    await server.restartEmpty();
    await Promise.all([toldTo(one, 1), toldTo(two, 1)]);
    two.heard.length = 0;
    await one.tell('found');
    await expect.poll(() => two.heard).toEqual(expect.arrayContaining(['found']));
    expect(two.heard).not.toContain('lost');
  });

  test('is joined again by a connection that was cut', async () => {
    const server = await serve();
    const prefix = uniquePrefix();
    const [one, two] = [join(await openOn(server.url, prefix)), join(await openOn(server.url, prefix))];
    await toldTo(one, 1);
    const admin = new Redis(server.url);
    onTestFinished(() => admin.disconnect());
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await Promise.all([toldTo(one, 1), toldTo(two, 1)]);
  });

  test('says why nobody is heard where the ACL does not let it, until it does', async () => {
    const server = await serve();
    const prefix = uniquePrefix();
    const admin = new Redis(server.url);
    onTestFinished(() => admin.disconnect());
    const setUser = (...rules: string[]) => admin.call('ACL', 'SETUSER', 'postern', ...rules);
    await setUser('on', '>s3cret', '~*', '+@all', 'resetchannels');
    const member = join(await openOn(server.url, prefix, { username: 'postern', password: 's3cret' }));
    await expect.poll(() => member.faults, { timeout: waitMs }).toHaveLength(1);
    expect(member.faults[0]).toContain('ACL');
    await expect(member.tell('x')).rejects.toBeInstanceOf(StoreFault);
    await setUser(`&${prefix}*`);
    await expect.poll(() => member.faults, { timeout: waitMs }).toEqual([expect.any(String), null]);
    expect(await member.tell('x')).toBe(0);
  });

  test('is not that of another database', async () => {
    const server = await serve();
    const prefix = uniquePrefix();
    const [one, two] = [join(await openOn(server.url, prefix)), join(await openOn(`${server.url}/1`, prefix))];
    const admin = new Redis(server.url);
    onTestFinished(() => admin.disconnect());
    await expect.poll(() => admin.pubsub('CHANNELS', `${prefix}*`)).toHaveLength(2);
    expect([await one.tell('x'), await two.tell('x')]).toEqual([0, 0]);
    expect([...one.heard, ...two.heard]).toEqual([]);
  });
});
