/** The shape of postern.yaml. Strict throughout: an unknown key is an error. Defaults are the safe choice. */

import { z } from 'zod';
import { duration, size } from './units.ts';

const name = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,62}$/, 'must be a lower-case name such as github or calls_per_minute');
const fieldName = z
  .string()
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/, 'must be an HTTP field name')
  .transform((text) => text.toLowerCase());
const method = z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
const path = z.string().min(1).max(4096);

const origin = z.string().superRefine((text, context) => {
  const problem = originProblem(text);
  if (problem !== null) context.addIssue({ code: 'custom', message: problem });
});

function originProblem(text: string): string | null {
  if (!URL.canParse(text)) return 'must be an origin such as https://api.example.com';
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https:// or http://';
  if (url.username !== '' || url.password !== '') return 'must not hold credentials; declare them under credentials';
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || text.includes('?') || text.includes('#')) {
    return 'must be an origin only: no path, query or fragment';
  }
  return null;
}

/** `host:port`, with IPv6 addresses in brackets. */
const address = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, 'must be host:port, such as 0.0.0.0:8080')
  .refine((text) => Number(text.slice(text.lastIndexOf(':') + 1)) <= 65_535, 'must have a port of 65535 at most');

const upstream = z.string().superRefine((text, context) => {
  if (!URL.canParse(text)) {
    context.addIssue({ code: 'custom', message: 'must be a URL such as https://api.example.com' });
    return;
  }
  const url = new URL(text);
  const isBare = url.search === '' && url.hash === '' && url.username === '' && url.password === '';
  if ((url.protocol !== 'https:' && url.protocol !== 'http:') || !isBare) {
    context.addIssue({
      code: 'custom',
      message: 'must be an http or https URL with no credentials, query or fragment',
    });
  }
});

const listen = z.strictObject({
  address: address.default('0.0.0.0:8080'),
  publicOrigin: origin.describe('The origin that agents call. DPoP htu is compared with it, never with Host.'),
  hosts: z.array(z.string().toLowerCase()).min(1).optional().describe('Accepted Host values; any where absent'),
  tls: z
    .strictObject({
      certFile: path,
      keyFile: path,
      clientCaFile: path.optional(),
      clientCert: z.enum(['none', 'request', 'require']).default('none'),
    })
    .optional(),
  trustedProxies: z
    .array(z.string())
    .default([])
    .describe('Addresses or CIDR ranges whose X-Forwarded-For is believed'),
});

const admin = z.strictObject({
  address: address.default('127.0.0.1:9901'),
  tokenFile: path.optional().describe('Required unless the address is loopback'),
});

const store = z
  .strictObject({
    kind: z.enum(['memory', 'redis']).default('memory'),
    url: z
      .string()
      .regex(/^rediss?:\/\//, 'must be a redis:// or rediss:// URL')
      .optional(),
    passwordFile: path.optional().describe('Read instead of a password in the URL'),
    prefix: z
      .string()
      .regex(/^[A-Za-z0-9:_-]{0,64}$/, 'must be letters, digits, colon, dash or underscore')
      .default('postern:'),
    timeout: duration('5ms', '10s').default(100),
  })
  .superRefine((value, context) => {
    if (value.kind === 'redis' && value.url === undefined) {
      context.addIssue({ code: 'custom', path: ['url'], message: 'is required when store.kind is redis' });
    }
    if (value.kind === 'memory' && value.url !== undefined) {
      context.addIssue({ code: 'custom', path: ['url'], message: 'has no meaning when store.kind is memory' });
    }
  });

const proofAlgorithm = z.enum(['ES256', 'ES384', 'EdDSA', 'Ed25519', 'PS256', 'RS256']);
const tokenAlgorithm = z.enum([
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
  'PS256',
  'PS384',
  'PS512',
  'RS256',
  'RS384',
  'RS512',
]);

const issuer = z
  .strictObject({
    issuer: z.string().min(1).max(1024),
    jwksUri: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }).optional(),
    jwksFile: path.optional(),
    algorithms: z.array(tokenAlgorithm).min(1).default(['ES256', 'EdDSA', 'PS256', 'RS256']),
    dialect: z.enum(['rfc9068']).default('rfc9068'),
    clockSkew: duration('0s', '60s').default(30_000),
    keysMaxAge: duration('10s', '24h').default(600_000).describe('A key set older than this is fetched again'),
    keysMaxStale: duration('10s', '7d').default(3_600_000).describe('A key set older than this is not used at all'),
  })
  .refine(
    (value) => value.jwksUri === undefined || value.jwksFile === undefined,
    'takes jwksUri or jwksFile, not both',
  );

