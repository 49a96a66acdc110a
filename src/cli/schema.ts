/** `postern schema`: the JSON Schema of a file that people write, for editors. */

import { type ExitCode, exitCodes, type Io } from './output.ts';
import { type SchemaName, schemaDocument } from './schema-documents.ts';

export function schema(name: SchemaName, io: Io): ExitCode {
  io.stdout.write(`${JSON.stringify(schemaDocument(name), null, 2)}\n`);
  return exitCodes.done;
}
