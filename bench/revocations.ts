/**
 * What a large revocation set costs: memory in Redis and in the mirror, time to copy it, and checks against a full set
 * and an empty one, in interleaved rounds so that a noisy machine is noisy for both.
 *
 *     npm run bench:revocations -- [--entries N] [--mix usual|even] [--rounds N] [--checks N]
 *
 * The usual mix is mostly single tokens: of 100 entries 95 tokens, 3 agents, 1 subject and 1 key. The even mix has as many
 * of each of the four, which no incident makes, and which costs most.
 *
 * Needs redis-server in the PATH, or REDIS_URL.
 */

import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Redis } from 'ioredis';
import { agentHandle, issuerHandle, jktHandle, jtiHandle, subjectHandle } from '../src/revocation/handles.ts';
import { createMirror, type Mirror } from '../src/revocation/mirror.ts';
import type { RevocationEntry, Store } from '../src/store/port.ts';
import { createRedisStore } from '../src/store/redis.ts';
import { createRevocationSet } from '../src/store/revocation-set.ts';
import { startRedis } from '../test/support/redis-server.ts';

const { values: options } = parseArgs({
  options: {
    entries: { type: 'string', default: '1000000' },
    mix: { type: 'string', default: 'usual' },
    rounds: { type: 'string', default: '15' },
    checks: { type: 'string', default: '20000' },
  },
});
const entryCount = Number(options.entries);
const rounds = Number(options.rounds);
const checks = Number(options.checks);
const concurrency = 32;
/** Tokens in use. What one can be revoked by is worked out once, as in a sidecar. */
const tokens = 1000;
const fillCount = 200;
const issuer = 'https://login.example.com';
const nowMs = Date.now();

let proofs = 0;
/** Checks one after another, for the time until an answer. */
const checksAlone = Math.ceil(checks / 10);
const handleLists = Array.from({ length: tokens }, (_, index) => handlesOf(index));
/** As usual the mirror knows as much as the store. `looked up`: it does not, just after something has changed. */
const names = {
  latencyMicros: 'time in us until the answer, one at a time',
  clientMicros: 'CPU of the sidecar in us, 32 at a time',
  redisMicros: 'CPU of Redis in us, 32 at a time',
  lookedUpLatencyMicros: 'looked up: time in us until the answer, one at a time',
  lookedUpRedisMicros: 'looked up: CPU of Redis in us, 32 at a time',
} as const;
const measures = Object.keys(names) as readonly (keyof typeof names)[];

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

const server = process.env.REDIS_URL === undefined ? await startRedis() : null;
const url = server?.url ?? process.env.REDIS_URL ?? '';
const redis = new Redis(url);
const stores: Store[] = [];
const mirrors: Mirror[] = [];
try {
  const [empty, full] = [await open('empty'), await open('full')];
  const redisBefore = await redisBytes();
  const filledMs = await timed(() => fill(full));
  const redisAfter = await redisBytes();
  collect();
  const heapBefore = process.memoryUsage().heapUsed;
  const [emptyMirror, fullMirror] = [mirrorOf(empty), mirrorOf(full)];
  await emptyMirror.sync();
  const copiedMs = await timed(() => fullMirror.sync());
  collect();
  const heapAfter = process.memoryUsage().heapUsed;
  if (fullMirror.size() !== entryCount) throw new Error(`the mirror has ${fullMirror.size()} entries`);
  print(
    `${entryCount.toLocaleString('en-US')} entries (${options.mix} mix), ${rounds} rounds of ${checks} checks, ${concurrency} at a time`,
    '',
  );
  print('| what | value |', '|---|---|');
  print(`| memory of Redis | ${mebibytes(redisAfter - redisBefore)}, ${each(redisAfter - redisBefore)} |`);
  print(`| memory of a mirror | ${mebibytes(heapAfter - heapBefore)}, ${each(heapAfter - heapBefore)} |`);
  print(`| filling Redis | ${seconds(filledMs)} |`, `| copying all of it into a mirror | ${seconds(copiedMs)} |`, '');
  await compare({ store: empty, mirror: emptyMirror }, { store: full, mirror: fullMirror });
} finally {
  for (const mirror of mirrors) mirror.close();
  for (const store of stores) await store.close();
  await redis.quit();
  await server?.stop();
}

async function open(name: string): Promise<Store> {
  const prefix = `bench:${process.pid}:${name}:`;
  const store = createRedisStore({ url, prefix, timeoutMs: 10_000, maxRevocations: 10_000_000 });
  stores.push(store);
  await store.ping();
  return store;
}

