/** `postern schema`: the JSON Schema of postern.yaml, for editors. */

import { z } from 'zod';
import { configSchema } from '../config/schema.ts';
import { type ExitCode, exitCodes, type Io } from './output.ts';

export function schema(io: Io): ExitCode {
  const document = { title: 'postern.yaml', ...z.toJSONSchema(configSchema, { io: 'input' }) };
  io.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
  return exitCodes.done;
}
