/** The data listener: limits and timeouts on node:http, connections that never become a request, and draining. */

import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { splitAddress } from './address.ts';
import type { Config } from './config/schema.ts';
import { type Deny, deny } from './decision.ts';
import type { Handle } from './handle.ts';

export type ListenerOptions = {
  readonly listen: Config['listen'];
  readonly limits: Config['limits'];
  readonly handle: Handle;
  /** Answers and records a connection on which no request could be read; returns the raw response, or null for none. */
  readonly refuseConnection: (socket: Socket, reason: Deny) => string;
};

export type Listener = {
  readonly start: () => Promise<number>;
  /** Takes no more connections, lets live requests finish until the deadline, then cuts what is left. */
  readonly drain: (deadlineMs: number) => Promise<void>;
};

export function createListener({ listen, limits, handle, refuseConnection }: ListenerOptions): Listener {
  const options = {
    // Node counts the target too. A little more than our own limits, so that vetting gives the documented answer and
    // the parser has only the last word.
    maxHeaderSize: limits.headers + limits.url + 1024,
    headersTimeout: limits.requestHeadersTimeout,
    requestTimeout: limits.requestTimeout,
    keepAliveTimeout: limits.keepAliveTimeout,
    connectionsCheckingInterval: Math.min(1000, limits.requestHeadersTimeout),
    insecureHTTPParser: false,
    requireHostHeader: false,
    joinDuplicateHeaders: false,
    rejectNonStandardBodyWrites: true,
    highWaterMark: 65_536,
    noDelay: true,
  };
  const server =
    listen.tls === undefined ? createServer(options) : createTlsServer({ ...options, ...tlsOptions(listen.tls) });
  // Our own count answers with 431; Node would drop fields beyond its bound without a word.
  server.maxHeadersCount = 0;
  server.maxConnections = limits.connections;
  server.maxRequestsPerSocket = 0;
  let live = 0;
  let onIdle: (() => void) | null = null;
  /** Sockets with an exchange under way: what goes wrong on one of these is that exchange's to end. */
  const busy = new WeakSet<Duplex>();
  const serve = (incoming: IncomingMessage, response: ServerResponse) => {
    const { socket } = incoming;
    live += 1;
    busy.add(socket);
    void handle(incoming, response).finally(() => {
      busy.delete(socket);
      live -= 1;
      if (live === 0) onIdle?.();
    });
  };
  server.on('request', serve);
  // The decision comes first: a client that waits for 100 Continue sends its body only after an allow.
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);
  server.on('connect', (_incoming: IncomingMessage, socket: Duplex) => {
    socket.end(refuseConnection(socket as Socket, deny('method_not_allowed', { close: true })));
  });
  server.on('clientError', (fault: Error & { code?: string }, socket: Duplex) => {
    // Nobody is there any more, or an exchange has the socket: there is nothing to say, or no place to say it.
    if (fault.code === 'ECONNRESET' || !socket.writable || busy.has(socket)) socket.destroy();
    else socket.end(refuseConnection(socket as Socket, reasonFor(fault.code)), () => socket.destroy());
  });

  return {
    start: () =>
      new Promise((resolve, reject) => {
        const { host, port } = splitAddress(listen.address);
        server.once('error', reject);
        server.listen({ host, port, backlog: 1024 }, () => {
          server.off('error', reject);
          resolve((server.address() as AddressInfo).port);
        });
      }),
    async drain(deadlineMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      if (live > 0) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, deadlineMs);
          onIdle = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      server.closeAllConnections();
      await closed;
    },
  };
}

function tlsOptions(tls: NonNullable<Config['listen']['tls']>) {
  return {
    cert: readFileSync(tls.certFile),
    key: readFileSync(tls.keyFile),
    ...(tls.clientCaFile === undefined ? {} : { ca: readFileSync(tls.clientCaFile) }),
    minVersion: 'TLSv1.2' as const,
    ALPNProtocols: ['http/1.1'],
    requestCert: tls.clientCert !== 'none',
    // RFC 8705 §2.2: a self-signed certificate binds as well as any; a CA is asked only where one is configured.
    rejectUnauthorized:
      tls.clientCert === 'require' || (tls.clientCert === 'request' && tls.clientCaFile !== undefined),
    handshakeTimeout: 10_000,
  };
}

function reasonFor(code: string | undefined): Deny {
  const cause = code ?? 'unknown parser fault';
  if (code === 'HPE_HEADER_OVERFLOW') return deny('headers_too_large', { cause, close: true });
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return deny('request_timeout', { cause, close: true });
  return deny('request_malformed', { cause, close: true });
}

/** A whole response as text, for a socket on which no ServerResponse exists. */
export function rawResponse(status: number, fields: readonly (readonly [string, string])[], body: string): string {
  const head = [...fields, ['connection', 'close'] as const].map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\ndate: ${new Date().toUTCString()}\r\n${head}\r\n${body}`;
}
