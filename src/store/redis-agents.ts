/**
 * Agents that have called, for all sidecars of one Redis. Plain commands in pipelines, no script: each adds to what is
 * there, so sidecars need no lock, and what one of them tells twice does no harm but to the count of calls.
 *
 * Keys, beside those of scripts.ts; `<agent>` is a digest of the agent's id:
 *
 *   {v1}:agents                sorted set: id as JSON -> when it was last seen, ms
 *   {v1}:agent:<agent>         hash, expires: calls, first, owner, team
 *   {v1}:agent:<agent>:<list>  sorted set, expires: value -> when it was last seen; issuers, keys, subjects, chains
 *   {v1}:agent:<agent>:tokens  sorted set, expires: token as JSON -> when it expires, ms
 */

import { hash } from 'node:crypto';
import type { ChainableCommander } from 'ioredis';
import { agentBounds, agentsKeptMs, seenLists } from './agent-bounds.ts';
import type { AgentBounds, AgentStore, SeenAgent, SeenSummary, SeenToken, Sighting } from './agent-port.ts';
import type { RedisConnection } from './redis-connection.ts';

/** Agents that one pipeline writes or reads. */
const pieceMax = 100;

type Reply = (string | null)[];

export function createRedisAgents(
  connection: RedisConnection,
  prefix: string,
  bounds: AgentBounds = agentBounds,
): AgentStore {
  const { redis } = connection;
  const index = `${prefix}{v1}:agents`;
  const keyOf = (member: string) => `${prefix}{v1}:agent:${hash('sha256', member, 'base64url').slice(0, 22)}`;

  async function run(fill: (pipeline: ChainableCommander) => void): Promise<readonly unknown[]> {
    if (!connection.isUp()) throw connection.fault();
    try {
      const pipeline = redis.pipeline();
      fill(pipeline);
      const replies = (await connection.within(pipeline.exec())) ?? [];
      return replies.map(([error, reply]) => {
        if (error !== null) throw error;
        return reply;
      });
    } catch (error) {
      throw connection.translate(error);
    }
  }

  async function members(nowMs: number): Promise<readonly (readonly [string, number])[]> {
    const [flat] = await run((pipeline) => {
      pipeline.zrange(index, `(${nowMs - agentsKeptMs}`, '+inf', 'BYSCORE', 'WITHSCORES');
    });
    return pairsOf(flat);
  }

  async function* read(seen: readonly (readonly [string, number])[], nowMs: number): AsyncGenerator<SeenAgent[]> {
    for (const piece of piecesOf(seen)) {
      const replies = await run((pipeline) => {
        for (const [member] of piece) readAgent(pipeline, keyOf(member), nowMs);
      });
      const size = seenLists.length + 2;
      yield piece.map(([member, lastMs], at) =>
        agentFrom(member, lastMs, replies.slice(at * size, (at + 1) * size) as Reply[]),
      );
    }
  }

  /** What expires by itself leaves its place in the index, and so do the agents seen longest ago beyond the bound. */
  async function trim(nowMs: number): Promise<void> {
    const [, count] = await run((pipeline) => {
      pipeline.zremrangebyscore(index, '-inf', nowMs - agentsKeptMs).zcard(index);
    });
    const excess = Math.min(Number(count) - bounds.agents, pieceMax);
    if (excess <= 0) return;
    const [flat] = await run((pipeline) => {
      pipeline.zpopmin(index, excess);
    });
    await run((pipeline) => {
      for (const [member] of pairsOf(flat)) pipeline.del(...allKeys(keyOf(member)));
    });
    if (excess === pieceMax) await trim(nowMs);
  }

  return {
    async note(sightings, nowMs) {
      for (const piece of piecesOf(sightings)) {
        await run((pipeline) => {
          for (const sighting of piece) {
            const member = JSON.stringify(sighting.id);
            pipeline.zadd(index, 'GT', sighting.lastMs, member);
            noteAgent(pipeline, keyOf(member), sighting, nowMs, bounds);
          }
        });
      }
      await trim(nowMs);
    },
    async summaries(nowMs) {
      const found: SeenSummary[] = [];
      for (const piece of piecesOf(await members(nowMs))) {
        const replies = await run((pipeline) => {
          for (const [member] of piece) pipeline.hmget(keyOf(member), 'calls', 'first', 'owner', 'team');
        });
        found.push(...piece.map(([member, lastMs], at) => summaryFrom(member, lastMs, replies[at] as Reply)));
      }
      return found;
    },
    async find(id, nowMs) {
      const member = JSON.stringify(id);
      const [lastMs] = await run((pipeline) => {
        pipeline.zscore(index, member);
      });
      if (typeof lastMs !== 'string' || Number(lastMs) <= nowMs - agentsKeptMs) return null;
      for await (const [agent] of read([[member, Number(lastMs)]], nowMs)) return agent ?? null;
      return null;
    },
    async *scan(nowMs) {
      yield* read(await members(nowMs), nowMs);
    },
    async countSince(sinceMs) {
      const [count] = await run((pipeline) => {
        pipeline.zcount(index, sinceMs, '+inf');
      });
      return Number(count);
    },
  };
}

