import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createRedisStore, type RedisStoreOptions } from '../../src/store/redis.ts';
import { clusterSlot, readClusterNodes } from '../../src/store/redis-primary.ts';
import { keysUnder } from '../../src/store/scripts.ts';
import { type RedisServer, uniquePrefix } from '../support/redis-server.ts';
import { type Cluster, startCluster, using } from '../support/redis-topologies.ts';
import { driftStoreContract } from './drift.contract.ts';
import { faultCode, openAt, serve, usable, waitMs } from './redis-under-test.ts';
import { proof, request, revocation } from './samples.ts';
import { storeContract } from './store.contract.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster();
});
afterAll(() => cluster.stop());

const place = (): Partial<RedisStoreOptions> => ({ cluster: cluster.addresses });
const firstReplica = () => cluster.nodes[3] as RedisServer;

/** Has the replica of our primary, which takes a while to be one after the last time, take over from it. */
async function handOver(): Promise<RedisServer> {
  const replica = await vi.waitFor(async () => {
    const { replica } = await cluster.shard(firstReplica());
    if (replica === null) throw new Error('our primary has no replica');
    await using(replica, (redis) => redis.call('CLUSTER', 'FAILOVER'));
    return replica;
  }, waitMs);
  await vi.waitFor(async () => expect((await cluster.shard(replica)).primary.port).toBe(replica.port), waitMs);
  return replica;
}

describe('the Redis store on a cluster of six nodes', () => {
  storeContract(async ({ maxRevocations }) => {
    const prefix = uniquePrefix();
    const open = async (nodes: readonly string[]) => {
      const store = createRedisStore({ cluster: nodes, prefix, timeoutMs: 5000, maxRevocations });
      await store.ping();
      return store;
    };
    return {
      // One of them is told of a single node, which is not the one that has our keys.
      clients: [await open(cluster.addresses), await open(cluster.addresses.slice(1, 2))],
      eventually: (probe) => vi.waitFor(async () => expect(await probe()).toBe(true), waitMs),
    };
  });
});

describe('behaviour on a cluster of six nodes', () => {
  driftStoreContract(async () => {
    const prefix = uniquePrefix();
    const stores = [0, 1].map(() => openAt({ cluster: cluster.addresses, prefix, timeoutMs: 5000 }));
    await Promise.all(stores.map(usable));
    const [one, other] = stores.map(({ drift }) => drift);
    if (one === undefined || other === undefined) throw new Error('two stores were opened');
    return [one, other];
  });
});

describe('the node of our keys', () => {
  test('is the same for every key and every prefix', async () => {
    const { revoked, ...others } = keysUnder(uniquePrefix());
    const keys = [...Object.values(revoked), ...Object.values(others)].filter((key) => typeof key === 'string');
    expect(keys.length).toBeGreaterThan(4);
    await using(cluster.nodes[0], async (redis) => {
      for (const key of keys) expect(await redis.cluster('KEYSLOT', key)).toBe(clusterSlot);
    });
  });

  test('is found in what a node says, whatever the form of the addresses', () => {
    const text = [
      'a1 10.0.0.1:6379@16379,redis-0.example,shard-id=x master - 0 1 7 connected 0-1164 1166-5460',
      'a2 fe80::1:6380@16380,,shard-id=x master - 0 1 8 connected 1165 [1165->-a1]',
      'a3 :6381@16381 myself,slave a1 0 0 9 connected',
      'a4 10.0.0.4:0@0 master,noaddr - 0 0 10 disconnected 1165',
      'a5 10.0.0.5:6379@16379 master,fail - 0 0 11 disconnected 1165',
      '',
    ].join('\n');
    expect(readClusterNodes(text, '10.0.0.3')).toEqual({
      primary: { at: { host: 'fe80::1', port: 6380 }, epoch: 8 },
      others: [
        { host: '10.0.0.1', port: 6379 },
        { host: 'fe80::1', port: 6380 },
        { host: '10.0.0.3', port: 6381 },
      ],
    });
    expect(readClusterNodes(text, '10.0.0.3', true).others[0]).toEqual({ host: 'redis-0.example', port: 6379 });
    expect(readClusterNodes('nothing of the kind', 'h')).toEqual({ primary: null, others: [] });
  });

  test('is a fault by name where it is not addressed as one, and the other way round', async () => {
    const node = openAt({ url: `redis://${cluster.addresses[0]}` });
    await vi.waitFor(async () => expect(await faultCode(node.check(request()))).toBe('redis_cluster'), waitMs);
    const single = openAt({ cluster: [`127.0.0.1:${(await serve()).port}`] });
    await vi.waitFor(async () => expect(await faultCode(single.check(request()))).toBe('redis_noprimary'), waitMs);
  });

  test('is followed when it hands over to its replica', async () => {
    const store = openAt(place());
    await usable(store);
    await store.revoke(revocation({ handle: 'h' }));
    await handOver();
    await vi.waitFor(
      async () => expect(await store.check(request({ handles: ['h'] }))).toMatchObject({ revokedIndex: 0 }),
      waitMs,
    );
  });

  test('carries channels, on to the node that takes over', async () => {
    const prefix = uniquePrefix();
    const heard: string[] = [];
    const stores = [0, 1].map(() => openAt({ cluster: cluster.addresses, prefix, timeoutMs: 2000 }));
    await Promise.all(stores.map(usable));
    const channels = stores.map(({ drift }) =>
      drift.join('c', { onTold: (text) => heard.push(text), onFault: () => {} }),
    );
    const tellEach = async () => {
      for (const channel of channels) expect(await channel.tell('?')).toBe(1);
    };
    await vi.waitFor(tellEach, waitMs);
    const replica = await handOver();
    // Whoever writes finds out, and the channel goes where that goes.
    await vi.waitFor(async () => {
      for (const store of stores) await store.check(request());
      const clients = await using(replica, (redis) => redis.call('CLIENT', 'LIST', 'TYPE', 'pubsub'));
      expect(String(clients).trim().split('\n')).toHaveLength(2);
    }, waitMs);
    await vi.waitFor(tellEach, waitMs);
    await channels[0]?.tell('found');
    await vi.waitFor(() => expect(heard.filter((text) => text === 'found')).toHaveLength(1), waitMs);
  });

  test('is replaced by its replica when it dies, which then knows every revocation and proof', async () => {
    const store = openAt(place());
    await usable(store);
    await store.revoke(revocation({ handle: 'h' }));
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: false });
    const { primary, replica } = await vi.waitFor(async () => {
      const shard = await cluster.shard(cluster.nodes[1] as RedisServer);
      expect(shard.replica).not.toBeNull();
      return shard;
    }, waitMs);
    await using(primary, async (redis) => expect(await redis.wait(1, 5000)).toBe(1));
    await primary.kill();
    await vi.waitFor(async () => expect(await faultCode(store.check(request()))).toMatch(/^redis_/), waitMs);
    await vi.waitFor(
      async () => expect((await cluster.shard(cluster.nodes[1] as RedisServer)).primary.port).toBe(replica?.port),
      waitMs,
    );
    await usable(store);
    expect(await store.check(request({ handles: ['h'] }))).toMatchObject({ revokedIndex: 0 });
    expect(await store.check(request({ singleUse: proof('p') }))).toMatchObject({ isReplay: true });
    expect(await store.check(request({ singleUse: proof('q') }))).toMatchObject({ isReplay: false });
  });
});
