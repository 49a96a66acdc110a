/** The section routes. */

import { z } from 'zod';
import { duration, size } from './units.ts';
import { fieldName, method, name, origin, path, upstream } from './values.ts';

export const route = z.strictObject({
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
  scopes: z
    .array(
      z
        .string()
        .regex(
          /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/,
          'must be a scope: printable ASCII without space, quote or backslash',
        ),
    )
    .max(256)
    .default([])
    .describe('Scopes that clients may ask for, as told to them in the resource metadata'),
  cors: z
    .strictObject({ origins: z.array(origin).min(1), maxAge: duration('0s', '24h').default(600_000) })
    .optional()
    .describe('Web pages of these origins may call; preflights are answered without authentication'),
  accept: z
    .array(z.enum(['dpop', 'mtls', 'bearer']))
    .min(1)
    .optional()
    .describe('Overrides proof.accept. With bearer, tokens bound to no key are accepted, and a stolen one then works.'),
  forwardFields: z
    .array(fieldName)
    .default([])
    .describe('Request fields let through although stripped by default, e.g. cookie, or names with _ or .'),
  maxBody: size('0B', '1GiB').optional().describe('Overrides limits.body'),
  bodyBinding: z
    .enum(['verify', 'required'])
    .default('verify')
    .describe('verify checks content_digest of proofs that have it; required refuses writes and bodies without it'),
  openapi: path.optional().describe('OpenAPI document of the API, whose operations request.operation names'),
  inspectBody: z
    .strictObject({
      json: z.boolean().default(false).describe('Whether JSON bodies are read before the decision, for rules to see'),
      max: size('1B', '1MiB').default(65_536),
    })
    .prefault({}),
  allowInPath: z
    .array(z.enum(['encoded-slash', 'semicolon', 'empty-segments', 'double-encoding']))
    .default([])
    .describe('What servers read differently in a path, and this API needs'),
  leakGuard: z
    .enum(['on', 'off'])
    .default('on')
    .describe('Whether answers are searched for the credential, in all its spellings, and held back with it'),
  websocket: z.boolean().default(false).describe('Whether WebSockets may be opened. They end as the token expires.'),
  endAtTokenExpiry: z.boolean().default(false).describe('Whether other responses end as the token expires, too'),
  timeouts: z
    .strictObject({ headers: duration('10ms', '10m').default(30_000), body: duration('10ms', '24h').default(300_000) })
    .prefault({}),
});