const window = z.union([
  z.enum(['strict', 'mcp']),
  z.strictObject({ past: duration('1s', '10m'), future: duration('0s', '10m') }),
]);

const proof = z.strictObject({
  accept: z
    .array(z.enum(['dpop', 'mtls']))
    .min(1)
    .default(['dpop', 'mtls']),
  window: window.default('strict'),
  nonce: z.enum(['off', 'required']).default('off'),
  nonceSecretFile: path.optional().describe('32 bytes or more, the same on every replica; random where absent'),
  algorithms: z.array(proofAlgorithm).min(1).default(['ES256', 'EdDSA', 'PS256']),
});

const route = z.strictObject({
  name,
  match: z.strictObject({
    pathPrefix: z
      .string()
      .regex(/^\/[A-Za-z0-9\-._~!$&'()*+,=:@/%]*$/, 'must begin with a slash and hold only path characters')
      .default('/'),
    hosts: z.array(z.string().toLowerCase()).min(1).optional(),
    methods: z.array(method).min(1).default(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']),
  }),
  upstream,
  stripPrefix: z.boolean().default(false),
  audience: z.string().min(1).max(1024),
  credential: name,
  accept: z
    .array(z.enum(['dpop', 'mtls', 'bearer']))
    .min(1)
    .optional()
    .describe('Overrides proof.accept. With bearer, tokens bound to no key are accepted, and a stolen one then works.'),
  forwardFields: z
    .array(fieldName)
    .default([])
    .describe('Request fields let through although stripped by default, e.g. cookie'),
  maxBody: size('0B', '1GiB').optional().describe('Overrides limits.body'),
  timeouts: z
    .strictObject({ headers: duration('10ms', '10m').default(30_000), body: duration('10ms', '24h').default(300_000) })
    .prefault({}),
});

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
  required: z.boolean().default(false),
  pattern: z.string().max(512).optional().describe('An RE2 expression that the whole reason must match'),
});

const audit = z.strictObject({
  sinks: z
    .array(z.union([z.literal('stdout'), z.strictObject({ file: path })]))
    .min(1)
    .default(['stdout']),
  onFailure: z.enum(['deny', 'continue']).default('deny'),
});

const limits = z.strictObject({
  headers: size('1KiB', '256KiB').default(16_384),
  headerCount: z.int().min(10).max(1000).default(100),
  body: size('0B', '1GiB').default(10_485_760),
  url: size('64B', '64KiB').default(8192),
  token: size('256B', '64KiB').default(12_288),
  proof: size('256B', '16KiB').default(4096),
  connections: z.int().min(1).max(1_000_000).default(10_000),
  requestHeadersTimeout: duration('100ms', '5m').default(10_000),
  requestTimeout: duration('1s', '24h').default(300_000),
  keepAliveTimeout: duration('1s', '10m').default(60_000),
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
  proof: proof.prefault({}),
  routes: z.array(route).min(1),
  credentials: z.record(name, credential),
  meters: z
    .record(z.string().regex(/^[a-z][a-z0-9_]{0,62}$/, 'must be a name such as calls_per_minute'), meter)
    .default({}),
  rules: z.array(path).min(1),
  reason: statedReason.prefault({}),
  audit: audit.prefault({}),
  limits: limits.prefault({}),
  shutdown: shutdown.prefault({}),
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }).prefault({}),
});

/** A vetted configuration: durations in milliseconds, sizes in bytes, file paths absolute. */
export type Config = z.output<typeof configSchema>;
