/** A whole sidecar for tests: composed from a real configuration file, between a real issuer and a real upstream. */

import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { Agent, request } from 'undici';
import { inject } from 'vitest';
import { stringify } from 'yaml';
import { compose, type Sidecar } from '../../src/compose.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { AuditRecord } from '../../src/record/audit-record.ts';
import { type JwksServer, startJwksServer } from './jwks-server.ts';
import { createKey, type SigningKey } from './keys.ts';
import { uniquePrefix } from './redis-server.ts';
import { type AccessTokenOptions, mintAccessToken, mintProof } from './tokens.ts';
import { startUpstream, type Upstream } from './upstream.ts';

export const publicOrigin = 'https://api.agents.example';
export const upstreamSecret = 'sk-upstream-0123456789abcdef';

/** Both kinds of store, as configuration. The Redis one is real and has a prefix of its own. */
export const stores = {
  memory: () => ({ kind: 'memory' }),
  redis: () => ({ kind: 'redis', url: inject('redisUrl'), prefix: uniquePrefix(), timeout: '2s' }),
} as const;
export type StoreKind = keyof typeof stores;

const usualRules = `
rules:
  - id: reads-need-read
    when: request.method in ["GET", "HEAD"] && request.url_path.startsWith("/api/") && "read" in token.scopes
    effect: allow
  - id: writes-need-write
    when: request.method == "POST" && request.url_path.startsWith("/api/") && "write" in token.scopes
    effect: allow
  - id: nobody-deletes
    when: request.url_path == "/api/forbidden"
    effect: deny
    message: Nobody gets this.
  - id: unlike-itself
    when: request.url_path == "/api/unlike" && drift.score >= 0.0
    effect: deny
  - id: five-a-minute
    when: request.url_path == "/api/metered" && rate.calls > 5
    effect: throttle
  - id: fresh-login
    when: request.url_path == "/api/sensitive"
    effect: challenge
    challenge: { acrValues: [urn:strong], maxAge: 5m }
  - id: cannot-evaluate
    when: request.url_path == "/api/broken" && token.claims.absent == "x"
    effect: deny
`;

export type SidecarOptions = {
  readonly store?: object;
  /** Merged over the configuration, one level deep. */
  readonly config?: Readonly<Record<string, object>>;
  /** Merged over the one route. */
  readonly route?: object;
  readonly rules?: string;
  readonly enforcement?: 'enforce' | 'shadow';
  readonly clock?: () => number;
};

export type CallOptions = {
  readonly method?: string;
  readonly token?: string;
  readonly proof?: string | null;
  readonly scheme?: string;
  readonly fields?: Readonly<Record<string, string | string[]>>;
  readonly body?: string | Buffer | Readable;
};

export type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** Of a problem+json body, else null. */
  readonly reason: string | null;
  readonly decision: string;
};

export type Harness = {
  readonly sidecar: Sidecar;
  readonly port: number;
  readonly issuer: JwksServer;
  readonly upstream: Upstream;
  readonly agentKey: SigningKey;
  readonly configFile: string;
  readonly secretFile: string;
  /** Operational log lines. */
  readonly log: readonly string[];
  readonly mint: (options?: Partial<AccessTokenOptions>) => string;
  readonly proofFor: (path: string, token: string, method?: string) => string;
  /** Calls with a good token and a fresh proof, unless told otherwise. */
  readonly call: (path: string, options?: CallOptions) => Promise<Answer>;
  readonly admin: (method: string, path: string, body?: object) => Promise<{ status: number; text: string }>;
  readonly auditText: () => string;
  /** Waits for the record, which is written when the exchange has ended. */
  readonly record: (decision: string) => Promise<AuditRecord>;
  readonly close: () => Promise<void>;
};

