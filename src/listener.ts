/** The data listener: limits and timeouts on node:http, connections that never become a request, and draining. */

import { createServer, type IncomingMessage, type ServerOptions, ServerResponse, STATUS_CODES } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { listenAt } from './address.ts';
import type { Config } from './config/schema.ts';
import { type Deny, deny } from './decision.ts';
import type { Handle } from './handle.ts';
import { createRenew, type Renewal, readCertificates } from './tls-files.ts';

export type ListenerOptions = {
  readonly listen: Config['listen'];
  readonly limits: Config['limits'];
  readonly handle: Handle;
  /** Records a connection on which no request could be read; returns the raw response for it. */
  readonly refuseConnection: (socket: Socket, reason: Deny) => string;
  /** A connection could not be accepted, or an exchange failed beyond its own means. The listener goes on. */
  readonly onFault: (fault: unknown) => void;
  /** What is taken off the HTTP parser's hands because it may open a WebSocket; nothing where absent. */
  readonly isHandshake?: ((incoming: IncomingMessage) => boolean) | undefined;
  /** Live exchanges have been cut: what else they wait for is to be given up. */
  readonly onCut?: () => unknown;
};

export type Listener = {
  /** Gives the port. Throws a Fault where the address can't be had. */
  readonly start: () => Promise<number>;
  /** Gives new connections the certificate that the files hold by now. */
  readonly renewCertificates: () => Renewal;
  /** From now on each answer closes its connection, so that clients which keep one alive go elsewhere in peace. */
  readonly releaseClients: () => void;
  /** Takes no more connections, lets live requests finish until the deadline, then cuts what is left. */
  readonly drain: (deadlineMs: number) => Promise<void>;
};

/** How long exchanges that were cut may take to write their records. */
const settleMs = 1000;

