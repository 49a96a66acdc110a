/** The client's body on its way up: counted, with backpressure, and kept apart from the client's connection. */

import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Fault } from '../errors.ts';
import type { Outcome } from '../exchange.ts';

export type RequestBodyOptions = {
  readonly incoming: IncomingMessage;
  readonly outcome: Outcome;
  readonly bytesMax: number;
  /** Called right before the first read: the place for 100 Continue. */
  readonly beforeBody: (() => void) | undefined;
};

/** The code of the fault that destroys a body which runs over its bound. */
export const bodyTooLarge = 'body_too_large';

/**
 * undici destroys the body of a request that fails. That must not take the client's connection with it, on which the
 * refusal is still to be sent; so undici gets this stream, and the connection only stops being read. Trailers are
 * dropped with `incoming`.
 */
export class RequestBody extends Readable {
  readonly #options: RequestBodyOptions;
  #hasBegun = false;
  #discardTimer: NodeJS.Timeout | null = null;

  constructor(options: RequestBodyOptions) {
    super({ highWaterMark: 65_536 });
    this.#options = options;
  }

  override _read(): void {
    const { incoming, beforeBody } = this.#options;
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      // RFC 9110 §10.1.1: 100 Continue is not for HTTP/1.0, whatever the client expects.
      if (incoming.httpVersion !== '1.0') beforeBody?.();
      incoming.on('data', this.#onData).on('end', this.#onEnd);
    }
    incoming.resume();
  }

  override _destroy(fault: Error | null, callback: (fault?: Error | null) => void): void {
    const { incoming } = this.#options;
    incoming.off('data', this.#onData).off('end', this.#onEnd);
    if (!incoming.complete) incoming.pause();
    callback(fault);
  }

  /**
   * For an upstream that has answered without reading everything: reads the rest and drops it, so that the client can
   * read the answer (RFC 9112 §9.6). Past the bound, or after `waitMs`, the connection is cut.
   */
  discardRest(waitMs: number): void {
    const { incoming, outcome, bytesMax } = this.#options;
    if (incoming.complete || this.#discardTimer !== null) return;
    this.destroy();
    const timer = setTimeout(() => incoming.destroy(), waitMs).unref();
    this.#discardTimer = timer;
    incoming.on('data', (chunk: Buffer) => {
      outcome.bytesIn += chunk.length;
      if (outcome.bytesIn > bytesMax) incoming.destroy();
    });
    incoming.once('close', () => clearTimeout(timer)).once('end', () => clearTimeout(timer));
    incoming.resume();
  }

  readonly #onData = (chunk: Buffer): void => {
    const { incoming, outcome, bytesMax } = this.#options;
    outcome.bytesIn += chunk.length;
    // Content-Length was compared with the bound before; this is for chunked bodies.
    if (outcome.bytesIn > bytesMax) this.destroy(new Fault(bodyTooLarge, 'the body is larger than the route allows'));
    else if (!this.push(chunk)) incoming.pause();
  };

  readonly #onEnd = (): void => {
    this.push(null);
  };
}
