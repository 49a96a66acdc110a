/**
 * What slow and idle clients cost: so many connections held for so long, a quarter each of slow headers, slow bodies,
 * slow readers and idle sockets, against a sidecar with a slow upstream, while a well-behaved client goes on.
 *
 *     npm run bench:slow -- [--connections 1000] [--seconds 60]
 *
 * Loopback only. Sockets are counted in /proc, so on Linux only.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Agent, request } from 'undici';
import { stringify } from 'yaml';
import { createKey, publishedJwk } from '../test/support/keys.ts';
import { mintAccessToken, mintProof } from '../test/support/tokens.ts';
import { type SlowClients, slowKinds, startSlowClients } from './slow-clients.ts';

const { values: options } = parseArgs({
  options: { connections: { type: 'string', default: '1000' }, seconds: { type: 'string', default: '60' } },
});
const connections = Number(options.connections);
const seconds = Number(options.seconds);

const publicOrigin = 'http://bench.example';
const issuer = 'https://issuer.bench.example';
const issuerKey = createKey('ES256');
const agentKey = createKey('ES256');
const accessToken = mintAccessToken({ issuer, issuerKey, audience: publicOrigin, agentKey, lifetimeSeconds: 3600 });
/** Shorter than the defaults, so that each of them is met within the minute. */
const limits = {
  requestHeadersTimeout: '10s',
  requestTimeout: '20s',
  keepAliveTimeout: '15s',
  connections: connections + 20,
  agentConcurrency: connections + 20,
};
const timeouts = { headers: '10s', body: '15s' };

type Sample = { readonly rssBytes: number; readonly sockets: number; readonly held: number };

const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'));
const children: ChildProcess[] = [];
try {
  const upstream = await start('slow-upstream.ts', []);
  const sidecar = await start('subject.ts', ['sidecar', writeConfiguration(upstream.port)]);
  const before = await measure(sidecar.port, '/api/now', 3);
  const first = await sample(sidecar.child, null);
  const slow = startSlowClients({ port: sidecar.port, count: connections, head: headOf });
  const samples: Sample[] = [];
  const watching = (async () => {
    for (let second = 0; second < seconds; second++) {
      await setTimeout(1000);
      samples.push(await sample(sidecar.child, slow));
    }
  })();
  const [apart, beside, door] = await Promise.all([
    measure(sidecar.port, '/api/now', seconds),
    measure(sidecar.port, '/reads/now', seconds),
    setTimeout(seconds * 500).then(() => knock(sidecar.port, 100)),
    watching,
  ]);
  const ends = slow.ends;
  slow.stop();
  await setTimeout(5000);
  const last = await sample(sidecar.child, null);
  report({ first, samples, last, ends, door, latencies: { before, apart, beside } });
} finally {
  for (const child of children) child.disconnect();
  rmSync(folder, { recursive: true, force: true });
}

function headOf(method: string, path: string, lines: string): string {
  const proof = mintProof({ key: agentKey, method, url: `${publicOrigin}${path}`, accessToken });
  return `${method} ${path} HTTP/1.1\r\nhost: a\r\nauthorization: DPoP ${accessToken}\r\ndpop: ${proof}\r\n${lines}\r\n`;
}

async function sample(child: ChildProcess, slow: SlowClients | null): Promise<Sample> {
  const answered = once(child, 'message');
  child.send('rss');
  const [{ rssBytes }] = (await answered) as [{ rssBytes: number }];
  const descriptors = `/proc/${child.pid}/fd`;
  const sockets = readdirSync(descriptors).filter((name) => isSocket(join(descriptors, name))).length;
  return { rssBytes, sockets, held: slow?.open() ?? 0 };
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('socket:');
  } catch {
    // Closed since it was listed.
    return false;
  }
}

type Latency = { readonly served: number; readonly others: number; readonly ms: readonly number[] };

/** A good client, one call after another. */
async function measure(port: number, path: string, forSeconds: number): Promise<Latency> {
  const client = new Agent({ connections: 1, pipelining: 1, keepAliveTimeout: 10_000 });
  const ms: number[] = [];
  let others = 0;
  const endMs = performance.now() + forSeconds * 1000;
  while (performance.now() < endMs) {
    const proof = mintProof({ key: agentKey, method: 'GET', url: `${publicOrigin}${path}`, accessToken });
    const startedMs = performance.now();
    try {
      const headers = { authorization: `DPoP ${accessToken}`, dpop: proof };
      const answer = await request(`http://127.0.0.1:${port}${path}`, { dispatcher: client, headers });
      await answer.body.dump();
      if (answer.statusCode === 200) ms.push(performance.now() - startedMs);
      else others += 1;
    } catch {
      others += 1;
    }
    await setTimeout(50);
  }
  await client.destroy();
  return { served: ms.length, others, ms: ms.toSorted((one, other) => one - other) };
}

/** How many of so many further connections are closed at the door. */
async function knock(port: number, count: number): Promise<number> {
  const sockets = Array.from({ length: count }, () => connect(port, '127.0.0.1').on('error', () => {}));
  const closed = sockets.map((socket) => once(socket.resume(), 'close').then(() => 1));
  await setTimeout(1000);
  const refused = await Promise.all(closed.map((one) => Promise.race([one, setTimeout(10, 0)])));
  for (const socket of sockets) socket.destroy();
  return refused.reduce((total, one) => total + one, 0);
}

