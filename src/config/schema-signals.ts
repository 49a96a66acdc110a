/** The section signals: transmitters of security events (OpenID Shared Signals Framework), and how they reach us. */

import { z } from 'zod';
import { duration } from './units.ts';
import { address, name, path } from './values.ts';

const url = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' });

/** RFC 9493 §3.2, and the form `complex` of the framework is always understood. */
const subjectFormat = z.enum(['iss_sub', 'opaque', 'email', 'account', 'phone_number', 'did', 'uri']);

const poll = z.strictObject({
  endpoint: url,
  tokenFile: path.describe('Sent to the transmitter as a Bearer token; read for each question'),
  interval: duration('100ms', '1h').default(5000).describe('Between questions that bring nothing'),
  longPoll: z.boolean().default(true).describe('Whether the transmitter may hold its answer until there are events'),
  timeout: duration('1s', '10m').default(60_000).describe('Longer than the transmitter holds an answer'),
  maxEvents: z.int().min(1).max(1000).default(100),
});

const transmitter = z
  .strictObject({
    name: name.describe('For metrics and logs, and in the path of its push endpoint'),
    issuer: z.string().min(1).max(256).describe('Compared exactly with iss'),
    audience: z.string().min(1).max(1024).describe('What aud must contain'),
    jwksUri: url.optional(),
    jwksFile: path.optional(),
    algorithms: z
      .array(
        z.enum(['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519', 'PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512']),
      )
      .min(1)
      .default(['ES256', 'EdDSA', 'PS256', 'RS256']),
    push: z.strictObject({ tokenFile: path.describe('What the transmitter must send as a Bearer token') }).optional(),
    poll: poll.optional(),
    users: z
      .array(subjectFormat)
      .default(['iss_sub', 'opaque', 'email', 'account', 'phone_number', 'did', 'uri'])
      .describe('Formats of subjects that name users'),
    agents: z.array(subjectFormat).default([]).describe('Formats of subjects that name agents'),
    speaksFor: z
      .array(z.string().min(1).max(1024))
      .min(1)
      .optional()
      .describe('Token issuers whose subjects it may revoke; every one where absent'),
    maxAge: duration('1h', '90d').default(604_800_000).describe('An event token older than this is refused'),
  })
  .refine((value) => value.jwksUri === undefined || value.jwksFile === undefined, 'takes jwksUri or jwksFile, not both')
  .refine((value) => value.push !== undefined || value.poll !== undefined, 'needs push, poll or both');

export const signals = z.strictObject({
  address: address.optional().describe('Where transmitters push to; required with a push'),
  tls: z.strictObject({ certFile: path, keyFile: path }).optional(),
  keepFor: duration('1h', '366d')
    .default(2_592_000_000)
    .describe('How long a revocation of older tokens is kept: longer than any access token lives'),
  transmitters: z.array(transmitter).max(32).default([]),
});
