/**
 * How long a revocation takes to have its effect: made at one sidecar, seen at another that shares its Redis, on the next
 * request and on a stream under way. Three processes, and a Redis; times are of this process's monotonic clock.
 *
 *     npm run bench:revoke -- [--trials N]
 *
 * Needs redis-server in the PATH, or REDIS_URL.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Agent, request } from 'undici';
import { stringify } from 'yaml';
import { createKey, publishedJwk } from '../test/support/keys.ts';
import { startRedis } from '../test/support/redis-server.ts';
import { mintAccessToken, mintProof } from '../test/support/tokens.ts';

const { values: options } = parseArgs({ options: { trials: { type: 'string', default: '200' } } });
const trials = Number(options.trials);

const publicOrigin = 'http://bench.example';
const issuer = 'https://issuer.bench.example';
const issuerKey = createKey('ES256');
const agentKey = createKey('ES256');
/** A trial in which nothing happens for so long has failed. */
const patienceMs = 10_000;

type Replica = { readonly child: ChildProcess; readonly origin: string; readonly adminOrigin: string };
type Trial = {
  readonly answeredMs: number;
  readonly refusedMs: number;
  readonly cutMs: number;
  readonly passedLate: number;
};

const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'));
const redis = process.env.REDIS_URL === undefined ? await startRedis() : null;
const client = new Agent({ pipelining: 1, connections: 8 });
const upstream = createServer((incoming, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  if (incoming.url === '/api/stream') response.write('data: open\n\n');
  else response.end('ok');
});
const replicas: Replica[] = [];
try {
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  for (const name of ['one', 'other']) replicas.push(await start(name, (upstream.address() as AddressInfo).port));
  const [one, other] = replicas;
  if (one === undefined || other === undefined) throw new Error('two replicas were to start');
  await trial(one, other, 'warm-up');
  const done: Trial[] = [];
  for (let index = 0; index < trials; index++) done.push(await trial(one, other, `agent-${index}`));
  report(done);
} finally {
  for (const { child } of replicas) child.disconnect();
  await client.destroy();
  upstream.close();
  upstream.closeAllConnections();
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function trial(asked: Replica, serving: Replica, agent: string): Promise<Trial> {
  const token = mintAccessToken({
    issuer,
    issuerKey,
    audience: publicOrigin,
    agentKey,
    scope: 'read',
    claims: { client_id: agent },
  });
  const stream = await openStream(serving, token);
  const call = async () => {
    const headers = fieldsFor('/api/call', token);
    const answer = await request(`${serving.origin}/api/call`, { dispatcher: client, headers });
    await answer.body.dump();
    return answer.statusCode;
  };
  if ((await call()) !== 200) throw new Error('a good call was refused');
  // So that trials and the sidecars' own rhythm do not fall into step.
  await setTimeout(Math.random() * 250);
  const startedMs = performance.now();
  let answeredMs = Number.POSITIVE_INFINITY;
  const revoked = request(`${asked.adminOrigin}/v1/revocations`, {
    dispatcher: client,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ agent, reason: 'bench' }),
  }).then(async ({ statusCode, body }) => {
    answeredMs = performance.now() - startedMs;
    await body.dump();
    if (statusCode !== 201) throw new Error(`the revocation was answered with ${statusCode}`);
  });
  const cut = stream.closed.then(() => performance.now() - startedMs);
  let passedLate = 0;
  for (;;) {
    const sentMs = performance.now() - startedMs;
    if (sentMs > patienceMs) throw new Error('the revocation had no effect');
    const status = await call();
    if (status === 401) break;
    if (sentMs > answeredMs) passedLate += 1;
  }
  const refusedMs = performance.now() - startedMs;
  await revoked;
  return { answeredMs, refusedMs, cutMs: await cut, passedLate };
}

/** A stream that has begun. `closed` settles when it is cut. */
async function openStream(serving: Replica, token: string): Promise<{ readonly closed: Promise<void> }> {
  const outgoing = get(`${serving.origin}/api/stream`, { agent: false, headers: fieldsFor('/api/stream', token) });
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
  outgoing.on('error', () => {});
  const { promise: closed, resolve, reject } = Promise.withResolvers<void>();
  const timer = globalThis.setTimeout(() => reject(new Error('a stream was not cut')), patienceMs);
  incoming.on('error', () => {});
  incoming.once('close', () => {
    clearTimeout(timer);
    resolve();
  });
  await once(incoming, 'data');
  return { closed };
}

function fieldsFor(path: string, token: string): Record<string, string> {
  const dpop = mintProof({ key: agentKey, method: 'GET', url: `${publicOrigin}${path}`, accessToken: token });
  return { authorization: `DPoP ${token}`, dpop };
}

async function start(name: string, upstreamPort: number): Promise<Replica> {
  const write = (file: string, text: string) => writeFileSync(join(folder, file), text);
  write('secret', 'sk-bench-0123456789');
  write('keys.json', JSON.stringify({ keys: [publishedJwk(issuerKey)] }));
  write('rules.yaml', 'rules: [{ id: all, when: "true", effect: allow }]\n');
  const file = join(folder, `${name}.yaml`);
  const store = { kind: 'redis', url: redis?.url ?? process.env.REDIS_URL, prefix: `bench:${process.pid}:` };
  const configuration = {
    listen: { address: '127.0.0.1:0', publicOrigin },
    admin: { address: '127.0.0.1:0' },
    store: { ...store, timeout: '5s' },
    issuers: [{ issuer, jwksFile: 'keys.json' }],
    routes: [
      {
        name: 'api',
        match: { pathPrefix: '/api/' },
        upstream: `http://127.0.0.1:${upstreamPort}`,
        audience: publicOrigin,
        credential: 'key',
      },
    ],
    credentials: { key: { from: { file: 'secret' }, inject: { header: 'authorization' } } },
    rules: ['rules.yaml'],
    audit: { sinks: [{ file: `${name}.jsonl` }] },
  };
  writeFileSync(file, stringify(configuration));
  const child = fork(join(import.meta.dirname, 'subject.ts'), ['sidecar', file]);
  const [{ port, adminPort }] = (await once(child, 'message')) as [{ port: number; adminPort: number }];
  return { child, origin: `http://127.0.0.1:${port}`, adminOrigin: `http://127.0.0.1:${adminPort}` };
}

function report(done: readonly Trial[]): void {
  const rows: readonly (readonly [string, (trial: Trial) => number])[] = [
    ['the admin API answers', ({ answeredMs }) => answeredMs],
    ['a call at the other sidecar has been refused', ({ refusedMs }) => refusedMs],
    ['a stream at the other sidecar is cut', ({ cutMs }) => cutMs],
  ];
  const lines = [
    `${done.length} trials, two sidecars on one Redis; ms from sending the revocation to the first`,
    '',
    '| until | p50 | p99 | max |',
    '|---|---|---|---|',
    ...rows.map(
      ([name, of]) => `| ${name} | ${[0.5, 0.99, 1].map((part) => quantile(done.map(of), part)).join(' | ')} |`,
    ),
    '',
    `Calls that passed though sent after that answer: ${done.reduce((sum, { passedLate }) => sum + passedLate, 0)}`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function quantile(values: readonly number[], part: number): string {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN).toFixed(1);
}
