/** Audit files as lines, however large they are: never more of one in memory than a chunk and a line. */

import { createReadStream } from 'node:fs';
import { Fault } from '../errors.ts';

/** Far beyond any record; what is longer is no line of an audit log. */
const lineBytesMax = 4 * 1024 * 1024;
const lineFeed = 0x0a;

/**
 * Every line without its end, as bytes of which a part may be wanted only. Null stands for one that is too long, and for
 * a last one without an end, which is still being written or was torn. Throws a Fault where the file can't be read.
 */
export async function* readAuditLines(file: string): AsyncGenerator<string | null> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  try {
    for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
      let from = 0;
      for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, from)) {
        const part = chunk.subarray(from, end);
        const isTooLong = restBytes + part.length > lineBytesMax;
        yield isTooLong ? null : (rest.length === 0 ? part : Buffer.concat([...rest, part])).toString('utf8');
        rest = [];
        restBytes = 0;
        from = end + 1;
      }
      restBytes += chunk.length - from;
      if (restBytes > lineBytesMax) rest = [];
      else if (from < chunk.length) rest.push(chunk.subarray(from));
    }
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown fault';
    throw new Fault('usage', `${file} cannot be read (${code}); name audit files with --audit`, cause);
  }
  if (restBytes > 0) yield null;
}
