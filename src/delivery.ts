/** What it takes that a client gets to read an answer, and what it may not take. */

import type { IncomingMessage, ServerResponse } from 'node:http';

/** Settles when the answer is out or the client gone, to which one that reads nothing is helped. */
export function delivery(response: ServerResponse, takeMs: number): Promise<void> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const settle = () => {
      clearTimeout(timer);
      resolve();
    };
    response.once('close', settle).once('finish', settle);
    // An answer that waits behind another has no socket, and its time has not begun.
    const watch = () => {
      timer = setTimeout(() => response.socket?.destroy(), takeMs);
    };
    if (response.socket === null) response.once('socket', watch);
    else watch();
  });
}

/**
 * RFC 9110 §10.1.1: asks for the body with 100 Continue. An answer that waits behind another waits with this too: what
 * is written to a response without a socket, Node puts after that response's own head.
 */
export function sendContinue(response: ServerResponse): void {
  if (response.socket !== null) response.writeContinue();
  else {
    response.once('socket', () => {
      if (!response.headersSent) response.writeContinue();
    });
  }
}

export function hasUnreadBody(incoming: IncomingMessage): boolean {
  if (incoming.complete) return false;
  const length = incoming.headers['content-length'];
  return incoming.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

/** Reads and drops what is left of a body, up to a bound in bytes and in time. */
export function discardBody(incoming: IncomingMessage, bytesMax: number, waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    let bytes = 0;
    const timer = setTimeout(resolve, waitMs);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    incoming.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > bytesMax) done();
    });
    incoming.once('end', done).once('close', done).once('error', done);
    incoming.resume();
  });
}
