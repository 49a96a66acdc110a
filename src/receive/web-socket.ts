/** The client's side of the handshake that opens a WebSocket (RFC 6455 §4.2.1). */

import type { IncomingMessage } from 'node:http';
import { type Deny, deny } from '../decision.ts';
import type { Fields } from '../exchange.ts';
import { listOf } from './fields.ts';

// RFC 6455 §4.1: 16 bytes in base64. The last character before the padding holds two bits.
const keyForm = /^[A-Za-z0-9+/]{21}[AQgw]==$/;

/**
 * Whether the listener is to let go of this connection's parser. Anything else stays with the parser, and is refused or
 * has its Upgrade ignored: a handshake has no body and is alone on its connection.
 */
export function isWebSocketHandshake({ method, httpVersion, headers }: IncomingMessage): boolean {
  const length = headers['content-length'];
  return (
    method === 'GET' &&
    httpVersion === '1.1' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    (length === undefined || length === '0') &&
    headers['transfer-encoding'] === undefined
  );
}

/** The key of a handshake; undefined for a request that is none. `isUpgrade` where the parser has let go already. */
export function webSocketKeyOf(fields: Fields, isUpgrade: boolean): string | undefined | Deny {
  // Any other upgrade may be ignored (RFC 9110 §7.8). A WebSocket client would wait for an answer that never comes.
  const isWanted = listOf(fields, 'upgrade').some((protocol) => protocol.startsWith('websocket'));
  if (!isWanted && !isUpgrade) return undefined;
  if (!isWanted || !isUpgrade) return malformed('an upgrade to WebSocket');
  if (!listOf(fields, 'connection').includes('upgrade')) return malformed('a Connection field without upgrade');
  if (fields.has('expect')) return malformed('an expectation in a WebSocket handshake');
  // RFC 6455 §4.2.1 (6): the version is 13. Nobody has another one, so none is offered in return (§4.4).
  const versions = fields.get('sec-websocket-version') ?? [];
  if (versions.length !== 1 || versions[0] !== '13') return malformed('a WebSocket version other than 13');
  // RFC 6455 §4.2.1 (5) and §11.3.1: exactly one key.
  const [key = '', ...others] = fields.get('sec-websocket-key') ?? [];
  return others.length === 0 && keyForm.test(key) ? key : malformed('no valid Sec-WebSocket-Key, or several');
}

function malformed(cause: string): Deny {
  return deny('request_malformed', { cause, close: true });
}