function mirrorOf(store: Store): Mirror {
  const mirror = createMirror({
    store,
    entries: createRevocationSet(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
    clock: Date.now,
    onAdded: () => {},
    onLost: () => {},
    onRestored: () => {},
    onFault: (fault) => {
      throw fault;
    },
  });
  mirrors.push(mirror);
  return mirror;
}

async function fill(store: Store): Promise<void> {
  for (let from = 0; from < entryCount; from += fillCount) {
    const size = Math.min(fillCount, entryCount - from);
    await store.restore(
      Array.from({ length: size }, (_, at) => entryOf(from + at)),
      [],
    );
  }
}

/** Of what kind each of a hundred entries is. */
function kindAt(index: number): 'jti' | 'agent' | 'subject' | 'jkt' {
  const place = index % 100;
  if (options.mix === 'even') return (['jti', 'agent', 'subject', 'jkt'] as const)[place % 4] ?? 'jti';
  return place < 95 ? 'jti' : place < 98 ? 'agent' : place === 98 ? 'subject' : 'jkt';
}

/** Single tokens have an expiry, and others have none. */
function entryOf(index: number): RevocationEntry {
  const value = `${index.toString(16).padStart(8, '0')}-4b7e-7000-8000-${index.toString(16).padStart(12, '0')}`;
  const kind = kindAt(index);
  const handles = {
    jti: () => jtiHandle(issuer, value),
    agent: () => agentHandle(value),
    subject: () => subjectHandle(value, issuer),
    jkt: () => jktHandle(value),
  };
  return {
    id: `${index.toString(16).padStart(8, '0')}-8021-7616-a53e-8667d97b4b05`,
    handle: handles[kind](),
    kind,
    value,
    issuer: kind === 'jti' || kind === 'subject' ? issuer : null,
    issuedBeforeMs: null,
    reason: 'reported by the security team',
    author: 'security@example.com',
    createdAtMs: nowMs + index,
    expiresAtMs: kind === 'jti' ? nowMs + 86_400_000 + index : null,
  };
}

type Subject = { readonly store: Store; readonly mirror: Mirror };

async function compare(empty: Subject, full: Subject): Promise<void> {
  const samples = { empty: [] as Sample[], full: [] as Sample[] };
  for (const subject of [empty, full]) await round(subject);
  for (let index = 0; index < rounds; index++) {
    const turns = [
      ['empty', empty],
      ['full', full],
    ] as const;
    for (const [name, subject] of index % 2 === 0 ? turns : turns.toReversed())
      samples[name].push(await round(subject));
  }
  print('| a check, median (min..max) | empty set | full set | ratio of medians |', '|---|---|---|---|');
  for (const measure of measures) {
    const [before, after] = [samples.empty, samples.full].map((list) => list.map((sample) => sample[measure]));
    if (before === undefined || after === undefined) continue;
    const ratio = (median(after) / median(before)).toFixed(3);
    print(`| ${names[measure]} | ${spread(before)} | ${spread(after)} | ${ratio} |`);
  }
}

type Sample = Readonly<Record<keyof typeof names, number>>;

async function round(subject: Subject): Promise<Sample> {
  const usual = await measure(subject, true);
  const lookedUp = await measure(subject, false);
  return {
    ...usual,
    lookedUpLatencyMicros: lookedUp.latencyMicros,
    lookedUpRedisMicros: lookedUp.redisMicros,
  };
}

async function measure(subject: Subject, isKnown: boolean) {
  collect();
  const redisBefore = await redisCpuMicros();
  const cpuBefore = process.cpuUsage();
  let next = 0;
  const work = async (until: number) => {
    while (next < until) await check(subject, next++, isKnown);
  };
  await Promise.all(Array.from({ length: concurrency }, () => work(checks)));
  const cpu = process.cpuUsage(cpuBefore);
  const redisMicros = ((await redisCpuMicros()) - redisBefore) / checks;
  const aloneMs = await timed(() => work(checks + checksAlone));
  return { latencyMicros: (aloneMs * 1000) / checksAlone, clientMicros: (cpu.user + cpu.system) / checks, redisMicros };
}

/** As a request makes it: looked up in the mirror, then in the store, with a proof of its own and a meter. */
async function check({ store, mirror }: Subject, index: number, isKnown: boolean): Promise<void> {
  const handles = handleLists[index % tokens] ?? [];
  const isRevoked = mirror.firstRevoked(handles, nowMs) >= 0;
  const answer = await store.check({
    nowMs,
    handles,
    issuedAtMs: nowMs,
    knownAt: isKnown ? mirror.knownAt() : null,
    singleUse: { key: `proof-${proofs++}`, lifetimeMs: 10_000, madeAtMs: nowMs },
    meters: [{ key: `calls-${index % tokens}`, windowMs: 60_000, cost: 1 }],
  });
  if (isRevoked || answer.revokedIndex >= 0 || answer.isReplay) throw new Error('nobody of these is revoked');
}

/** What a request is looked up by; none of these is in the set. */
function handlesOf(index: number): readonly string[] {
  const name = `caller-${index}`;
  return [
    jtiHandle(issuer, name),
    agentHandle(name),
    agentHandle(`client-${index}`),
    subjectHandle(name, null),
    subjectHandle(name, issuer),
    issuerHandle(issuer),
    jktHandle(name),
  ];
}

async function redisCpuMicros(): Promise<number> {
  const info = await redis.info('cpu');
  const of = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
  return (of('used_cpu_user') + of('used_cpu_sys')) * 1e6;
}

async function redisBytes(): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1] ?? 0);
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function spread(values: readonly number[]): string {
  const shown = (value: number) => value.toFixed(2);
  return `${shown(median(values))} (${shown(Math.min(...values))}..${shown(Math.max(...values))})`;
}

function each(bytes: number): string {
  return `${Math.round(bytes / entryCount)} bytes an entry`;
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

function print(...lines: readonly string[]): void {
  for (const line of lines) process.stdout.write(`${line}\n`);
}