function allKeys(key: string): [string, ...string[]] {
  return [key, ...seenLists.map((list) => `${key}:${list}`), `${key}:tokens`];
}

function noteAgent(
  pipeline: ChainableCommander,
  key: string,
  sighting: Sighting,
  nowMs: number,
  bounds: AgentBounds,
): void {
  const { described, calls, firstMs, lastMs, tokens } = sighting;
  pipeline.hincrby(key, 'calls', calls).hsetnx(key, 'first', firstMs).pexpire(key, agentsKeptMs);
  if (described !== null) {
    // JSON, as it tells null from a text and keeps whatever characters there are.
    pipeline.hset(key, 'owner', JSON.stringify(described.owner), 'team', JSON.stringify(described.team));
  }
  for (const list of seenLists) {
    const values = sighting[list];
    if (values.length === 0) continue;
    const listKey = `${key}:${list}`;
    // What was seen at one time stays in the order in which it was told.
    for (const value of values) pipeline.zadd(listKey, 'GT', lastMs, value);
    pipeline.zremrangebyrank(listKey, 0, -1 - bounds[list]).pexpire(listKey, agentsKeptMs);
  }
  if (tokens.length === 0) return;
  const tokensKey = `${key}:tokens`;
  for (const { issuedAtMs, expiresAtMs, marks } of tokens) {
    pipeline.zadd(tokensKey, expiresAtMs, JSON.stringify([issuedAtMs, ...marks]));
  }
  pipeline.zremrangebyscore(tokensKey, '-inf', nowMs).zremrangebyrank(tokensKey, 0, -1 - bounds.tokens);
  pipeline.pexpire(tokensKey, agentsKeptMs);
}

function readAgent(pipeline: ChainableCommander, key: string, nowMs: number): void {
  pipeline.hmget(key, 'calls', 'first', 'owner', 'team');
  for (const list of seenLists) pipeline.zrevrange(`${key}:${list}`, 0, -1);
  pipeline.zrange(`${key}:tokens`, `(${nowMs}`, '+inf', 'BYSCORE', 'WITHSCORES');
}

function summaryFrom(member: string, lastMs: number, reply: Reply): SeenSummary {
  const [calls, first, owner, team] = reply;
  return {
    id: String(JSON.parse(member)),
    owner: nameFrom(owner),
    team: nameFrom(team),
    calls: Number(calls ?? 0),
    firstMs: first == null ? lastMs : Number(first),
    lastMs,
  };
}

function nameFrom(json: string | null | undefined): string | null {
  const value: unknown = json == null ? null : JSON.parse(json);
  return typeof value === 'string' ? value : null;
}

function agentFrom(member: string, lastMs: number, replies: Reply[]): SeenAgent {
  const [summary = [], ...lists] = replies;
  const listAt = (at: number) => (lists[at] ?? []).filter((value) => value !== null);
  const [issuers, keys, subjects, chains] = [listAt(0), listAt(1), listAt(2), listAt(3)];
  const tokens = pairsOf(lists[4]).map(([json, expiresAtMs]) => tokenFrom(json, expiresAtMs));
  return { ...summaryFrom(member, lastMs, summary), issuers, keys, subjects, chains, tokens };
}

function tokenFrom(json: string, expiresAtMs: number): SeenToken {
  const [issuedAtMs, ...marks]: unknown[] = JSON.parse(json);
  return { issuedAtMs: Number(issuedAtMs), expiresAtMs, marks: marks.map(String) };
}

function pairsOf(flat: unknown): readonly (readonly [string, number])[] {
  if (!Array.isArray(flat)) return [];
  const pairs: [string, number][] = [];
  for (let at = 0; at < flat.length; at += 2) pairs.push([String(flat[at]), Number(flat[at + 1])]);
  return pairs;
}

function* piecesOf<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let from = 0; from < items.length; from += pieceMax) yield items.slice(from, from + pieceMax);
}