export function createListener(options: ListenerOptions): Listener {
  const { listen, handle, refuseConnection, onFault } = options;
  const { isHandshake } = options;
  const { server, renewCertificates } = createHttpServer(options, {
    // Whatever an earlier request on the connection still waits for would be written into the tunnel.
    shouldUpgradeCallback: (incoming) => isHandshake?.(incoming) === true && !isBusy(incoming.socket),
  });
  const sockets = new Set<Socket>();
  let isReleasing = false;
  let live = 0;
  let onIdle: (() => void) | null = null;
  /** Exchanges under way by socket: what goes wrong on one of these is theirs to end. Pipelining makes it several. */
  const busy = new WeakMap<Duplex, number>();
  const latest = new WeakMap<Duplex, IncomingMessage>();
  /** Sockets of which the parser can make nothing any more. */
  const broken = new WeakSet<Duplex>();
  const serve = (incoming: IncomingMessage, response: ServerResponse) => {
    const { socket } = incoming;
    live += 1;
    busy.set(socket, (busy.get(socket) ?? 0) + 1);
    latest.set(socket, incoming);
    // Node's parser drops what else is in the packet after a request with Upgrade, though no upgrade is made: where the
    // next request begins would depend on how the bytes were cut. RFC 9110 §7.8: an upgrade may be ignored.
    if (isReleasing || incoming.headers.upgrade !== undefined) response.shouldKeepAlive = false;
    void handle(incoming, response)
      .catch(onFault)
      .finally(() => {
        busy.set(socket, (busy.get(socket) ?? 1) - 1);
        live -= 1;
        if (live === 0) onIdle?.();
      });
  };
  const isBusy = (socket: Duplex) => (busy.get(socket) ?? 0) > 0;
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('request', serve);
  // The decision comes first: a client that waits for 100 Continue sends its body only after an allow.
  server.on('checkContinue', serve);
  server.on('checkExpectation', serve);
  server.on('connect', (_incoming: IncomingMessage, socket: Duplex) => {
    // Node has let go of this socket: without a listener its error would end the process.
    socket.on('error', () => {});
    if (isBusy(socket)) socket.destroy();
    else answerAndClose(socket, refuseConnection(socket as Socket, tunnelRefused));
  });
  if (isHandshake !== undefined) {
    server.on('upgrade', (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => {});
      socket.unshift(head);
      serve(incoming, responseOn(socket as Socket, incoming));
    });
  }
  server.on('clientError', (fault: Error & { code?: string }, socket: Duplex) => {
    if (fault.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    // RFC 9112 §9.6: what follows a request that asks to close is ignored, and that request gets its answer.
    else if (fault.code === 'HPE_CLOSED_CONNECTION' && isBusy(socket)) return;
    else if (!isBusy(socket)) answerAndClose(socket, refuseConnection(socket as Socket, reasonFor(fault.code)));
    else if (!broken.has(socket)) {
      broken.add(socket);
      // An exchange has the socket, so there is no place for an answer. What follows a whole request gets its record.
      if (latest.get(socket)?.complete === true) refuseConnection(socket as Socket, reasonFor(fault.code));
      // The exchange may be about to refuse for this very reason: what it writes in this turn still goes out.
      setImmediate(() => (socket as Socket).destroySoon());
    }
  });

  const idle = (deadlineMs: number) =>
    new Promise<void>((resolve) => {
      if (live === 0) return resolve();
      const timer = setTimeout(resolve, deadlineMs);
      onIdle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  return {
    async start() {
      const port = await listenAt(server, listen.address, 'listen.address');
      server.on('error', onFault);
      return port;
    },
    renewCertificates,
    releaseClients: () => {
      isReleasing = true;
    },
    async drain(deadlineMs) {
      isReleasing = true;
      // This closes idle connections too.
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await idle(deadlineMs);
      // All of them: the server's own list has neither tunnels that were asked for nor handshakes under way.
      for (const socket of sockets) socket.destroy();
      await closed;
      if (live > 0) options.onCut?.();
      await idle(settleMs);
    },
  };
}

// RFC 9110 §10.2.1: an empty Allow says that the resource takes no method at all, and there is no such resource here.
const tunnelRefused = deny('method_not_allowed', { close: true, allowedMethods: [] });

function createHttpServer({ listen, limits }: Pick<ListenerOptions, 'listen' | 'limits'>, more: ServerOptions) {
  const options = {
    ...more,
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
  const secured = listen.tls === undefined ? null : createSecureServer(options, listen.tls);
  const server = secured?.server ?? createServer(options);
  if (listen.tls?.clientCaFile !== undefined) server.on('secureConnection', refuseForeign);
  // Our own count answers with 431; Node would drop fields beyond its bound without a word.
  server.maxHeadersCount = 0;
  server.maxConnections = limits.connections;
  server.maxRequestsPerSocket = 0;
  const renewCertificates = secured?.renew ?? ((): Renewal => ({ outcome: 'unchanged' }));
  return { server, renewCertificates };
}

function createSecureServer(options: ServerOptions, tls: NonNullable<Config['listen']['tls']>) {
  const certificates = readCertificates(tls);
  const server = createTlsServer({
    ...options,
    ...certificates,
    ALPNProtocols: ['http/1.1'],
    requestCert: tls.clientCert !== 'none',
    // Node takes this as: a certificate, and a good one. What is only requested is looked at in refuseForeign.
    rejectUnauthorized: tls.clientCert === 'require',
    handshakeTimeout: 10_000,
  });
  return { server, renew: createRenew(server, tls, certificates) };
}

/**
 * RFC 8705 §2.2: a self-signed certificate binds as well as any; a CA is asked only where one is configured. Where the
 * certificate is only requested, Node would let one of another CA pass with a note.
 */
function refuseForeign(socket: TLSSocket): void {
  if (!socket.authorized && socket.getPeerX509Certificate() !== undefined) socket.destroy();
}

/**
 * Node has let go of the parser and made no response. Until the tunnel stands this one answers as any would, and then
 * closes the connection: what the client has sent after its handshake was meant for nobody else, and is never read.
 */
function responseOn(socket: Socket, incoming: IncomingMessage): ServerResponse {
  const response = new ServerResponse(incoming);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => {
    if (response.socket === socket) socket.destroySoon();
  });
  return response;
}

function answerAndClose(socket: Duplex, response: string): void {
  socket.end(response, () => socket.destroy());
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
