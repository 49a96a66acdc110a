/** The shared store: every replica of the sidecar sees the same revocations, used proofs and counts. */

import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { CheckRequest, RevocationEntry, Store } from './port.ts';
import { createBatches } from './redis-batches.ts';
import { createRedisConnection, type RedisConnection, type RedisConnectionOptions } from './redis-connection.ts';
import { newestFirst, revocationSetFull } from './revocation-set.ts';
import { type Keys, keysUnder, liftScript, revokeScript } from './scripts.ts';
import { vetCheckRequest } from './vet.ts';

export type RedisStoreOptions = RedisConnectionOptions & {
  readonly prefix: string;
  /** Milliseconds since the epoch. Decides when old revocations are cleaned up and whether a lifted one was in force. */
  readonly clock?: () => number;
  readonly maxRevocations?: number;
};

const entrySchema = z.object({
  id: z.string(),
  handle: z.string(),
  kind: z.string(),
  value: z.string(),
  issuer: z.string().nullable(),
  reason: z.string(),
  author: z.string(),
  createdAtMs: z.number(),
  expiresAtMs: z.number().nullable(),
});

/** Connects at once and in the background; until then, and whenever Redis is away, every method rejects. */
export function createRedisStore(options: RedisStoreOptions): Store {
  const { clock = Date.now, maxRevocations = 100_000 } = options;
  const connection = createRedisConnection(options);
  const { redis } = connection;
  const keys = keysUnder(options.prefix);
  redis.defineCommand('posternRevoke', { lua: revokeScript });
  redis.defineCommand('posternLift', { lua: liftScript });
  const batches = createBatches(connection, keys, options.timeoutMs);

  return {
    check(request: CheckRequest) {
      try {
        vetCheckRequest(request);
        return batches.check(request);
      } catch (error) {
        return Promise.reject(error);
      }
    },

    async revoke(entry: RevocationEntry): Promise<void> {
      const { id, handle, expiresAtMs } = entry;
      const forgetAt = expiresAtMs === null ? '+inf' : expiresAtMs;
      const scriptKeys = [keys.revocations, keys.entries, keys.ids];
      const json = JSON.stringify(entrySchema.parse(entry));
      const added = await asked(connection, () =>
        redis.posternRevoke([3, ...scriptKeys, clock(), handle, id, json, forgetAt, maxRevocations]),
      );
      if (added !== 1) throw revocationSetFull(maxRevocations);
    },

    async lift(id: string): Promise<RevocationEntry | null> {
      const scriptKeys = [keys.revocations, keys.entries, keys.ids];
      const json = await asked(connection, () => redis.posternLift([3, ...scriptKeys, id]));
      if (json === null) return null;
      const entry = parseEntry(json, connection);
      return isLive(entry, clock()) ? entry : null;
    },

    async revocations(nowMs: number): Promise<readonly RevocationEntry[]> {
      const entries = await readEntries(redis, keys, connection);
      return entries.filter((entry) => isLive(entry, nowMs)).sort(newestFirst);
    },

    async ping(): Promise<void> {
      await connection.whenUp();
      await asked(connection, () => redis.ping());
    },

    close(): Promise<void> {
      return connection.close();
    },
  };
}

function isLive(entry: RevocationEntry, nowMs: number): boolean {
  return entry.expiresAtMs === null || entry.expiresAtMs > nowMs;
}

/** Read in pieces, so that a long list never holds up the requests of others. */
async function readEntries(redis: Redis, keys: Keys, connection: RedisConnection): Promise<RevocationEntry[]> {
  // A scan may show an entry twice while the hash grows.
  const entries = new Map<string, RevocationEntry>();
  let cursor = '0';
  do {
    const from = cursor;
    const [next, flat] = await asked(connection, () => redis.hscan(keys.entries, from, 'COUNT', 500));
    for (let i = 1; i < flat.length; i += 2) {
      const entry = parseEntry(flat[i], connection);
      entries.set(entry.handle, entry);
    }
    cursor = next;
  } while (cursor !== '0');
  return [...entries.values()];
}

function parseEntry(json: unknown, connection: RedisConnection): RevocationEntry {
  try {
    return entrySchema.parse(JSON.parse(String(json)));
  } catch {
    throw connection.faultOf('ANSWER');
  }
}

/** One command outside the request path, under the same timeout and with the same faults. */
async function asked<T>(connection: RedisConnection, command: () => Promise<T>): Promise<T> {
  if (!connection.isUp()) throw connection.fault();
  try {
    return await connection.within(command());
  } catch (error) {
    throw connection.translate(error);
  }
}
