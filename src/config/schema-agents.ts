/** The section agents. */

import { z } from 'zod';
import { path } from './values.ts';

const claim = z.string().min(1).max(256);

export const agents = z.strictObject({
  file: path.optional().describe('Who answers for which agent; read again when it changes'),
  claims: z
    .strictObject({
      owner: claim.optional().describe('Claim that names the owner of an agent whose entry names none'),
      team: claim.optional().describe('Claim that names the team of an agent whose entry names none'),
      group: claim
        .optional()
        .describe('Claim that names the group whose behaviour is like its own, as group in an entry'),
    })
    .prefault({}),
  refuse: z
    .array(z.enum(['suspended', 'expired', 'unregistered']))
    .default(['suspended', 'expired'])
    .describe('Agents that are refused whatever the rules say'),
});
