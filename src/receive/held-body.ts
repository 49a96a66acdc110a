/** A body that has to be known before the decision: read whole, within bounds of size and time. */

import type { IncomingMessage } from 'node:http';
import { type Deny, deny } from '../decision.ts';
import type { Outcome } from '../exchange.ts';

export type ReadWholeBody = (read: {
  readonly incoming: IncomingMessage;
  readonly bytesMax: number;
  readonly outcome: Outcome;
  /** Called right before the first read: the place for 100 Continue. */
  readonly beforeBody: (() => void) | undefined;
}) => Promise<Buffer | Deny>;

/** `timeoutMs` is for the whole body, so that a client which sends a byte now and then gains nothing by it. */
export function createReadWholeBody({ timeoutMs }: { readonly timeoutMs: number }): ReadWholeBody {
  return async ({ incoming, bytesMax, outcome, beforeBody }) => {
    // A client that has left already sends no more, and no event tells of it any more.
    if (incoming.destroyed && !incoming.readableEnded) return cutOff;
    // RFC 9110 §10.1.1: 100 Continue is not for HTTP/1.0, whatever the client expects.
    if (incoming.httpVersion !== '1.0') beforeBody?.();
    return new Promise((resolve) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      const settle = (result: Buffer | Deny) => {
        clearTimeout(timer);
        incoming.off('data', onData).off('end', onEnd).off('close', onCut).off('error', onCut);
        // What is left unread is for whoever answers to read or to cut off.
        if (!incoming.complete) incoming.pause();
        resolve(result);
      };
      const onData = (chunk: Buffer) => {
        bytes += chunk.length;
        outcome.bytesIn += chunk.length;
        if (bytes > bytesMax) settle(deny('body_too_large', { close: true }));
        else chunks.push(chunk);
      };
      const onEnd = () => settle(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks));
      const onCut = () => settle(cutOff);
      const timer = setTimeout(() => settle(tooSlow), timeoutMs);
      incoming.on('data', onData).on('end', onEnd).on('close', onCut).on('error', onCut);
      incoming.resume();
    });
  };
}

const cutOff = deny('request_malformed', { cause: 'the body was cut off', close: true });
const tooSlow = deny('request_timeout', { cause: 'the body took too long', close: true });
