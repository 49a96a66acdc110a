/**
 * State of behaviour for all sidecars of one Redis.
 *
 *   {v1}:drift:<name>             hash, mostly expires: v, the version; b, the bytes
 *   {v1}:drift:<database>:<name>  channel, since those are shared by all databases of a server
 */

import { randomUUID } from 'node:crypto';
import type { ClientContext, Result } from 'ioredis';
import type { DriftStore } from './drift-port.ts';
import { joinRedisChannel } from './redis-channel.ts';
import type { RedisConnection } from './redis-connection.ts';

declare module 'ioredis' {
  interface RedisCommander<Context extends ClientContext> {
    posternSwap(
      key: string,
      expected: string,
      version: string,
      bytes: Buffer,
      lifetimeMs: number,
    ): Result<unknown, Context>;
  }
}

/** ARGV: the version that must be there, empty for none; the new one; the bytes; milliseconds to live, 0 for ever. */
const swapScript = `
if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'b', ARGV[3])
if ARGV[4] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1
`;

export function createRedisDrift(connection: RedisConnection, prefix: string): DriftStore {
  const { redis } = connection;
  redis.defineCommand('posternSwap', { lua: swapScript, numberOfKeys: 1 });
  const keyOf = (name: string) => `${prefix}{v1}:drift:${name}`;

  async function asked<T>(command: () => Promise<T>): Promise<T> {
    if (!connection.isUp()) throw connection.fault();
    try {
      return await connection.within(command());
    } catch (error) {
      throw connection.translate(error);
    }
  }

  return {
    async read(name) {
      const [version, bytes] = await asked(() => redis.hmgetBuffer(keyOf(name), 'v', 'b'));
      return version == null || bytes == null ? null : { version: version.toString('latin1'), bytes };
    },
    async write(name, expected, bytes, lifetimeMs) {
      const version = randomUUID();
      const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const isWritten = await asked(() =>
        redis.posternSwap(keyOf(name), expected ?? '', version, view, lifetimeMs ?? 0),
      );
      return isWritten === 1 ? version : null;
    },
    async has(names) {
      if (names.length === 0) return [];
      const replies = await asked(() => redis.pipeline(names.map((name) => ['exists', keyOf(name)])).exec());
      return (replies ?? []).map(([error, reply]) => {
        if (error !== null) throw connection.translate(error);
        return reply === 1;
      });
    },
    join: (name, listener) =>
      joinRedisChannel(connection, `${prefix}{v1}:drift:${redis.options.db ?? 0}:${name}`, listener),
  };
}
