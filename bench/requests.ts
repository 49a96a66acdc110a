/**
 * CPU time a request and throughput: plain forwarding, Postern on memory, Postern on Redis, and with what can be
 * switched off. Rounds are interleaved so that a noisy machine is noisy for all; every request carries a fresh ES256
 * proof, signed before its round begins.
 *
 *     npm run bench -- [--rounds N] [--requests N] [--warm-up N] [--concurrency N] [--rules N] [--json]
 *
 * What is measured is a process that has run for a while: for its first twenty thousand requests the engine's compiler
 * takes a sixth of the CPU time, and after that next to nothing.
 *
 * Needs redis-server in the PATH, or REDIS_URL.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Agent, type Dispatcher } from 'undici';
import { stringify } from 'yaml';
import { createKey, publishedJwk } from '../test/support/keys.ts';
import { startRedis } from '../test/support/redis-server.ts';
import { mintAccessToken, mintProof } from '../test/support/tokens.ts';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    requests: { type: 'string', default: '4000' },
    'warm-up': { type: 'string', default: '20000' },
    concurrency: { type: 'string', default: '32' },
    rules: { type: 'string', default: '30' },
    json: { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);
const requests = Number(options.requests);
const warmUp = Number(options['warm-up']);
const concurrency = Number(options.concurrency);

const publicOrigin = 'http://bench.example';
const issuer = 'https://issuer.bench.example';
const path = '/api/items/42';
const issuerKey = createKey('ES256');
const agentKey = createKey('ES256');

type Subject = {
  readonly name: string;
  readonly child: ChildProcess;
  readonly port: number;
};
type Sample = { readonly cpuMicros: number; readonly perSecond: number };

const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'));
const redis = process.env.REDIS_URL === undefined ? await startRedis() : null;
const children: ChildProcess[] = [];
try {
  const upstream = await start('upstream.ts', []);
  const redisStore = {
    kind: 'redis',
    url: redis?.url ?? process.env.REDIS_URL,
    prefix: `bench:${process.pid}:`,
    timeout: '5s',
  };
  const subjects: Subject[] = [
    await startSubject('plain forwarding', 'plain', upstream.port, { kind: 'memory' }),
    await startSubject('plain forwarding and one P-256 verification', 'verifying', upstream.port, { kind: 'memory' }),
    await startSubject('Postern, memory store', 'sidecar', upstream.port, { kind: 'memory' }),
    await startSubject('Postern, Redis store', 'sidecar', upstream.port, redisStore),
    await startSubject('the same, with drift, leak guard and inputs', 'whole', upstream.port, redisStore),
  ];
  const samples = new Map<string, Sample[]>(subjects.map(({ name }) => [name, []]));
  const verifications: number[] = [];
  for (const subject of subjects) {
    for (let served = 0; served < warmUp; served += requests) await round(subject);
  }
  for (let index = 0; index < rounds; index++) {
    // A different one goes first each time.
    for (let turn = 0; turn < subjects.length; turn++) {
      const subject = subjects[(index + turn) % subjects.length];
      if (subject !== undefined) samples.get(subject.name)?.push(await round(subject));
    }
    verifications.push(verification());
  }
  report(samples, verifications);
} finally {
  for (const child of children) child.disconnect();
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
}

/** One round of one subject: proofs first, then the requests, with the subject's CPU time read before and after. */
async function round({ child, port }: Subject): Promise<Sample> {
  const token = mintAccessToken({
    issuer,
    issuerKey,
    audience: publicOrigin,
    agentKey,
    scope: 'items:read',
    lifetimeSeconds: 600,
  });
  const heads = Array.from({ length: requests }, () => {
    const proof = mintProof({ key: agentKey, method: 'GET', url: `${publicOrigin}${path}`, accessToken: token });
    return ['accept', 'application/json', 'user-agent', 'bench', 'authorization', `DPoP ${token}`, 'dpop', proof];
  });
  const client = new Agent({ connections: concurrency, pipelining: 1 });
  const cpuBefore = await cpuOf(child);
  const startedMs = performance.now();
  let next = 0;
  const work = async () => {
    for (let index = next++; index < heads.length; index = next++) {
      const status = await get(client, port, heads[index] ?? []);
      if (status !== 200) throw new Error(`answered ${status} instead of 200`);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  const elapsedMs = performance.now() - startedMs;
  const cpuMicros = (await cpuOf(child)) - cpuBefore;
  await client.destroy();
  return { cpuMicros: cpuMicros / requests, perSecond: requests / (elapsedMs / 1000) };
}

function get(client: Dispatcher, port: number, headers: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    let status = 0;
    client.dispatch(
      { origin: `http://127.0.0.1:${port}`, path, method: 'GET', headers },
      {
        onRequestStart() {},
        onResponseStart(_controller, statusCode) {
          status = statusCode;
        },
        onResponseData() {},
        onResponseEnd: () => resolve(status),
        onResponseError: (_controller, fault) => reject(fault),
      },
    );
  });
}

