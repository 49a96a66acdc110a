/** The shape of a rule file. Strict throughout: an unknown key is an error. */

import { z } from 'zod';

const durationSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Whole seconds, because RFC 9470 §3 counts max_age so. */
const maxAge = z
  .string()
  .regex(/^\d{1,6}[smhd]$/, 'must be a duration of whole seconds such as 60s, 5m, 1h or 30d')
  .transform((text) => Number(text.slice(0, -1)) * (durationSeconds[text.slice(-1)] ?? Number.NaN));

/** What a challenge may carry unescaped: RFC 6749's NQCHAR, which is also what acr values are made of. */
const acrValue = z
  .string()
  .max(256)
  .regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'must be printable ASCII without space, quote or backslash');

const challenge = z
  .strictObject({
    acrValues: z
      .array(acrValue)
      .min(1)
      .max(16)
      .optional()
      .describe('Which logins would do, the best first (acr_values)'),
    maxAge: maxAge.optional().describe('How old the login may be, such as 5m'),
  })
  .refine((value) => value.acrValues !== undefined || value.maxAge !== undefined, 'needs acrValues, maxAge or both');

/** Told to the agent and written to the audit record, so one line of plain text. */
const message = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[^\p{C}\p{Zl}\p{Zp}]*$/u, 'must be one line without control characters');

export const ruleSchema = z
  .strictObject({
    id: z
      .string()
      .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'must be a lower-case name such as reads-need-the-read-scope')
      .describe('Unique in the whole rule set; told to the agent, recorded and counted'),
    description: z.string().max(2048).optional().describe('For people'),
    routes: z
      .array(z.string().max(64))
      .min(1)
      .max(1000)
      .optional()
      .describe('Routes that the rule is for; every route without it'),
    when: z.string().min(1).describe('Whether the rule matches: a CEL expression of type bool'),
    effect: z.enum(['allow', 'deny', 'throttle', 'challenge']).describe('What a match means'),
    message: message.optional().describe('Told to the agent as detail of a refusal'),
    mode: z
      .enum(['enforce', 'shadow'])
      .default('enforce')
      .describe('With shadow: evaluated, counted and recorded, never enforced'),
    challenge: challenge
      .optional()
      .describe('Which login is asked for; with effect: challenge only, and required there'),
  })
  .superRefine((value, context) => {
    if (value.effect === 'challenge' && value.challenge === undefined) {
      context.addIssue({ code: 'custom', path: ['challenge'], message: 'is required with effect: challenge' });
    }
    if (value.effect !== 'challenge' && value.challenge !== undefined) {
      context.addIssue({ code: 'custom', path: ['challenge'], message: 'has no meaning without effect: challenge' });
    }
  });

export const ruleFileSchema = z.strictObject({
  mode: z.enum(['enforce', 'shadow']).default('enforce').describe('With shadow, no rule of the file is enforced'),
  rules: z.array(ruleSchema).describe('In the order in which the first of several matches is told'),
});

export type WrittenRule = z.output<typeof ruleSchema>;
