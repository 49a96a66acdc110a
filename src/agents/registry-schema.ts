/** The shape of an agents file. Strict: an unknown key is an error. */

import { z } from 'zod';

const line = (most: number) =>
  z
    .string()
    .min(1)
    .max(most, `must have ${most} characters at most`)
    .refine((text) => !/\p{Cc}/u.test(text), 'must have no control characters');

const dateTimeShape = z.iso.datetime({ offset: true });

/** RFC 3339 §5.6, with the seconds that zod would let one leave out. */
const dateTime = z
  .string()
  .refine(
    (text) => /^.{10}T\d\d:\d\d:\d\d/.test(text) && dateTimeShape.safeParse(text).success,
    'must be an RFC 3339 date and time such as 2027-01-31T12:00:00Z',
  );

const registeredAgent = z.strictObject({
  id: line(1024).describe('As in agent.id'),
  issuer: line(1024).optional().describe('The issuer that says so; without it, every one'),
  owner: line(256).describe('The human who answers for the agent'),
  team: line(256).optional(),
  group: line(256).optional().describe('Agents that do the same job name the same one; without it, the team'),
  contact: line(256).optional().describe('For people: where to ask about it'),
  status: z.enum(['active', 'suspended']).default('active'),
  expires: dateTime.optional().describe('From then on its status is expired'),
});

export const agentsFileSchema = z.strictObject({
  agents: z.array(registeredAgent).max(10_000, 'must have 10000 agents at most'),
});

export type WrittenAgent = z.output<typeof registeredAgent>;
