/** Sends what Postern says itself: resource metadata and preflights, which need no token and reach no upstream. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { delivery } from './delivery.ts';
import type { Exchange, OwnAnswer } from './exchange.ts';

export type Respond = (
  exchange: Exchange,
  answer: OwnAnswer,
  incoming: IncomingMessage,
  response: ServerResponse,
) => Promise<void>;

/** The requests have no body, so nothing is left unread. `takeMs` is how long a client may take over the answer. */
export function createRespond({ takeMs }: { readonly takeMs: number }): Respond {
  return async ({ id, outcome }, { status, fields, body }, incoming, response) => {
    if (response.destroyed) {
      outcome.end = 'client_aborted';
      return;
    }
    const isBare = incoming.method === 'HEAD' || status === 204;
    outcome.status = status;
    outcome.bytesOut = isBare ? 0 : Buffer.byteLength(body);
    const length = status === 204 ? [] : ['content-length', String(Buffer.byteLength(body))];
    response.writeHead(status, [...fields.flat(), 'postern-decision', id, ...length]);
    const delivered = delivery(response, takeMs);
    response.end(isBare ? undefined : body);
    await delivered;
    if (!response.writableFinished) outcome.end = 'client_aborted';
  };
}