type Results = {
  readonly first: Sample;
  readonly samples: readonly Sample[];
  readonly last: Sample;
  readonly ends: SlowClients['ends'];
  readonly door: number;
  readonly latencies: Readonly<Record<'before' | 'apart' | 'beside', Latency>>;
};

function report({ first, samples, last, ends, door, latencies }: Results): void {
  const mebibytes = (bytes: number) => (bytes / 1_048_576).toFixed(0);
  const most = (of: (sample: Sample) => number) => Math.max(...samples.map(of));
  const settled = samples.slice(Math.floor(samples.length / 2));
  const mean = (of: (sample: Sample) => number) =>
    settled.reduce((total, one) => total + of(one), 0) / Math.max(1, settled.length);
  const latency = (name: string, { served, others, ms }: Latency) => {
    const at = (share: number) => (ms[Math.min(ms.length - 1, Math.floor(ms.length * share))] ?? Number.NaN).toFixed(1);
    return `| ${name} | ${served} | ${others} | ${at(0.5)} | ${at(0.99)} | ${at(1)} |`;
  };
  const lines = [
    `${connections} slow connections for ${seconds} s; limits ${JSON.stringify(limits)}, timeouts ${JSON.stringify(timeouts)}`,
    '',
    '| sidecar | start | held (mean of second half) | peak | 5 s after |',
    '|---|---|---|---|---|',
    `| RSS MiB | ${mebibytes(first.rssBytes)} | ${mebibytes(mean(({ rssBytes }) => rssBytes))} | ${mebibytes(most(({ rssBytes }) => rssBytes))} | ${mebibytes(last.rssBytes)} |`,
    `| sockets | ${first.sockets} | ${mean(({ sockets }) => sockets).toFixed(0)} | ${most(({ sockets }) => sockets)} | ${last.sockets} |`,
    `| slow connections held | 0 | ${mean(({ held }) => held).toFixed(0)} | ${most(({ held }) => held)} | 0 |`,
    '',
    '| slow clients | opened | answered 408 | answered otherwise, then closed | cut without an answer |',
    '|---|---|---|---|---|',
    ...slowKinds.map((kind) => {
      const { opened = 0, answered408 = 0, answeredOther = 0, cut = 0 } = ends.get(kind) ?? {};
      return `| ${kind} | ${opened} | ${answered408} | ${answeredOther} | ${cut} |`;
    }),
    '',
    `closed at the door by limits.connections: ${door} of 100 more`,
    `decision records: ${recordCounts()}`,
    '',
    '| good client | served | not served | p50 ms | p99 ms | max ms |',
    '|---|---|---|---|---|---|',
    latency('before', latencies.before),
    latency('meanwhile, own credential', latencies.apart),
    latency('meanwhile, credential shared with slow readers', latencies.beside),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function recordCounts(): string {
  const counts = new Map<string, number>();
  for (const line of readFileSync(join(folder, 'audit.jsonl'), 'utf8').trim().split('\n')) {
    const { route, decision, reason, end } = JSON.parse(line) as Record<string, string | null>;
    const key = `${route ?? 'no route'} ${decision}${reason === null ? '' : ` ${reason}`} ${end}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts].map(([key, count]) => `${key} ${count}`).join(', ');
}

/** Each route with a credential of its own, and so with connections of its own. */
function writeConfiguration(upstreamPort: number): string {
  writeFileSync(join(folder, 'secret'), 'bench-secret');
  writeFileSync(join(folder, 'keys.json'), JSON.stringify({ keys: [publishedJwk(issuerKey)] }));
  writeFileSync(
    join(folder, 'rules.yaml'),
    stringify({ rules: [{ id: 'all', when: '"read" in token.scopes', effect: 'allow' }] }),
  );
  const names = ['api', 'reads', 'writes'];
  const from = { file: 'secret' };
  const inject = { header: 'authorization', value: 'Bearer {secret}' };
  const file = join(folder, 'postern.yaml');
  writeFileSync(
    file,
    stringify({
      listen: { address: '127.0.0.1:0', publicOrigin },
      admin: { address: '127.0.0.1:0' },
      store: { kind: 'memory' },
      issuers: [{ issuer, jwksFile: 'keys.json' }],
      proof: { window: 'mcp' },
      routes: names.map((name) => ({
        name,
        match: { pathPrefix: `/${name}/` },
        upstream: `http://127.0.0.1:${upstreamPort}`,
        audience: publicOrigin,
        credential: `key-${name}`,
        timeouts,
      })),
      credentials: Object.fromEntries(names.map((name) => [`key-${name}`, { from, inject }])),
      rules: ['rules.yaml'],
      audit: { sinks: [{ file: 'audit.jsonl' }] },
      limits,
    }),
  );
  return file;
}

async function start(file: string, words: readonly string[]): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(new URL(file, import.meta.url), words, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  children.push(child);
  const [message] = (await once(child, 'message')) as [{ port: number }];
  return { child, port: message.port };
}
