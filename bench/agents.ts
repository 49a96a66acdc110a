/**
 * What it takes to have seen very many agents: memory of the sidecar and of Redis, and whether those that come back are
 * known. Agents come one after another; meanwhile some that have been there come back, and a few call all the time.
 *
 *     npm run bench:agents -- [--agents N] [--in-memory N] [--at-once N]
 *
 * Needs redis-server in the PATH, or REDIS_URL.
 */

import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Redis } from 'ioredis';
import { createRedisStore } from '../src/store/redis.ts';
import { startRedis } from '../test/support/redis-server.ts';
import { openCrowd } from './crowd.ts';
import { createRandom } from './drift/figures.ts';

const { values: options } = parseArgs({
  options: {
    agents: { type: 'string', default: '1000000' },
    'in-memory': { type: 'string' },
    'at-once': { type: 'string', default: '32' },
  },
});
const agentCount = Number(options.agents);
const atOnce = Number(options['at-once']);
const reportsMax = 10;
/** Agents that call all the time; one call in ten is theirs. */
const regulars = 500;
const regularShare = 0.1;
/** One call in ten is of an agent that has been there before, however long ago. */
const returnShare = 0.1;
/** Of those that were there once, how many come back at the end. */
const checkedAtTheEnd = 2000;
const operations = 30;

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');
const server = process.env.REDIS_URL === undefined ? await startRedis() : null;
const url = server?.url ?? process.env.REDIS_URL ?? '';
const redis = new Redis(url);
const prefix = `bench:${randomUUID()}:`;
const store = createRedisStore({ url, prefix, timeoutMs: 5000 });
await untilUp();
const inMemory = options['in-memory'];
const drift = inMemory === undefined ? {} : { agentsInMemory: Number(inMemory) };
const crowd = await openCrowd({ store: store.drift, agentStore: store.agents, drift });
const random = createRandom(1);
/** Calls that each agent has made; agents that are under way are at the highest. */
const calls = new Uint32Array(agentCount + regulars);
const busy = new Set<number>();
let [arrived, made, forgotten, returned] = [0, 0, 0, 0];
const redisBytesBefore = await redisBytes();

process.stdout.write(
  '     agents      calls  calls/s   RSS MB  heap MB  buffers MB  in memory  Redis MB  lost  stale\n',
);
let round = { sinceMs: performance.now(), calls: 0 };
for (let report = 1; report <= reportsMax; report++) {
  const until = Math.floor((agentCount * report) / reportsMax);
  await Promise.all(Array.from({ length: atOnce }, () => work(until)));
  await print();
}
await crowd.parts.running()?.keeper.flush();
const checked = Math.min(checkedAtTheEnd, agentCount);
const known = forgotten;
for (let index = 0; index < checked; index++) await callOf(regulars + Math.floor((index * agentCount) / checked));
process.stdout.write(
  `came back while others came: ${returned - checked}, of them not known for all their calls: ${known}\n` +
    `came back at the end: ${checked}, of them not known for all their calls: ${forgotten - known}\n` +
    `Redis a new agent: ${(((await redisBytes()) - redisBytesBefore) / agentCount).toFixed(0)} bytes\n`,
);
await crowd.close();
if (server === null) await removeAll();
redis.disconnect();
await store.close();
await server?.stop();

/** Calls until so many agents have arrived. */
async function work(until: number): Promise<void> {
  while (arrived < until) {
    const kind = random();
    if (kind < regularShare) await callOf(Math.floor(random() * regulars));
    else if (kind < regularShare + returnShare && arrived > 0) await callOf(regulars + Math.floor(random() * arrived));
    else await callOf(regulars + arrived++);
  }
}

/** One call, unless one of the same agent is under way. */
async function callOf(agent: number): Promise<void> {
  if (busy.has(agent)) return;
  busy.add(agent);
  const before = calls[agent] ?? 0;
  const samples = await crowd.call(`agent-${agent}`, `/things/${Math.floor(operations * random() ** 2)}/items`);
  if (before > 0) {
    if (agent >= regulars) returned++;
    if (samples !== before) forgotten++;
  }
  calls[agent] = before + 1;
  made++;
  busy.delete(agent);
}

async function print(): Promise<void> {
  const seconds = (performance.now() - round.sinceMs) / 1000;
  const rate = (made - round.calls) / seconds;
  collect();
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  const redisMb = ((await redisBytes()) - redisBytesBefore) / 1e6;
  const columns = [
    arrived.toFixed(0).padStart(11),
    made.toFixed(0).padStart(11),
    rate.toFixed(0).padStart(9),
    (rss / 1e6).toFixed(0).padStart(9),
    (heapUsed / 1e6).toFixed(1).padStart(9),
    (arrayBuffers / 1e6).toFixed(1).padStart(12),
    String(crowd.parts.running()?.keeper.size() ?? 0).padStart(11),
    redisMb.toFixed(0).padStart(10),
    String(crowd.lost()).padStart(6),
    String(crowd.stale()).padStart(7),
  ];
  process.stdout.write(`${columns.join('')}\n`);
  round = { sinceMs: performance.now(), calls: made };
}

async function redisBytes(): Promise<number> {
  const info = await redis.info('memory');
  return Number(/used_memory:(\d+)/.exec(info)?.[1]);
}

async function untilUp(): Promise<void> {
  const deadlineMs = performance.now() + 15_000;
  for (;;) {
    try {
      return await store.ping();
    } catch (fault) {
      if (performance.now() > deadlineMs) throw fault;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Leaves nothing in a Redis that is somebody else's. */
async function removeAll(): Promise<void> {
  for await (const keys of redis.scanStream({ match: `${prefix}*`, count: 1000 })) {
    if (Array.isArray(keys) && keys.length > 0) await redis.unlink(keys);
  }
}