export async function startSidecar(options: SidecarOptions = {}): Promise<Harness> {
  const { clock = Date.now } = options;
  const issuer = await startJwksServer();
  const upstream = await startUpstream();
  const agentKey = createKey('ES256');
  const folder = mkdtempSync(join(tmpdir(), 'postern-test-'));
  const secretFile = join(folder, 'secret');
  const auditFile = join(folder, 'audit.jsonl');
  writeFileSync(secretFile, `${upstreamSecret}\n`);
  writeFileSync(join(folder, 'rules.yaml'), options.rules ?? usualRules);
  const configFile = join(folder, 'postern.yaml');
  writeFileSync(configFile, stringify(configurationOf(options, { issuer: issuer.issuer, upstream: upstream.origin })));
  const log: string[] = [];
  const sidecar = await compose({
    configuration: await loadConfig(configFile),
    env: {},
    clock,
    logger: pino({ level: 'debug' }, { write: (line) => void log.push(line) }),
  });
  const port = Number(new URL(sidecar.origin).port);
  const client = new Agent({ pipelining: 0, connections: 64 });

  const mint = (more: Partial<AccessTokenOptions> = {}) =>
    mintAccessToken({
      issuer: issuer.issuer,
      issuerKey: issuer.key,
      audience: publicOrigin,
      agentKey,
      scope: 'read write',
      nowMs: clock(),
      ...more,
    });
  const proofFor = (path: string, token: string, method = 'GET') =>
    mintProof({ key: agentKey, method, url: `${publicOrigin}${path}`, accessToken: token, nowMs: clock() });

  return {
    sidecar,
    port,
    issuer,
    upstream,
    agentKey,
    configFile,
    secretFile,
    log,
    mint,
    proofFor,
    async call(path, { method = 'GET', token = mint(), proof, scheme = 'DPoP', fields = {}, body } = {}) {
      const dpop = proof === undefined ? proofFor(path, token, method) : proof;
      const answer = await request(`${sidecar.origin}${path}`, {
        dispatcher: client,
        method: method as 'GET',
        headers: {
          ...(token === '' ? {} : { authorization: `${scheme} ${token}` }),
          ...(dpop === null ? {} : { dpop }),
          ...fields,
        },
        body: body ?? null,
      });
      const text = await answer.body.text();
      const isProblem = answer.headers['content-type'] === 'application/problem+json';
      return {
        status: answer.statusCode,
        headers: answer.headers,
        text,
        reason: isProblem ? (JSON.parse(text) as { reason: string }).reason : null,
        decision: String(answer.headers['postern-decision'] ?? ''),
      };
    },
    async admin(method, path, body) {
      const answer = await request(`${sidecar.adminOrigin}${path}`, {
        method: method as 'GET',
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        body: body === undefined ? null : JSON.stringify(body),
      });
      return { status: answer.statusCode, text: await answer.body.text() };
    },
    auditText: () => readFileSync(auditFile, 'utf8'),
    async record(decision) {
      const deadlineMs = performance.now() + 5000;
      for (;;) {
        const line = readFileSync(auditFile, 'utf8')
          .split('\n')
          // What follows the last line end is a line that is being written.
          .slice(0, -1)
          .find((text) => text.includes(decision));
        if (line !== undefined && decision !== '') return JSON.parse(line) as AuditRecord;
        if (performance.now() > deadlineMs) throw new Error(`no audit record of ${decision}`);
        await setImmediate();
      }
    },
    async close() {
      await client.destroy();
      await sidecar.close();
      await Promise.all([issuer.close(), upstream.close()]);
    },
  };
}

function configurationOf(options: SidecarOptions, places: { issuer: string; upstream: string }): object {
  const { config = {}, route = {} } = options;
  return {
    listen: { address: '127.0.0.1:0', publicOrigin, ...config.listen },
    admin: { address: '127.0.0.1:0', ...config.admin },
    store: options.store ?? stores.memory(),
    issuers: [{ issuer: places.issuer, ...config.issuer }],
    agents: { ...config.agents },
    proof: { ...config.proof },
    signals: { ...config.signals },
    routes: [
      {
        name: 'api',
        match: { pathPrefix: '/api/', methods: ['GET', 'HEAD', 'POST', 'DELETE'] },
        upstream: places.upstream,
        audience: publicOrigin,
        credential: 'api-key',
        timeouts: { headers: '2s', body: '2s' },
        ...route,
      },
    ],
    credentials: {
      'api-key': {
        from: { file: 'secret' },
        inject: { header: 'authorization', value: 'Bearer {secret}' },
        ...config.credential,
      },
    },
    meters: { calls: { by: 'agent.id', window: '1m' }, ...config.meters },
    drift: { ...config.drift },
    rules: ['rules.yaml'],
    enforcement: options.enforcement,
    revocation: { ...config.revocation },
    reason: { ...config.reason },
    audit: { sinks: [{ file: 'audit.jsonl' }], ...config.audit },
    limits: { ...config.limits },
    shutdown: { delay: '0s', deadline: '2s', ...config.shutdown },
    reload: { ...config.reload },
  };
}
