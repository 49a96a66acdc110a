/** Loopback servers for the demo: nothing here is ever reachable from another machine. */

import { once } from 'node:events';
import { createServer, type Server } from 'node:http';

export const loopback = '127.0.0.1';

/** Listens on the port that is asked for, or on a free one where that is taken. Port 0 asks for any free one. */
export async function listenOnLoopback(server: Server, port: number): Promise<number> {
  try {
    return await listen(server, port);
  } catch (fault) {
    if (!isTaken(fault) || port === 0) throw fault;
    return listen(server, 0);
  }
}

/** Holds a port, the one asked for if possible, for a server that must know it before it can listen itself. */
export async function reservePort(
  port: number,
): Promise<{ readonly port: number; readonly release: () => Promise<void> }> {
  const holder = createServer();
  const found = await listenOnLoopback(holder, port);
  return { port: found, release: () => closeServer(holder) };
}

/** Stops listening and ends every connection, so that nothing keeps the process alive. */
export async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}

async function listen(server: Server, port: number): Promise<number> {
  server.listen({ host: loopback, port, exclusive: true });
  // once() rejects on 'error', so a taken port surfaces here.
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('a TCP server has a port');
  return address.port;
}

function isTaken(fault: unknown): boolean {
  return fault instanceof Error && 'code' in fault && fault.code === 'EADDRINUSE';
}
