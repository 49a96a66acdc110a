/** Where a message ends: the checks against request smuggling (RFC 9112 §6 and §11.2). */

import { type Deny, deny } from '../decision.ts';
import type { Fields } from '../exchange.ts';

const digits = /^[0-9]{1,15}$/;

/**
 * Bytes of body announced: null for chunked, 0 for none. Anything that two parsers could frame differently is a Deny,
 * and the connection is closed, for nobody knows where the next request begins.
 */
export function bodyBytesOf(fields: Fields, version: '1.0' | '1.1'): number | null | Deny {
  const lengths = fields.get('content-length');
  const codings = fields.get('transfer-encoding');
  if (codings !== undefined) {
    // RFC 9112 §6.1: a request with both ought to be handled as an error.
    if (lengths !== undefined) return malformed('Content-Length and Transfer-Encoding together');
    // RFC 9112 §6.1: Transfer-Encoding came with HTTP/1.1; on 1.0 the framing must be treated as faulty.
    if (version === '1.0') return malformed('Transfer-Encoding on HTTP/1.0');
    // Stricter than RFC 9112 §6.1, which allows other codings before a last chunked. Node's parser takes those, and
    // answers `identity` and `xchunked` with a request that has no end.
    if (codings.length !== 1 || codings[0]?.toLowerCase() !== 'chunked') {
      return malformed('a Transfer-Encoding other than chunked');
    }
    // Node's parser says nothing of whatever is wrong with the chunks of a request with Upgrade, and waits.
    if (fields.has('upgrade')) return malformed('Transfer-Encoding together with Upgrade');
    return null;
  }
  if (lengths === undefined) return 0;
  // Stricter than RFC 9112 §6.3 (5), which lets equal repeated lengths pass.
  if (lengths.length !== 1) return malformed('more than one Content-Length');
  const length = lengths[0] ?? '';
  if (!digits.test(length)) return malformed('a Content-Length that is no length');
  return Number(length);
}

function malformed(cause: string): Deny {
  return deny('request_malformed', { cause, close: true });
}
