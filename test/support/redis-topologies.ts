/**
 * Several real Redis servers that belong together: a primary with a replica under Sentinels, and a cluster, which needs
 * Redis 7 or later.
 */

import { setTimeout } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort, type RedisServer, startRedis } from './redis-server.ts';

export type Sentinels = {
  readonly name: string;
  /** host:port of each Sentinel. */
  readonly addresses: readonly string[];
  readonly sentinels: readonly RedisServer[];
  /** The first was the primary at the start. */
  readonly servers: readonly RedisServer[];
  /** Which of the servers the Sentinels call the primary now. */
  primary(): Promise<RedisServer>;
  stop(): Promise<void>;
};

export type Cluster = {
  readonly addresses: readonly string[];
  /** Three primaries first, and then a replica of each in the same order. */
  readonly nodes: readonly RedisServer[];
  /** Which nodes are, in the view of `from`, primary and replica for our slot. */
  shard(from: RedisServer): Promise<{ readonly primary: RedisServer; readonly replica: RedisServer | null }>;
  stop(): Promise<void>;
};

const settleDeadlineMs = 20_000;

/** One primary, one replica of it and three Sentinels, of which two must agree. */
export async function startSentinels(extraArguments: readonly string[] = []): Promise<Sentinels> {
  const name = 'mymaster';
  const first = await startRedis({ extraArguments });
  const second = await startRedis({ replicaOfPort: first.port, extraArguments });
  const servers = [first, second];
  const lines = [
    `sentinel monitor ${name} 127.0.0.1 ${first.port} 2`,
    `sentinel down-after-milliseconds ${name} 500`,
    `sentinel failover-timeout ${name} 1000`,
  ];
  const sentinels = await Promise.all([0, 1, 2].map(() => startRedis({ sentinel: lines })));
  await settled(sentinels, async (redis) => {
    const fields = pairs(await redis.call('SENTINEL', 'MASTER', name));
    return fields.get('num-other-sentinels') === '2' && fields.get('num-slaves') === '1';
  });
  await settled([second], async (redis) => (await redis.info('replication')).includes('master_link_status:up'));
  return {
    name,
    addresses: sentinels.map(addressOf),
    sentinels,
    servers,
    primary: () =>
      using(sentinels[0], async (redis) => {
        const port = Number(pairs(await redis.call('SENTINEL', 'MASTER', name)).get('port'));
        return one(servers.find((server) => server.port === port));
      }),
    stop: () => stopAll([...sentinels, ...servers]),
  };
}

/** Three primaries and a replica of each. */
export async function startCluster(extraArguments: readonly string[] = []): Promise<Cluster> {
  const busPorts = await Promise.all(Array.from({ length: 6 }, () => freePort()));
  const nodes = await Promise.all(busPorts.map((busPort) => startNode(busPort, extraArguments)));
  const ids = await Promise.all(nodes.map((node) => using(node, async (redis) => String(await redis.cluster('MYID')))));
  for (const [index, node] of nodes.entries()) {
    await using(node, async (redis) => {
      await redis.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
      if (index < 3) await redis.call('CLUSTER', 'ADDSLOTSRANGE', ...slotsOf(index));
      // Each meets every other, so that nobody waits for gossip.
      for (const [before, other] of nodes.slice(0, index).entries()) {
        await redis.call('CLUSTER', 'MEET', '127.0.0.1', other.port, one(busPorts[before]));
      }
    });
  }
  await settled(nodes, async (redis) => {
    const known = String(await redis.cluster('NODES'));
    return ids.every((id) => known.includes(id)) && !known.includes('handshake');
  });
  const replicas = nodes.slice(3);
  await Promise.all(
    replicas.map((node, index) => using(node, (redis) => redis.call('CLUSTER', 'REPLICATE', one(ids[index])))),
  );
  await settled(replicas, async (redis) => (await redis.info('replication')).includes('master_link_status:up'));
  await settled(nodes, async (redis) => {
    const isUp = String(await redis.cluster('INFO')).includes('cluster_state:ok');
    return isUp && String(await redis.cluster('NODES')).split(/[ ,]slave /).length === 4;
  });
  return {
    addresses: nodes.map(addressOf),
    nodes,
    shard: (from) =>
      using(from, async (redis) => {
        const lines = String(await redis.cluster('NODES')).split('\n');
        const owner = one(lines.find((line) => line.includes('master') && ownsOurSlot(line)));
        const [id = ''] = owner.split(' ');
        const follower = lines.find((line) => line.includes(`slave ${id}`));
        return { primary: nodeOf(nodes, owner), replica: follower === undefined ? null : nodeOf(nodes, follower) };
      }),
    stop: () => stopAll(nodes),
  };
}

function startNode(busPort: number, extraArguments: readonly string[]): Promise<RedisServer> {
  const cluster = ['--cluster-enabled', 'yes', '--cluster-port', String(busPort), '--cluster-node-timeout', '1000'];
  return startRedis({ extraArguments: [...cluster, ...extraArguments] });
}

const slotsOf = (index: number): readonly [number, number] =>
  [[0, 5460] as const, [5461, 10_922] as const, [10_923, 16_383] as const][index] ?? [0, 0];

/** Slot 1165 holds every key with the hash tag {v1}; as above, slots are never split further. */
const ownsOurSlot = (line: string) => line.includes(' 0-5460');

function nodeOf(nodes: readonly RedisServer[], line: string): RedisServer {
  return one(nodes.find(({ port }) => line.includes(`127.0.0.1:${port}@`)));
}

const addressOf = ({ port }: RedisServer) => `127.0.0.1:${port}`;

async function stopAll(servers: readonly RedisServer[]): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()));
}

/** Waits until every one of them is as `isSettled` says. */
async function settled(servers: readonly RedisServer[], isSettled: (redis: Redis) => Promise<boolean>): Promise<void> {
  await Promise.all(
    servers.map((server) =>
      using(server, async (redis) => {
        const deadlineMs = performance.now() + settleDeadlineMs;
        while (!(await isSettled(redis))) {
          if (performance.now() > deadlineMs) throw new Error(`the server at ${addressOf(server)} does not settle`);
          await setTimeout(20);
        }
      }),
    ),
  );
}

/** Runs with a client of its own. */
export async function using<T>(server: RedisServer | undefined, act: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(one(server).url);
  try {
    return await act(redis);
  } finally {
    redis.disconnect();
  }
}

/** A reply of names and values in turn. */
function pairs(reply: unknown): ReadonlyMap<string, string> {
  const flat = Array.isArray(reply) ? reply.map(String) : [];
  return new Map(flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1] ?? ''] as const] : [])));
}

function one<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('there is none');
  return value;
}
