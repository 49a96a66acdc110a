/** A WebSocket that stands: bytes both ways, until one side ends it, nothing is said for too long, or it has to end. */

import type { Duplex } from 'node:stream';
import type { Outcome } from '../exchange.ts';
import { callAfter } from './deadline.ts';
import { closeFrame, FrameReader } from './web-socket.ts';

export type TunnelOptions = {
  readonly client: Duplex;
  readonly upstream: Duplex;
  readonly outcome: Outcome;
  /** How long nobody may say anything, or take nothing. */
  readonly idleMs: number;
  /** Until the access token expires. */
  readonly endsInMs: number;
};

/** How long a client may take to go after it was told to. */
const lingerMs = 1000;

/** Settles when both connections are closed, and has written how it ended into `outcome`. */
export function runTunnel({ client, upstream, outcome, idleMs, endsInMs }: TunnelOptions): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const frames = new FrameReader();
  let end: Outcome['end'] | null = null;
  let linger: NodeJS.Timeout | undefined;
  const cut = (why: Outcome['end']) => {
    end ??= why;
    client.destroy();
    upstream.destroy();
  };
  const idle = setTimeout(cut, idleMs, 'upstream_aborted');
  const cancelDeadline = callAfter(endsInMs, () => {
    if (end !== null) return;
    end = 'token_expired';
    upstream.unpipe(client);
    client.unpipe(upstream);
    upstream.destroy();
    // Within a frame nothing can be said: the client sees the connection end where none may end (RFC 6455 §7.1.5).
    if (frames.isBetweenFrames()) client.end(closeFrame('the access token has expired'));
    else client.end();
    client.resume();
    linger = setTimeout(() => client.destroy(), lingerMs);
  });
  const close = (why: Outcome['end'], one: Duplex, other: Duplex) => {
    if (client.closed && upstream.closed) {
      clearTimeout(idle);
      clearTimeout(linger);
      cancelDeadline();
      outcome.end = end ?? 'complete';
      resolve();
    } else if (end !== 'token_expired') {
      // Whoever closes without having said that it sends no more has broken off.
      if (one.readableEnded) other.end();
      else cut(why);
    }
  };

  // One side may send no more and go on listening (RFC 9293 §3.6).
  upstream.allowHalfOpen = true;
  client.on('data', (chunk: Buffer) => {
    outcome.bytesIn += chunk.length;
    idle.refresh();
  });
  upstream.on('data', (chunk: Buffer) => {
    outcome.bytesOut += chunk.length;
    frames.read(chunk);
    idle.refresh();
  });
  client.once('close', () => close('client_aborted', client, upstream));
  upstream.once('close', () => close('upstream_aborted', upstream, client));
  client.pipe(upstream);
  upstream.pipe(client);
  return promise;
}
