/** HTTP by hand: clients and servers that say exactly the bytes that a test wants said. */

import { EventEmitter, once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import { type AddressInfo, connect, createServer as createNetServer, type Server, type Socket } from 'node:net';

/** Listens on a free port of the loopback interface. */
export async function listenOn(server: Server | HttpServer): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** A client connection whose received bytes can be waited for. Bytes are latin1 text in both directions. */
export class RawClient {
  readonly socket: Socket;
  received = '';
  readonly closed: Promise<void>;
  #onData: (() => void) | null = null;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.setEncoding('latin1');
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
    this.socket.on('error', () => {});
    this.socket.on('data', (text: string) => {
      this.received += text;
      this.#onData?.();
    });
  }

  send(text: string): this {
    this.socket.write(text, 'latin1');
    return this;
  }

  /** Waits until what was received satisfies the condition, or the connection is closed. */
  async until(isEnough: (received: string) => boolean): Promise<string> {
    await new Promise<void>((resolve) => {
      const look = () => {
        if (isEnough(this.received)) resolve();
      };
      this.#onData = look;
      void this.closed.then(resolve);
      look();
    });
    this.#onData = null;
    return this.received;
  }

  /** Waits for the other side to close. */
  async end(): Promise<string> {
    await this.closed;
    return this.received;
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** One request whose answer ends with the connection. */
export function exchangeRaw(port: number, text: string): Promise<string> {
  return new RawClient(port).send(text).end();
}

export type RawServer = {
  readonly port: number;
  /** What each connection has sent so far. */
  readonly received: readonly string[];
  readonly sockets: readonly Socket[];
  /** Settles when so many connections have ended. */
  readonly closed: (count: number) => Promise<void>;
  /** Settles when something received, on any connection, makes the condition true of all that was received. */
  readonly until: (isEnough: (received: string) => boolean) => Promise<void>;
  readonly close: () => Promise<void>;
};

/** A server of bare connections: `serve` sees each one. */
export async function rawServer(serve: (socket: Socket) => void): Promise<RawServer> {
  const received: string[] = [];
  const sockets: Socket[] = [];
  const changes = new EventEmitter();
  changes.setMaxListeners(0);
  let ended = 0;
  const server = createNetServer((socket) => {
    const index = sockets.push(socket) - 1;
    received.push('');
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    socket.on('data', (text: string) => {
      received[index] += text;
      changes.emit('change');
    });
    socket.once('close', () => {
      ended += 1;
      changes.emit('change');
    });
    serve(socket);
  });
  const port = await listenOn(server);
  const when = async (isTrue: () => boolean) => {
    while (!isTrue()) await once(changes, 'change');
  };
  return {
    port,
    received,
    sockets,
    closed: (count) => when(() => ended >= count),
    until: (isEnough) => when(() => isEnough(received.join(''))),
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** As rawServer, where each head of a request (up to the empty line) gets the next of `answers`, then the last again. */
export function answeringServer(...answers: readonly string[]): Promise<RawServer> {
  let next = 0;
  return rawServer((socket) => {
    let unread = '';
    socket.on('data', (text: string) => {
      unread += text;
      for (let end = unread.indexOf('\r\n\r\n'); end >= 0; end = unread.indexOf('\r\n\r\n')) {
        unread = unread.slice(end + 4);
        socket.write(answers[Math.min(next, answers.length - 1)] ?? '', 'latin1');
        next += 1;
      }
    });
  });
}
