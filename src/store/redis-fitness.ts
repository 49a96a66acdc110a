/** Whether a server is fit for use, and what about it may cost a revocation or let a proof be used twice. */

import type { Redis } from 'ioredis';
import { redisCode } from './redis-fault.ts';
import type { RedisPlace } from './redis-options.ts';

/** What INFO says, by field; null where this user may not run it. */
export type ServerInfo = ReadonlyMap<string, string> | null;

const clockDifferenceMaxMs = 5000;

/** Rejects with the error of the server, except where it only keeps INFO from this user. */
export async function readInfo(redis: Redis): Promise<ServerInfo> {
  try {
    const text = await redis.info();
    const pairs = text.split('\r\n').map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, Math.max(colon, 0)), line.slice(colon + 1)] as const;
    });
    return new Map(pairs);
  } catch (error) {
    if (redisCode(error) === 'NOPERM') return null;
    throw error;
  }
}

/** Null where the server is fit for use, else the code of what is wrong with it; see redis-fault.ts. */
export async function faultIn(redis: Redis, info: ServerInfo, kind: RedisPlace['kind']): Promise<string | null> {
  if (info !== null) {
    if (info.get('redis_mode') === 'sentinel') return 'SENTINEL';
    if (info.get('loading') === '1') return 'LOADING';
    if (!isVersionAtLeast(info.get('redis_version') ?? '', 6, 2)) return 'VERSION';
    const isNode = info.get('cluster_enabled') === '1';
    if (isNode && kind !== 'cluster') return 'CLUSTER';
    if (!isNode && kind === 'cluster') return 'NOCLUSTER';
    if (info.get('role') === 'slave') return 'READONLY';
  }
  // A node that is cut off from the others still thinks that our slot is its own, and answers nothing about it.
  return kind === 'cluster' && (await isClusterDown(redis)) ? 'CLUSTERDOWN' : null;
}

async function isClusterDown(redis: Redis): Promise<boolean> {
  const state = await unlessDenied(redis.call('CLUSTER', 'INFO'));
  return state !== null && !String(state).includes('cluster_state:ok');
}

/** What an operator should know of a server that is used nevertheless. */
export type Warning = {
  readonly check: 'info' | 'eviction' | 'persistence' | 'replicas' | 'clock';
  readonly text: string;
};

/** Says what is new about a server, so that coming back to the same one is quiet. */
export function createWarn(kind: RedisPlace['kind'], clock: () => number, say: (warning: Warning) => void) {
  let said: ReadonlySet<string> = new Set();
  return async (redis: Redis, info: ServerInfo): Promise<void> => {
    const warnings = await warningsAbout(redis, info, kind, clock);
    for (const warning of warnings) if (!said.has(warning.text)) say(warning);
    said = new Set(warnings.map(({ text }) => text));
  };
}

async function warningsAbout(
  redis: Redis,
  info: ServerInfo,
  kind: RedisPlace['kind'],
  clock: () => number,
): Promise<readonly Warning[]> {
  const about = (check: Warning['check'], text: string | null): readonly Warning[] =>
    text === null ? [] : [{ check, text }];
  const clockWarnings = about('clock', await clockWarning(redis, clock));
  if (info === null) {
    const text = 'so role, version, eviction, persistence and replication are unchecked';
    return [...about('info', `the Redis user may not run INFO, ${text}`), ...clockWarnings];
  }
  return [
    ...about('eviction', evictionWarning(info.get('maxmemory_policy'))),
    ...about('persistence', info.get('aof_enabled') === '1' ? null : await snapshotWarning(redis)),
    ...about('replicas', replicaWarning(info, kind)),
    ...clockWarnings,
  ];
}

function evictionWarning(policy: string | undefined): string | null {
  if (policy === undefined) return 'Redis does not tell its maxmemory-policy, so whether it evicts keys is unchecked';
  if (policy === 'noeviction') return null;
  const [what, effect] = policy.startsWith('volatile-')
    ? ['used proofs and counts', ', so that a proof could be used twice']
    : ['any key', ', and with them revocations and used proofs'];
  return `Redis may evict ${what} when memory is short (${policy})${effect}; set maxmemory-policy noeviction`;
}

/** Without an append-only file. */
async function snapshotWarning(redis: Redis): Promise<string> {
  const reply = await unlessDenied(redis.config('GET', 'save'));
  const save = Array.isArray(reply) ? reply[1] : undefined;
  if (save === '') return 'Redis keeps nothing on disk, so a restart forgets every revocation; set appendonly yes';
  return save === undefined
    ? 'Redis writes no append-only file, and whether it saves snapshots is unchecked; set appendonly yes'
    : 'Redis only saves snapshots, so a crash forgets the latest revocations and proofs; set appendonly yes';
}

function replicaWarning(info: ReadonlyMap<string, string>, kind: RedisPlace['kind']): string | null {
  const isAlone = Number(info.get('connected_slaves') ?? 0) === 0;
  if (isAlone) return kind === 'server' ? null : 'Redis has no replica, so there is nothing to fail over to';
  // INFO has this field only where min-replicas-to-write is set.
  if (info.has('min_slaves_good_slaves')) return null;
  return 'a failover can forget writes that no replica has yet, revocations too; set min-replicas-to-write 1';
}

async function clockWarning(redis: Redis, clock: () => number): Promise<string | null> {
  const reply = await unlessDenied(redis.time());
  const seconds = Array.isArray(reply) ? Number(reply[0]) : Number.NaN;
  const isFar = Math.abs(seconds * 1000 - clock()) > clockDifferenceMaxMs;
  return isFar ? 'the clocks of Redis and Postern are more than five seconds apart; one of them is wrong' : null;
}

/** Null where this user, or a managed server, does not have the command. */
async function unlessDenied<T>(reply: Promise<T>): Promise<T | null> {
  try {
    return await reply;
  } catch (error) {
    if (['NOPERM', 'ERR'].includes(redisCode(error))) return null;
    throw error;
  }
}

function isVersionAtLeast(version: string, major: number, minor: number): boolean {
  const [first = 0, second = 0] = version.split('.').map(Number);
  return first > major || (first === major && second >= minor);
}