/** Microseconds of CPU for one P-256 verification, the part that no implementation can avoid. */
function verification(): number {
  const proof = mintProof({ key: agentKey, method: 'GET', url: `${publicOrigin}${path}`, accessToken: 'x' });
  const end = proof.lastIndexOf('.');
  const signed = Buffer.from(proof.slice(0, end));
  const signature = Buffer.from(proof.slice(end + 1), 'base64url');
  const key = { key: createPublicKey({ key: agentKey.publicJwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' as const };
  const count = 2000;
  const before = process.cpuUsage();
  for (let index = 0; index < count; index++) {
    if (!verify('sha256', signed, key, signature)) throw new Error('a good signature was refused');
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

function report(samples: ReadonlyMap<string, readonly Sample[]>, verifications: readonly number[]): void {
  const medianOf = (name: string) => median((samples.get(name) ?? []).map(({ cpuMicros }) => cpuMicros));
  const plain = medianOf('plain forwarding');
  const floor = plain + median(verifications);
  const verifying = medianOf('plain forwarding and one P-256 verification');
  const rows = [...samples].map(([name, list]) => {
    const cpu = list.map(({ cpuMicros }) => cpuMicros);
    const cpuMedian = median(cpu);
    return {
      subject: name,
      cpuMicros: round1(cpuMedian),
      cpuMin: round1(Math.min(...cpu)),
      cpuMax: round1(Math.max(...cpu)),
      perSecond: Math.round(median(list.map(({ perSecond }) => perSecond))),
      toPlain: round2(cpuMedian / plain),
      toFloor: round2(cpuMedian / floor),
      toVerifying: round2(cpuMedian / verifying),
    };
  });
  const verificationMicros = round1(median(verifications));
  if (options.json) {
    process.stdout.write(
      `${JSON.stringify({ rounds, requests, concurrency, rules: Number(options.rules), verificationMicros, rows })}\n`,
    );
    return;
  }
  const lines = [
    `${rounds} rounds of ${requests} requests, ${concurrency} at a time, ${options.rules} rules; CPU of the measured process only`,
    '',
    '| subject | CPU us a request (min..max) | requests/s | to plain | to P-256 alone + plain | to both in one |',
    '|---|---|---|---|---|---|',
    `| one P-256 verification, alone in a loop | ${verificationMicros} | | | | |`,
    ...rows.map(
      (row) =>
        `| ${row.subject} | ${row.cpuMicros} (${row.cpuMin}..${row.cpuMax}) | ${row.perSecond} | ${row.toPlain} | ${row.toFloor} | ${row.toVerifying} |`,
    ),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function startSubject(
  name: string,
  kind: 'plain' | 'verifying' | 'sidecar' | 'whole',
  upstreamPort: number,
  store: object,
): Promise<Subject> {
  const place = mkdtempSync(join(folder, 'subject-'));
  writeFileSync(join(place, 'secret'), 'bench-secret');
  writeFileSync(join(place, 'agent.json'), JSON.stringify(agentKey.publicJwk));
  writeFileSync(join(place, 'keys.json'), JSON.stringify({ keys: [publishedJwk(issuerKey)] }));
  writeFileSync(join(place, 'rules.yaml'), stringify({ rules: rulesOf(Number(options.rules)) }));
  const file = join(place, 'postern.yaml');
  writeFileSync(
    file,
    stringify({
      listen: { address: '127.0.0.1:0', publicOrigin },
      admin: { address: '127.0.0.1:0' },
      store,
      issuers: [{ issuer, jwksFile: 'keys.json' }],
      routes: [
        {
          name: 'api',
          match: { pathPrefix: '/api/' },
          upstream: `http://127.0.0.1:${upstreamPort}`,
          audience: publicOrigin,
          credential: 'key',
          leakGuard: kind === 'whole' ? 'on' : 'off',
        },
      ],
      drift: { enabled: kind === 'whole' },
      credentials: { key: { from: { file: 'secret' }, inject: { header: 'authorization', value: 'Bearer {secret}' } } },
      meters: { calls_per_minute: { by: 'agent.id', window: '1m' } },
      rules: ['rules.yaml'],
      audit: { sinks: [{ file: 'audit.jsonl' }], inputs: kind === 'whole' ? 'read' : 'off' },
    }),
  );
  const { child, port } = await start('subject.ts', [kind === 'whole' ? 'sidecar' : kind, file]);
  return { name, child, port };
}

/** Rules as teams have them: one allows, one throttles, and the others look at path, method, scopes and agent. */
function rulesOf(count: number): object[] {
  const rules: object[] = [
    {
      id: 'reads',
      when: 'request.method == "GET" && request.url_path.startsWith("/api/") && "items:read" in token.scopes',
      effect: 'allow',
    },
    { id: 'rate', when: 'rate.calls_per_minute > 100000000', effect: 'throttle' },
  ];
  for (let index = rules.length; index < count; index++) {
    rules.push({
      id: `rule-${index}`,
      when: `request.url_path.startsWith("/api/team-${index}/") && request.method != "GET" && !("team-${index}:write" in token.scopes)`,
      effect: 'deny',
    });
  }
  return rules;
}

async function start(file: string, words: readonly string[]): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(new URL(file, import.meta.url), words, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  children.push(child);
  const [message] = (await once(child, 'message')) as [{ port: number }];
  return { child, port: message.port };
}

async function cpuOf(child: ChildProcess): Promise<number> {
  const answered = once(child, 'message');
  child.send('cpu');
  const [{ cpu }] = (await answered) as [{ cpu: NodeJS.CpuUsage }];
  return cpu.user + cpu.system;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}

function round2(value: number): number {
  return Math.round(value * 100) / 100;
}
