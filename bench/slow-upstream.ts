/** An API in a process of its own that takes its time: `/lazy` answers late, `/large` is a lot. Prints its port. */

import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const lazyMs = 2000;
const chunk = Buffer.alloc(65_536, 'x');
const chunks = 256;

const server = createServer((incoming, response) => {
  incoming.resume();
  if (incoming.url?.endsWith('/large') === true) return sendLarge(response);
  const answer = () => response.end('{"ok":true}');
  incoming.once('end', () => (incoming.url?.endsWith('/lazy') === true ? setTimeout(answer, lazyMs) : answer()));
});
server.keepAliveTimeout = 60_000;
server.requestTimeout = 0;
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.once('disconnect', () => process.exit(0));

/** 16 MiB, no faster than they are taken. */
function sendLarge(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': chunk.length * chunks });
  let left = chunks;
  const send = () => {
    while (left > 0) {
      left -= 1;
      if (!response.write(chunk)) {
        response.once('drain', send);
        return;
      }
    }
    response.end();
  };
  send();
}
