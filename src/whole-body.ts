/** Bodies that are read whole, to the end or to a bound, and what they say they are. */

import { Buffer } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { Dispatcher } from 'undici';

type ResponseBody = Dispatcher.ResponseData['body'];

/** The whole body; null where it is larger, and then the rest is not read. Rejects where the body breaks off. */
export async function readResponseBody(body: ResponseBody, bytesMax: number): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The same of a request. The connection stays whole, so that whoever sent too much can read so. */
export function readRequestBody(
  incoming: IncomingMessage,
  bytesMax: number,
): Promise<Buffer | 'too large' | 'aborted'> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    incoming.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= bytesMax) chunks.push(chunk);
      else resolve('too large');
    });
    incoming.once('end', () => resolve(Buffer.concat(chunks)));
    incoming.once('error', () => resolve('aborted'));
  });
}

/** For an answer that nobody wants the body of. */
export function discardResponseBody(body: ResponseBody): void {
  body.on('error', () => undefined).destroy();
}

/** The media type of a Content-Type field, lower case, without parameters; the empty text where there is none. */
export function contentTypeOf(field: string | string[] | undefined): string {
  return typeof field === 'string' ? (field.split(';')[0] ?? '').trim().toLowerCase() : '';
}
