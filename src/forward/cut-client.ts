/** Ways to end the client's connection so that what is left unsaid cannot pass for the end of the answer. */

import type { IncomingMessage, ServerResponse } from 'node:http';

/** Makes sure that the client can tell a cut response from a complete one. */
export function truncate(incoming: IncomingMessage, response: ServerResponse): void {
  const { socket } = response;
  // RFC 9112 §8: to an HTTP/1.0 client the end of the connection is the end of the body; only a reset is none. TLS has
  // its own sign, the missing close_notify.
  if (incoming.httpVersion === '1.0' && socket !== null && !('encrypted' in socket)) socket.resetAndDestroy();
  else response.destroy();
}

/**
 * The client took nothing for too long. Cut off, it counts as a client that went away. With a reset where there is one:
 * what was sent would else stay in the kernel for as long as the client does not read.
 */
export function cutStalled({ socket }: IncomingMessage): void {
  if ('encrypted' in socket) socket.destroy();
  else socket.resetAndDestroy();
}
