import { expect, vi } from 'vitest';
import { type RedisServer, uniquePrefix } from '../support/redis-server.ts';
import { startCluster, startSentinels, using } from '../support/redis-topologies.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { type Expected, type Failure, failure, refusals, waitMs } from './matrix.ts';

const during: Expected = {
  calls: 'store_unavailable',
  revocation: '503',
  readiness: ['store'],
  metrics: {
    postern_store_up: (value) => value === 0,
    [refusals('store_unavailable')]: (value) => value !== undefined && value > 0,
    postern_revocation_mirror_age_seconds: (value) => Number(value) > 0.5,
  },
};

/** A working sidecar that has revoked somebody and let one proof pass, all of which is on the replica. */
async function sound(store: object, primary: () => Promise<RedisServer>) {
  const harness = await startSidecar({
    store: { kind: 'redis', prefix: uniquePrefix(), timeout: '500ms', ...store },
  });
  await vi.waitFor(async () => expect((await harness.call('/api/x')).status).toBe(200), waitMs);
  const token = harness.mint();
  const proof = harness.proofFor('/api/x', token);
  expect((await harness.call('/api/x', { token, proof })).status).toBe(200);
  expect((await harness.admin('POST', '/v1/revocations', { agent: 'gone', reason: 'test' })).status).toBe(201);
  await using(await primary(), async (redis) => expect(await redis.wait(1, 5000)).toBe(1));
  return { harness, afterwards: () => nothingIsForgotten(harness, token, proof) };
}

async function nothingIsForgotten(harness: Harness, token: string, proof: string): Promise<void> {
  const gone = harness.mint({ claims: { client_id: 'gone' } });
  expect((await harness.call('/api/x', { token: gone })).reason).toBe('token_revoked');
  expect((await harness.call('/api/x', { token, proof })).reason).toBe('proof_replayed');
  // The new primary was not taken for one that has lost its data.
  expect((await harness.admin('GET', '/metrics')).text).toMatch(/^postern_store_losses_total 0$/m);
}

failure('Redis fails over, under Sentinels', during, async (): Promise<Failure> => {
  const trio = await startSentinels();
  const store = { sentinels: trio.addresses, sentinelName: trio.name };
  const { harness, afterwards } = await sound(store, trio.primary);
  // One Sentinel alone cannot agree with another: the failover waits until the test has looked around.
  for (const sentinel of trio.sentinels.slice(1)) sentinel.pause();
  await trio.servers[0]?.kill();
  return {
    harness,
    mend: async () => {
      for (const sentinel of trio.sentinels.slice(1)) sentinel.resume();
    },
    afterwards,
    close: () => trio.stop(),
  };
});

failure('Redis fails over, in a cluster', during, async (): Promise<Failure> => {
  const cluster = await startCluster();
  const [first] = cluster.nodes;
  if (first === undefined) throw new Error('the cluster has no nodes');
  const { harness, afterwards } = await sound(
    { cluster: cluster.addresses },
    async () => (await cluster.shard(first)).primary,
  );
  const { primary, replica } = await cluster.shard(first);
  replica?.pause();
  await primary.kill();
  return { harness, mend: async () => replica?.resume(), afterwards, close: () => cluster.stop() };
});

failure(
  'Redis fails over and has lost the last writes',
  {
    calls: null,
    revocation: 'takes effect',
    readiness: [],
    metrics: { postern_store_losses_total: (value) => value === 1 },
  },
  async (): Promise<Failure> => {
    const trio = await startSentinels();
    const store = { sentinels: trio.addresses, sentinelName: trio.name };
    const { harness } = await sound(store, trio.primary);
    const [primary, replica] = trio.servers;
    // What comes now the replica never hears of.
    replica?.pause();
    await using(primary, (redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'replica'));
    expect((await harness.admin('POST', '/v1/revocations', { agent: 'late', reason: 'test' })).status).toBe(201);
    await primary?.kill();
    replica?.resume();
    const callAsLate = () => harness.call('/api/x', { token: harness.mint({ claims: { client_id: 'late' } }) });
    await vi.waitFor(async () => {
      // Not for a moment does the agent pass.
      expect((await callAsLate()).reason).toBe('token_revoked');
      expect((await harness.call('/api/x')).status).toBe(200);
    }, waitMs);
    return {
      harness,
      mend: async () => {},
      afterwards: async () => {
        const promoted = await trio.primary();
        expect(promoted.port).toBe(replica?.port);
        const entries = async () =>
          using(promoted, async (redis) => {
            const [key = ''] = await redis.keys('*{v1}:revoked:entries');
            return (await redis.hvals(key)).join();
          });
        await vi.waitFor(async () => expect(await entries()).toContain('"late"'), waitMs);
      },
      close: () => trio.stop(),
    };
  },
);
