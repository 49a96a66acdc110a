/** Opens the connection to a server that has been looked for first, each time anew. */

import { connect, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector } from 'ioredis';
import { disconnectTimeoutMs, type HostPort, type RedisTls, tlsOptions } from './redis-options.ts';

export type OpenSocket = (at: HostPort) => Socket;

/** Throws a Fault where a file of the TLS settings can't be read. */
export function createOpenSocket(tls: RedisTls | null): OpenSocket {
  return ({ host, port }) =>
    tls === null ? connect({ host, port }) : connectTls({ host, port, ...tlsOptions(tls, host) });
}

export type ConnectorOptions = {
  readonly locate: (signal: AbortSignal) => Promise<HostPort>;
  readonly openSocket: OpenSocket;
  readonly onLocated: (at: HostPort) => void;
};

/** A connector as the client library wants it: a class, of which it makes one object a client. */
export function connectorTo({ locate, openSocket, onLocated }: ConnectorOptions) {
  return class Connector extends AbstractConnector {
    #locating = new AbortController();

    constructor() {
      super(disconnectTimeoutMs);
    }

    async connect(): Promise<Socket> {
      this.connecting = true;
      const locating = new AbortController();
      this.#locating = locating;
      const socket = await this.#open(locating.signal);
      // The library listens for the first error only, and TLS may have two: one that nobody hears ends the process.
      socket.on('error', (error: Error) => {
        this.firstError = error;
      });
      this.stream = socket;
      return socket;
    }

    override disconnect(): void {
      this.#locating.abort();
      if (this.stream?.destroyed === false) super.disconnect();
      else this.connecting = false;
    }

    async #open(signal: AbortSignal): Promise<Socket> {
      try {
        const at = await locate(signal);
        signal.throwIfAborted();
        onLocated(at);
        return openSocket(at);
      } catch (error) {
        // The library takes a rejection for the end of all, and a socket that is closed already for one to try again.
        this.firstError = error instanceof Error ? error : new Error('no connection', { cause: error });
        return new Socket().destroy();
      }
    }
  };
}
