/** The sections issuers and proof. */

import { z } from 'zod';
import { duration, size } from './units.ts';
import { origin, path } from './values.ts';

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

const claims = z.union([z.string().min(1).max(256), z.array(z.string().min(1).max(256)).min(1).max(8)]);

const dialect = z.union(
  [
    z.enum(['rfc9068', 'keycloak', 'entra', 'auth0', 'okta', 'hydra']),
    z.strictObject({
      typ: z
        .array(z.string().regex(/^[A-Za-z0-9!#$&^_.+/-]{0,127}$/, 'must be a media type such as at+jwt, or empty'))
        .min(1)
        .max(8)
        .describe('What the typ of a token may be; the empty text stands for none'),
      agent: claims.describe('Claim, or claims in order, that names who presents a token without act'),
      subject: claims.optional().describe('sub where absent'),
      scope: claims,
      roles: claims.optional().describe('roles where absent'),
    }),
  ],
  'must be rfc9068, keycloak, entra, auth0, okta, hydra or an object with typ, agent and scope',
);

const introspection = z.strictObject({
  url: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }),
  clientId: z.string().min(1).max(256),
  clientSecretFile: path,
  auth: z.enum(['basic', 'post']).default('basic'),
  accept: z.enum(['json', 'jwt']).default('json').describe('jwt asks for signed answers (RFC 9701)'),
  timeout: duration('10ms', '30s').default(2000),
  cache: duration('0s', '60s').default(30_000).describe('How old an answer may become that allows a token'),
  negativeCache: duration('0s', '60s').default(5000).describe('How old an answer may become that refuses a token'),
});

const statusList = z.strictObject({
  check: z
    .enum(['auto', 'required', 'off'])
    .default('auto')
    .describe('auto checks tokens that name a Token Status List; required refuses those that name none'),
  origins: z.array(origin).default([]).describe("Where lists may be fetched from, beside the issuer's own origin"),
  maxAge: duration('1s', '24h').default(300_000).describe('A list older than this is not used, whatever its ttl'),
  maxInflated: size('1KiB', '32MiB').default(8_388_608),
  timeout: duration('10ms', '30s').default(2000),
});

export const issuer = z
  .strictObject({
    issuer: z.string().min(1).max(1024),
    jwksUri: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }).optional(),
    jwksFile: path.optional(),
    algorithms: z.array(tokenAlgorithm).min(1).default(['ES256', 'EdDSA', 'PS256', 'RS256']),
    dialect: dialect.default('rfc9068'),
    introspection: introspection.optional().describe('Where to ask about opaque tokens; for one issuer at most'),
    statusList: statusList.prefault({}),
    clockSkew: duration('0s', '60s').default(30_000),
    tokenMaxLifetime: duration('1m', '366d')
      .optional()
      .describe(
        'A token whose exp is further from its iat is refused; without it nothing is known of how long they live',
      ),
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

export const proof = z.strictObject({
  accept: z
    .array(z.enum(['dpop', 'mtls']))
    .min(1)
    .default(['dpop', 'mtls']),
  window: window.default('strict'),
  nonce: z.enum(['off', 'required']).default('off'),
  nonceSecretFile: path.optional().describe('32 bytes or more, the same on every replica; random where absent'),
  algorithms: z.array(proofAlgorithm).min(1).default(['ES256', 'EdDSA', 'PS256']),
});
