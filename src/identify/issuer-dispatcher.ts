/** Connections to what answers for an issuer. */

import { Agent } from 'undici';

/** So many connections to each origin. The timeout holds for connecting, for the fields and for each part of the body. */
export function createIssuerDispatcher(connections: number, timeoutMs: number): Agent {
  return new Agent({
    connections,
    pipelining: 1,
    connect: { timeout: timeoutMs },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: 4000,
    keepAliveMaxTimeout: 60_000,
    maxHeaderSize: 16_384,
  });
}
