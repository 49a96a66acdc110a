import { Redis } from 'ioredis';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { StoreFault } from '../../src/errors.ts';
import type { AgentBounds } from '../../src/store/agent-port.ts';
import { createRedisAgents } from '../../src/store/redis-agents.ts';
import { createRedisConnection } from '../../src/store/redis-connection.ts';
import { uniquePrefix } from '../support/redis-server.ts';
import { agentStoreContract, nowMs, sighting, smallBounds } from './agents.contract.ts';

const url = inject('redisUrl');

async function connected() {
  const connection = createRedisConnection({ url, timeoutMs: 5000 });
  onTestFinished(() => connection.close());
  await connection.whenUp();
  return connection;
}

async function open(bounds: AgentBounds, prefix = uniquePrefix()) {
  const [one, other] = await Promise.all([connected(), connected()]);
  return [createRedisAgents(one, prefix, bounds), createRedisAgents(other, prefix, bounds)] as const;
}

agentStoreContract((bounds) => open(bounds));

describe('agents in Redis', () => {
  test('have keys that all expire but the index, and leave none when they make room for others', async () => {
    const prefix = uniquePrefix();
    const [store] = await open({ ...smallBounds, agents: 1 }, prefix);
    const tokens = [{ issuedAtMs: nowMs, expiresAtMs: nowMs + 1000, marks: ['m'] }];
    const redis = new Redis(url);
    onTestFinished(() => redis.disconnect());
    await store.note([sighting({ id: 'first', chains: ['[]'], tokens })], nowMs);
    const first = await redis.keys(`${prefix}*`);
    expect(first).toHaveLength(7);
    await store.note([sighting({ id: 'second', chains: ['[]'], tokens, lastMs: nowMs + 1 })], nowMs);
    const second = await redis.keys(`${prefix}*`);
    expect(second).toHaveLength(7);
    const shared = second.filter((key) => first.includes(key));
    expect(shared).toEqual([`${prefix}{v1}:agents`]);
    for (const key of second.filter((one) => !shared.includes(one))) {
      expect(key.startsWith(`${prefix}{v1}:agent:`)).toBe(true);
      expect(await redis.pttl(key)).toBeGreaterThan(29 * 86_400_000);
    }
  });

  test('are a fault of the store where Redis is not there, or holds something else', async () => {
    const connection = await connected();
    const prefix = uniquePrefix();
    const redis = new Redis(url);
    onTestFinished(() => redis.disconnect());
    await redis.set(`${prefix}{v1}:agents`, 'x');
    const store = createRedisAgents(connection, prefix);
    await expect(store.note([sighting()], nowMs)).rejects.toBeInstanceOf(StoreFault);
    await connection.close();
    await expect(store.countSince(0)).rejects.toBeInstanceOf(StoreFault);
    await expect(store.find('agent-7', nowMs)).rejects.toBeInstanceOf(StoreFault);
  });
});
