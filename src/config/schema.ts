/** The shape of postern.yaml. Strict throughout: an unknown key is an error. Defaults are the safe choice. */

import { z } from 'zod';
import { agents } from './schema-agents.ts';
import { drift } from './schema-drift.ts';
import { issuer, proof } from './schema-identify.ts';
import { admin, listen, store } from './schema-listen.ts';
import { route } from './schema-route.ts';
import { signals } from './schema-signals.ts';
import { duration, size } from './units.ts';
import { fieldName, name, path } from './values.ts';

const secretSource = z.union([
  z.strictObject({ file: path }),
  z.strictObject({ env: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/) }),
]);

const credential = z.strictObject({
  from: secretSource,
  inject: z.union([
    z.strictObject({
      header: fieldName,
      value: z.string().max(4096).includes('{secret}', 'must hold {secret}').default('{secret}'),
    }),
    z.strictObject({
      basic: z.strictObject({
        username: z
          .string()
          .max(256)
          .regex(/^[\x20-\x39\x3b-\x7e]*$/, 'must be printable ASCII without a colon'),
      }),
    }),
  ]),
});

const meter = z.strictObject({
  by: z.string().min(1).max(1024).describe('A CEL expression of type string, such as agent.id'),
  window: duration('1s', '31d'),
  cost: z.string().min(1).max(1024).default('1').describe('A CEL expression of type int'),
});

const statedReason = z.strictObject({
  header: fieldName.default('agent-reason'),
  metaKey: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}[A-Za-z0-9]$/, 'must be a key of MCP _meta such as example.com/reason')
    .default('agent-reason')
    .describe('Member of params._meta in JSON bodies that are inspected'),
  required: z.boolean().default(false),
  pattern: z.string().max(512).optional().describe('An RE2 expression that the whole reason must match'),
});

const revocation = z.strictObject({
  mirrorMaxAge: duration('1s', '1h')
    .default(30_000)
    .describe('Readiness fails when what is revoked was last heard longer ago'),
});

const audit = z.strictObject({
  sinks: z
    .array(z.union([z.literal('stdout'), z.strictObject({ file: path })]))
    .min(1)
    .default(['stdout']),
  onFailure: z.enum(['deny', 'continue']).default('deny'),
  inputs: z
    .enum(['read', 'all', 'off'])
    .default('read')
    .describe('Whether records hold what rules read, or all that they could'),
});

const limits = z
  .strictObject({
    headers: size('1KiB', '256KiB').default(16_384),
    headerCount: z.int().min(10).max(1000).default(100),
    body: size('0B', '1GiB').default(10_485_760),
    boundBody: size('0B', '64MiB').default(1_048_576).describe('For bodies whose digest a proof holds'),
    heldBodies: size('1MiB', '64GiB')
      .default(268_435_456)
      .describe('For all bodies read before their decision together'),
    heldBodyTimeout: duration('100ms', '10m').default(30_000).describe('For bodies that are read before the decision'),
    url: size('64B', '64KiB').default(8192),
    token: size('256B', '64KiB').default(12_288),
    proof: size('256B', '16KiB').default(4096),
    connections: z.int().min(1).max(1_000_000).default(10_000),
    agentConcurrency: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(128)
      .describe('Calls that one agent may have under way at once, counted by each process'),
    upstreamConnections: z.int().min(1).max(65_536).default(256).describe('For each credential and origin'),
    upstreamWaiting: z
      .int()
      .min(0)
      .max(1_000_000)
      .default(4096)
      .describe('Calls that may wait for one of them or are WebSockets, for each credential and origin'),
    requestHeadersTimeout: duration('100ms', '5m').default(10_000),
    requestTimeout: duration('1s', '24h').default(300_000),
    keepAliveTimeout: duration('1s', '10m').default(60_000),
  })
  .refine(({ heldBodies, boundBody }) => heldBodies >= boundBody, {
    path: ['heldBodies'],
    error: 'must have room for one body of limits.boundBody at least',
  });

const reload = z.strictObject({
  watch: z.boolean().default(true).describe('Whether changed files are found by themselves'),
  interval: duration('100ms', '1h').default(5000).describe('How often files are compared where no event tells'),
});

const shutdown = z.strictObject({
  delay: duration('0s', '60s').default(1000).describe('How long requests are still taken after readiness fails'),
  deadline: duration('0s', '10m').default(25_000).describe('How long live requests may take to finish'),
});

export const configSchema = z.strictObject({
  listen,
  admin: admin.prefault({}),
  store: store.prefault({}),
  issuers: z.array(issuer).min(1),
  agents: agents.prefault({}),
  proof: proof.prefault({}),
  signals: signals.prefault({}),
  routes: z.array(route).min(1),
  credentials: z.record(name, credential),
  meters: z
    .record(z.string().regex(/^[a-z][a-z0-9_]{0,62}$/, 'must be a name such as calls_per_minute'), meter)
    .default({}),
  drift: drift.prefault({}),
  rules: z.array(path).min(1),
  enforcement: z.enum(['enforce', 'shadow']).default('enforce').describe('With shadow, no rule is enforced'),
  reason: statedReason.prefault({}),
  revocation: revocation.prefault({}),
  audit: audit.prefault({}),
  limits: limits.prefault({}),
  shutdown: shutdown.prefault({}),
  reload: reload.prefault({}),
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }).prefault({}),
});

/** A vetted configuration: durations in milliseconds, sizes in bytes, file paths absolute. */
export type Config = z.output<typeof configSchema>;
