import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, vi } from 'vitest';
import { type RedisServer, type RedisServerOptions, startRedis, uniquePrefix } from '../support/redis-server.ts';
import { using } from '../support/redis-topologies.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { type Expected, type Failure, failure, refusals, waitMs } from './matrix.ts';

/** No call passes, nothing can be revoked, and everybody can see it. */
const shut: Expected = {
  calls: 'store_unavailable',
  revocation: '503',
  readiness: ['store'],
  metrics: {
    postern_store_up: (value) => value === 0,
    [refusals('store_unavailable')]: (value) => value !== undefined && value > 0,
  },
};
const growsOld = { postern_revocation_mirror_age_seconds: (value: number | undefined) => Number(value) > 0.5 };

type Sound = { readonly server: RedisServer; readonly harness: Harness; readonly prefix: string };

/** A sidecar that works, on a server of its own. */
async function sound(options: RedisServerOptions = {}, store: object = {}): Promise<Sound> {
  const server = await startRedis(options);
  const prefix = uniquePrefix();
  const harness = await startSidecar({
    store: { kind: 'redis', url: server.url, prefix, timeout: '300ms', ...store },
  });
  await vi.waitFor(async () => expect((await harness.call('/api/x')).status).toBe(200), waitMs);
  return { server, harness, prefix };
}

/** Something that was revoked, and a proof that was used, before anything broke. */
async function remember({ harness }: Sound) {
  const token = harness.mint();
  const proof = harness.proofFor('/api/x', token);
  expect((await harness.call('/api/x', { token, proof })).status).toBe(200);
  expect((await harness.admin('POST', '/v1/revocations', { agent: 'gone', reason: 'test' })).status).toBe(201);
  return {
    callAsGone: () => harness.call('/api/x', { token: harness.mint({ claims: { client_id: 'gone' } }) }),
    replay: () => harness.call('/api/x', { token, proof }),
  };
}

failure('Redis is down', { ...shut, metrics: { ...shut.metrics, ...growsOld } }, async (): Promise<Failure> => {
  const { server, harness, ...rest } = await sound({
    extraArguments: ['--appendonly', 'yes', '--appendfsync', 'always'],
  });
  const { callAsGone, replay } = await remember({ server, harness, ...rest });
  await server.kill();
  return {
    harness,
    mend: () => server.restart(),
    // It has its data on disk, so nothing was forgotten.
    afterwards: async () => {
      expect((await callAsGone()).reason).toBe('token_revoked');
      expect((await replay()).reason).toBe('proof_replayed');
    },
    close: () => server.stop(),
  };
});

failure('Redis stands still', { ...shut, metrics: { ...shut.metrics, ...growsOld } }, async (): Promise<Failure> => {
  const parts = await sound();
  const { server, harness } = parts;
  const { callAsGone, replay } = await remember(parts);
  server.pause();
  return {
    harness,
    mend: async () => server.resume(),
    afterwards: async () => {
      expect((await callAsGone()).reason).toBe('token_revoked');
      expect((await replay()).reason).toBe('proof_replayed');
    },
    close: () => server.stop(),
  };
});

failure('Redis wants another password', shut, async (): Promise<Failure> => {
  const passwordFile = join(mkdtempSync(join(tmpdir(), 'postern-failures-')), 'password');
  writeFileSync(passwordFile, 'old-s3cret');
  const { server, harness } = await sound({ password: 'old-s3cret' }, { passwordFile });
  await using(server, async (redis) => {
    await redis.config('SET', 'requirepass', 'new-s3cret');
    await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  });
  return {
    harness,
    mend: async () => writeFileSync(passwordFile, 'new-s3cret'),
    close: () => server.stop(),
  };
});

failure('Redis is a read-only replica', shut, async (): Promise<Failure> => {
  const primary = await startRedis();
  const { server, harness } = await sound();
  const admin = new Redis(server.url);
  await admin.replicaof('127.0.0.1', primary.port);
  return {
    harness,
    mend: () => admin.replicaof('NO', 'ONE'),
    close: async () => {
      admin.disconnect();
      await Promise.all([server.stop(), primary.stop()]);
    },
  };
});

failure('Redis is out of memory', shut, async (): Promise<Failure> => {
  const { server, harness } = await sound();
  await using(server, (redis) => redis.config('SET', 'maxmemory', '1'));
  return {
    harness,
    mend: () => using(server, (redis) => redis.config('SET', 'maxmemory', '0')),
    close: () => server.stop(),
  };
});

failure('Redis has too few replicas', shut, async (): Promise<Failure> => {
  const { server, harness } = await sound();
  await using(server, (redis) => redis.config('SET', 'min-replicas-to-write', '1'));
  return {
    harness,
    mend: () => using(server, (redis) => redis.config('SET', 'min-replicas-to-write', '0')),
    close: () => server.stop(),
  };
});

failure(
  'Redis restarts empty',
  {
    calls: null,
    revocation: 'takes effect',
    readiness: [],
    metrics: { postern_store_losses_total: (value) => value === 1 },
  },
  async (): Promise<Failure> => {
    const parts = await sound({}, { timeout: '2s' });
    const { server, harness, prefix } = parts;
    const { callAsGone, replay } = await remember(parts);
    await server.restart();
    // At once, and from then on: the mirror knows what Redis has forgotten.
    expect((await callAsGone()).reason).toBe('token_revoked');
    // What only Redis knew is gone, so nobody can say whether an old proof was used: it never passes again.
    expect((await replay()).reason).toBe('store_unavailable');
    await vi.waitFor(async () => expect((await harness.call('/api/x')).reason).toBeNull(), waitMs);
    expect((await replay()).reason).toBe('store_unavailable');
    return {
      harness,
      mend: async () => {},
      // A sidecar that comes later has it from Redis, which was given it back.
      afterwards: async () => {
        const other = await startSidecar({
          store: { kind: 'redis', url: server.url, prefix, timeout: '2s' },
          config: { issuer: { issuer: harness.issuer.issuer } },
        });
        const token = harness.mint({ claims: { client_id: 'gone' } });
        const answer = await other.call('/api/x', { token, proof: harness.proofFor('/api/x', token) });
        await other.close();
        expect(answer.reason).toBe('token_revoked');
      },
      close: () => server.stop(),
    };
  },
);
