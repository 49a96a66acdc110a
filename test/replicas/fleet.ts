/** Sidecars as processes on one Redis, in front of one upstream: everything that can be killed, and who sees it. */

import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { stringify } from 'yaml';
import { createKey, publishedJwk, type SigningKey } from '../support/keys.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';
import { createSidecarProcess, type SidecarProcess } from '../support/sidecar-process.ts';

export const publicOrigin = 'https://api.agents.example';
export const issuer = 'https://issuer.agents.example';
/** Calls of one agent to the limited path that may pass within the window. */
export const limit = 20;
export const limitWindowMs = 2000;

const rules = `
rules:
  - id: limited
    when: request.url_path == "/api/limited" && rate.limited > ${limit}
    effect: throttle
  - id: everything-else
    when: "true"
    effect: allow
`;

export type Replica = SidecarProcess & { readonly origin: string; readonly adminOrigin: string };

export type Fleet = {
  readonly replicas: readonly Replica[];
  readonly redis: RedisServer;
  /** Signs access tokens that every sidecar accepts. */
  readonly issuerKey: SigningKey;
  /** Takes everything away while Redis runs on. */
  readonly flushRedis: () => Promise<void>;
  readonly close: () => Promise<void>;
};

/** `onCall` is told the `call` parameter of each request that has come through to the upstream. */
export async function startFleet(count: number, onCall: (id: string) => void): Promise<Fleet> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-replicas-'));
  const upstream = createServer((incoming, response) => {
    onCall(new URL(incoming.url ?? '', 'http://upstream').searchParams.get('call') ?? '');
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end('{"ok":true}');
  });
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  // What Redis has confirmed must outlive its death, or nothing could be asked of those who rely on it.
  const redis = await startRedis({ extraArguments: ['--appendonly', 'yes', '--appendfsync', 'always'] });
  const issuerKey = createKey('ES256');
  const upstreamOrigin = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`;
  const replicas: Replica[] = [];
  for (let index = 0; index < count; index++) {
    const places = { folder: join(folder, `${index}`), upstreamOrigin, redisUrl: redis.url, issuerKey };
    replicas.push(await prepareReplica(places));
  }
  const close = async () => {
    await Promise.all(replicas.map((replica) => replica.kill()));
    await redis.stop();
    upstream.close();
    upstream.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await Promise.all(replicas.map((replica) => replica.start()));
  } catch (fault) {
    await close();
    throw fault;
  }
  return {
    replicas,
    redis,
    issuerKey,
    flushRedis: async () => {
      const client = new Redis(redis.url);
      try {
        await client.flushall();
      } finally {
        client.disconnect();
      }
    },
    close,
  };
}

type Places = {
  readonly folder: string;
  readonly upstreamOrigin: string;
  readonly redisUrl: string;
  readonly issuerKey: SigningKey;
};

async function prepareReplica({ folder, upstreamOrigin, redisUrl, issuerKey }: Places): Promise<Replica> {
  const [port, adminPort] = [await freePort(), await freePort()];
  mkdirSync(folder);
  const write = (file: string, text: string) => writeFileSync(join(folder, file), text);
  write('secret', 'sk-upstream-0123456789abcdef');
  write('keys.json', JSON.stringify({ keys: [publishedJwk(issuerKey)] }));
  write('rules.yaml', rules);
  const configuration = {
    listen: { address: `127.0.0.1:${port}`, publicOrigin },
    admin: { address: `127.0.0.1:${adminPort}` },
    store: { kind: 'redis', url: redisUrl, timeout: '1s' },
    issuers: [{ issuer, jwksFile: 'keys.json' }],
    routes: [
      {
        name: 'api',
        match: { pathPrefix: '/api/' },
        upstream: upstreamOrigin,
        audience: publicOrigin,
        credential: 'api-key',
      },
    ],
    credentials: { 'api-key': { from: { file: 'secret' }, inject: { header: 'authorization' } } },
    meters: {
      limited: {
        by: 'agent.id',
        window: `${limitWindowMs}ms`,
        cost: 'request.url_path == "/api/limited" ? 1 : 0',
      },
    },
    rules: ['rules.yaml'],
    audit: { sinks: ['stdout'] },
    log: { level: 'warn' },
  };
  write('postern.yaml', stringify(configuration));
  const sidecar = createSidecarProcess(join(folder, 'postern.yaml'));
  return { ...sidecar, origin: `http://127.0.0.1:${port}`, adminOrigin: `http://127.0.0.1:${adminPort}` };
}
