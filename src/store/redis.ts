/** The shared store: every replica of the sidecar sees the same revocations, used proofs and counts. */

import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { AgentStore } from './agent-port.ts';
import type { DriftStore } from './drift-port.ts';
import type { CheckRequest, FeedAnswer, FeedPosition, RevocationEntry, RevocationPage, Store } from './port.ts';
import { createRedisAgents } from './redis-agents.ts';
import { createBatches } from './redis-batches.ts';
import { createRedisConnection, type RedisConnection, type RedisConnectionOptions } from './redis-connection.ts';
import { createRedisDrift } from './redis-drift.ts';
import { changesScript, liftScript, revokeScript } from './revocation-scripts.ts';
import { endOfTime, isLive, orderOf, revocationSetFull } from './revocation-set.ts';
import { keysUnder } from './scripts.ts';
import { vetCheckRequest, vetRevocation } from './vet.ts';

export type RedisStoreOptions = RedisConnectionOptions & {
  readonly prefix: string;
  /** Milliseconds since the epoch. Decides when old revocations are cleaned up and whether a lifted one was in force. */
  readonly clock?: () => number;
  readonly maxRevocations?: number;
};

/** Agents that have called, and how they behave, are told over the same connection. */
export type RedisStore = Store & { readonly agents: AgentStore; readonly drift: DriftStore };

const entrySchema = z.object({
  id: z.string(),
  handle: z.string(),
  kind: z.string(),
  value: z.string(),
  issuer: z.string().nullable(),
  issuedBeforeMs: z.number().nullable(),
  reason: z.string(),
  author: z.string(),
  createdAtMs: z.number(),
  expiresAtMs: z.number().nullable(),
});

/** Entries copied at once. */
const copyCount = 500;

/** Connects at once and in the background; until then, and whenever Redis is away, every method rejects. */
export function createRedisStore(options: RedisStoreOptions): RedisStore {
  const { clock = Date.now, maxRevocations = 1_000_000 } = options;
  const connection = createRedisConnection(options);
  const { redis } = connection;
  const keys = keysUnder(options.prefix);
  const { revoked } = keys;
  redis.defineCommand('posternRevoke', { lua: revokeScript });
  redis.defineCommand('posternLift', { lua: liftScript });
  redis.defineCommand('posternChanges', { lua: changesScript });
  /** Of the set that the mirror is up to date with; empty until it has been once. */
  let followedGeneration = '';
  const batches = createBatches({
    connection,
    keys,
    timeoutMs: options.timeoutMs,
    generation: () => followedGeneration,
  });

  /** Ids of those that were not taken. */
  async function put(
    entries: readonly RevocationEntry[],
    mode: 'revoke' | 'restore',
    lifted: readonly string[],
  ): Promise<readonly string[]> {
    const flat: (string | number)[] = [...revoked.all, clock(), maxRevocations, randomUUID()];
    flat.push(mode === 'restore' ? 1 : 0, lifted.length, ...lifted);
    for (const entry of entries) {
      vetRevocation(entry);
      const { id, handle, issuedBeforeMs, expiresAtMs } = entry;
      flat.push(id, handle, issuedBeforeMs ?? endOfTime, expiresAtMs ?? endOfTime, orderOf(entry), encode(entry));
    }
    return strings(await asked(connection, () => redis.posternRevoke(flat)), connection);
  }

  async function entriesOf(ids: readonly string[]): Promise<readonly RevocationEntry[]> {
    if (ids.length === 0) return [];
    const found = await asked(connection, () => redis.hmget(revoked.entries, ...ids));
    return found.flatMap((json) => (json === null ? [] : parseEntry(json, connection)));
  }

  return {
    agents: createRedisAgents(connection, options.prefix),
    drift: createRedisDrift(connection, options.prefix),

    check(request: CheckRequest) {
      try {
        vetCheckRequest(request);
        return batches.check(request);
      } catch (error) {
        return Promise.reject(error);
      }
    },

    async revoke(entry) {
      const refused = await put([entry], 'revoke', []);
      if (refused.length > 0) throw revocationSetFull(maxRevocations);
    },

    async lift(id) {
      const json = await asked(connection, () => redis.posternLift([...revoked.all, id, clock(), randomUUID()]));
      if (json === null) return null;
      const entry = parseEntry(json, connection);
      return isLive(entry, clock()) ? entry : null;
    },

    async revocations({ nowMs, limit, cursor }): Promise<RevocationPage> {
      const before = cursor === null ? '+' : `(${cursor}`;
      const places = await asked(connection, () => redis.zrevrangebylex(revoked.order, before, '-', 'LIMIT', 0, limit));
      const entries = await entriesOf(places.map((place) => place.slice(place.indexOf(':') + 1)));
      const next = places.length < limit ? null : (places.at(-1) ?? null);
      return { entries: entries.filter((entry) => isLive(entry, nowMs)), next };
    },

    async changes(since): Promise<FeedAnswer> {
      const { generation, sequence, head } = since ?? { generation: '', sequence: 0, head: '' };
      const flat = [...revoked.all, randomUUID(), generation, sequence, head, clock()];
      const answer = parseChanges(await asked(connection, () => redis.posternChanges(flat)), connection);
      if (answer.outcome === 'followed') followedGeneration = answer.position.generation;
      return answer;
    },

    async copy(cursor): Promise<RevocationPage> {
      const from = cursor ?? '0';
      const [next, flat] = await asked(connection, () => redis.hscan(revoked.entries, from, 'COUNT', copyCount));
      const entries: RevocationEntry[] = [];
      for (let i = 1; i < flat.length; i += 2) entries.push(parseEntry(flat[i], connection));
      return { entries, next: next === '0' ? null : next };
    },

    restore: (entries, lifted) => put(entries, 'restore', lifted),

    async ping(): Promise<void> {
      await connection.whenUp();
      // A server that is out of memory, cannot save or lost its replicas answers a ping, and refuses this.
      await asked(connection, () => redis.set(keys.probe, '', 'PX', 1, 'XX'));
    },

    close(): Promise<void> {
      return connection.close();
    },
  };
}

