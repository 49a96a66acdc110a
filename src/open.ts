/** The beginning of an exchange, for requests and for connections on which no request could be read. */

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Deny } from './decision.ts';
import type { Exchange, Source } from './exchange.ts';
import { rawResponse } from './listener.ts';
import type { Refusal } from './refuse.ts';

export type OpenOptions = {
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly newId: () => string;
  readonly policyHash: string;
  readonly sourceOf: (incoming: Pick<IncomingMessage, 'socket' | 'rawHeaders'>) => Source;
};

export type OpenExchange = (
  incoming: Pick<IncomingMessage, 'socket' | 'rawHeaders'> & { readonly method?: string | undefined },
) => Exchange;

export function createOpenExchange({ clock, newId, policyHash, sourceOf }: OpenOptions): OpenExchange {
  return (incoming) => {
    const startedMs = performance.now();
    return {
      id: newId(),
      arrivedAtMs: clock(),
      startedMs,
      lapMs: startedMs,
      source: sourceOf(incoming),
      rawMethod: incoming.method ?? '',
      request: null,
      route: null,
      identity: null,
      agent: null,
      standing: null,
      operation: null,
      statedReason: null,
      heldBody: null,
      rates: null,
      rateLimitFields: [],
      policyHash,
      decision: null,
      decidedMs: null,
      failure: null,
      stageMs: {},
      outcome: { status: 0, upstreamStatus: null, bytesIn: 0, bytesOut: 0, end: 'complete' },
    };
  };
}

/** Decides, records and words the refusal of a connection whose bytes were no request. */
export function createRefuseConnection(options: {
  readonly open: OpenExchange;
  readonly refusalFor: (deny: Deny, id: string) => Refusal;
  readonly record: (exchange: Exchange) => void;
}): (socket: Socket, deny: Deny) => string {
  return (socket, deny) => {
    const exchange = options.open({ socket, rawHeaders: [] });
    const { status, fields, body } = options.refusalFor(deny, exchange.id);
    exchange.decision = deny;
    exchange.decidedMs = performance.now();
    exchange.outcome.end = 'refused';
    exchange.outcome.status = status;
    exchange.outcome.bytesOut = Buffer.byteLength(body);
    options.record(exchange);
    return rawResponse(status, fields, body);
  };
}
