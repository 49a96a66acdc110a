/** The section drift: how the behaviour of agents is judged. */

import { z } from 'zod';
import { duration } from './units.ts';
import { fieldName, path } from './values.ts';

export const drift = z.strictObject({
  enabled: z.boolean().default(true).describe('Whether calls are judged by what their agent has always done'),
  secretFile: path
    .optional()
    .describe('Keys the hashes of what is remembered, 32 bytes or more; else one is made and kept in the store'),
  session: z.enum(['key', 'token']).default('key').describe('What calls that follow each other have in common'),
  sessionHeader: fieldName
    .optional()
    .describe('Request field that tells further sessions apart, such as mcp-session-id'),
  destinationFields: z
    .array(z.string().regex(/^[A-Za-z0-9_.$-]{1,128}$/, 'must be a field such as payTo, or a path such as transfer.to'))
    .max(100)
    .default([])
    .describe('Fields of bodies and queries that name a recipient besides those that are recognised'),
  responses: z.boolean().default(true).describe('Whether destinations that responses show are noted'),
  warmUp: z
    .strictObject({
      requests: z.int().min(200).max(1_000_000).default(500),
      time: duration('0s', '30d').default(86_400_000),
    })
    .prefault({})
    .describe('Requests, and time since the first, before an agent is ready'),
  alarm: z
    .strictObject({
      score: z.number().min(0.5).max(0.9999).default(0.999).describe('A call of at least this score is an alarm'),
      latch: z.int().min(1).max(200).default(5).describe('Alarms among the newest 200 calls that latch an agent'),
    })
    .prefault({}),
  agentsInMemory: z
    .int()
    .min(10)
    .max(1_000_000)
    .default(1000)
    .describe('2 to 19 KB each, by history; others wait in the store'),
  flushInterval: duration('100ms', '1m').default(2000).describe('How often what was learned is merged into the store'),
  snapshotDays: z.int().min(0).max(366).default(30).describe('How many days back a baseline can be rolled back'),
});