/** The script reads this too, and its JSON reader takes no half of a surrogate pair. The handle holds none. */
function encode(entry: RevocationEntry): string {
  const { value, issuer, reason, author } = entry;
  return JSON.stringify({
    ...entry,
    value: value.toWellFormed(),
    issuer: issuer?.toWellFormed() ?? null,
    reason: reason.toWellFormed(),
    author: author.toWellFormed(),
  });
}

/** Texts that many entries have in common, once in memory. Beyond the bound each entry has its own. */
const shared = new Map<string, string>();
const sharedMax = 4096;

function share(text: string): string {
  const known = shared.get(text);
  if (known !== undefined) return known;
  if (shared.size < sharedMax) shared.set(text, text);
  return text;
}

function parseEntry(json: unknown, connection: RedisConnection): RevocationEntry {
  try {
    const entry = entrySchema.parse(JSON.parse(String(json)));
    const { kind, issuer, reason, author } = entry;
    entry.kind = share(kind);
    entry.issuer = issuer === null ? null : share(issuer);
    entry.reason = share(reason);
    entry.author = share(author);
    return entry;
  } catch {
    throw connection.faultOf('ANSWER');
  }
}

function strings(reply: unknown, connection: RedisConnection): readonly string[] {
  if (Array.isArray(reply) && reply.every((item) => typeof item === 'string')) return reply;
  throw connection.faultOf('ANSWER');
}

const outcomes = ['followed', 'gap', 'lost'] as const;

function parseChanges(reply: unknown, connection: RedisConnection): FeedAnswer {
  if (!Array.isArray(reply) || reply.length < 5) throw connection.faultOf('ANSWER');
  const [told, generation, sequence, head, isMore, ...rest]: unknown[] = reply;
  const outcome = outcomes.find((candidate) => candidate === told);
  if (
    outcome === undefined ||
    typeof generation !== 'string' ||
    typeof head !== 'string' ||
    Number.isNaN(Number(sequence))
  )
    throw connection.faultOf('ANSWER');
  const position: FeedPosition = { generation, sequence: Number(sequence), head };
  const texts = strings(rest, connection);
  const changes = [];
  for (let i = 0; i + 1 < texts.length; i += 2) {
    const [removed = '', added = ''] = [texts[i], texts[i + 1]];
    changes.push({
      removed: removed === '' ? [] : removed.split(' '),
      added: added === '' ? null : parseEntry(added, connection),
    });
  }
  return { outcome, position, changes, isMore: isMore === 1 };
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
