/** A WebSocket that stands: bytes both ways, until one side ends it, nothing is said for too long, or it has to end. */

import type { Duplex } from 'node:stream';
import type { Outcome, Standing } from '../exchange.ts';
import type { LeakGuard } from '../leak-search.ts';
import { callAfter } from './deadline.ts';
import { TunnelFrames } from './tunnel-frames.ts';
import { closeFrame } from './web-socket.ts';

export type TunnelOptions = {
  readonly client: Duplex;
  readonly upstream: Duplex;
  readonly outcome: Outcome;
  /** Null where nothing is searched. */
  readonly guard: LeakGuard | null;
  /** How long nobody may say anything, or take nothing. */
  readonly idleMs: number;
  /** Until the access token expires. */
  readonly endsInMs: number;
  /** Told when the call is revoked. */
  readonly standing?: Pick<Standing, 'revokedBy' | 'onRevoked'> | undefined;
};

/** How long a client may take to go after it was told to. */
const lingerMs = 1000;

/** Settles when both connections are closed, and has written how it ended into `outcome`. */
export function runTunnel(options: TunnelOptions): Promise<void> {
  const { client, upstream, outcome, guard, idleMs, endsInMs, standing } = options;
  const { promise, resolve } = Promise.withResolvers<void>();
  const frames = new TunnelFrames(guard);
  let end: Outcome['end'] | null = null;
  let linger: NodeJS.Timeout | undefined;
  const cut = (why: Outcome['end']) => {
    end ??= why;
    client.destroy();
    upstream.destroy();
  };
  const idle = setTimeout(cut, idleMs, 'upstream_aborted');
  const dismiss = (why: 'token_expired' | 'revoked', words: string) => {
    if (end !== null) return;
    end = why;
    client.unpipe(upstream);
    upstream.destroy();
    // Within a frame nothing can be said: the client sees the connection end where none may end (RFC 6455 §7.1.5).
    if (frames.isBetweenFrames()) client.end(closeFrame(words));
    else client.end();
    client.resume();
    linger = setTimeout(() => client.destroy(), lingerMs);
  };
  const cancelDeadline = callAfter(endsInMs, () => dismiss('token_expired', 'the access token has expired'));
  if (standing !== undefined) standing.onRevoked = () => dismiss('revoked', 'access has been revoked');
  const close = (why: Outcome['end'], one: Duplex, other: Duplex) => {
    if (client.closed && upstream.closed) {
      clearTimeout(idle);
      clearTimeout(linger);
      cancelDeadline();
      if (standing !== undefined) standing.onRevoked = null;
      outcome.end = end ?? 'complete';
      resolve();
    } else if (end !== 'token_expired' && end !== 'revoked') {
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
    if (end !== null) return;
    const safe = frames.push(chunk);
    if (safe === null) {
      cut('leak_blocked');
      return;
    }
    outcome.bytesOut += safe.length;
    idle.refresh();
    if (client.write(safe)) return;
    upstream.pause();
    client.once('drain', () => upstream.resume());
  });
  upstream.once('end', () => client.end(frames.rest()));
  client.once('close', () => close('client_aborted', client, upstream));
  upstream.once('close', () => close('upstream_aborted', upstream, client));
  client.pipe(upstream);
  return promise;
}
