/** A real API behind the sidecar that remembers what it was sent. */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type UpstreamRequest = {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly body: string;
};

export type Upstream = {
  readonly origin: string;
  /** Whole requests, in order of their end. */
  readonly requests: readonly UpstreamRequest[];
  /** Values of a field of the last request. */
  readonly lastField: (name: string) => readonly string[];
  /** Answers differently from now on. */
  readonly answerWith: (answer: (incoming: IncomingMessage, response: ServerResponse) => void) => void;
  readonly close: () => Promise<void>;
};

export async function startUpstream(): Promise<Upstream> {
  const requests: UpstreamRequest[] = [];
  const plain = (_incoming: IncomingMessage, response: ServerResponse) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end('{"ok":true}');
  };
  let answer = plain;
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const { method = '', url = '', rawHeaders } = incoming;
      requests.push({ method, url, rawHeaders, body: Buffer.concat(chunks).toString('utf8') });
      answer(incoming, response);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    lastField: (name) => fieldValues(requests.at(-1)?.rawHeaders ?? [], name),
    answerWith: (next) => {
      answer = next;
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** Every value of a field in a raw header list. */
export function fieldValues(rawHeaders: readonly string[], name: string): readonly string[] {
  return rawHeaders.flatMap((text, index) => {
    const isName = index % 2 === 0 && text.toLowerCase() === name;
    return isName ? [rawHeaders[index + 1] ?? ''] : [];
  });
}
