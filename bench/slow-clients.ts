/** Clients that hold a connection and do next to nothing with it. */

import { connect, type Socket } from 'node:net';

export const slowKinds = ['slow headers', 'slow body', 'slow reader', 'idle'] as const;
export type SlowKind = (typeof slowKinds)[number];

export type SlowClients = {
  /** Connections open now. */
  readonly open: () => number;
  /** What each kind met with so far. */
  readonly ends: ReadonlyMap<SlowKind, Ends>;
  readonly stop: () => void;
};

/** Connections made, and how those ended that the other side has ended. */
export type Ends = { opened: number; answered408: number; answeredOther: number; cut: number };

export type SlowOptions = {
  readonly port: number;
  readonly count: number;
  /** A good request up to the empty line, that one included, without the fields given here. */
  readonly head: (method: string, path: string, lines: string) => string;
};

const tickMs = 1000;
const connectsAtOnce = 100;
const readerTicksMax = 18;

/** Opens the connections a few at a time, and each that was closed again a second later. */
export function startSlowClients(options: SlowOptions): SlowClients {
  const ends = new Map<SlowKind, Ends>(
    slowKinds.map((kind) => [kind, { opened: 0, answered408: 0, answeredOther: 0, cut: 0 }]),
  );
  const live = new Set<SlowClient>();
  let waiting: SlowKind[] = Array.from(
    { length: options.count },
    (_, index) => slowKinds[index % slowKinds.length] ?? 'idle',
  );
  let next: SlowKind[] = [];
  const timer = setInterval(() => {
    for (const client of live) client.tick();
    waiting.push(...next.splice(0));
    for (const kind of waiting.splice(0, connectsAtOnce)) begin(kind);
  }, tickMs);
  const begin = (kind: SlowKind) => {
    const counts = ends.get(kind);
    if (counts === undefined) return;
    counts.opened += 1;
    const client = createSlowClient(kind, options, (received) => {
      live.delete(client);
      next.push(kind);
      if (/^HTTP\/1\.1 408 /m.test(received)) counts.answered408 += 1;
      else if (kind !== 'slow reader' && received.startsWith('HTTP/')) counts.answeredOther += 1;
      else counts.cut += 1;
    });
    live.add(client);
  };
  return {
    open: () => live.size,
    ends,
    stop() {
      clearInterval(timer);
      waiting = [];
      next = [];
      for (const { socket } of live) socket.removeAllListeners('close').destroy();
      live.clear();
    },
  };
}

type SlowClient = { readonly socket: Socket; readonly tick: () => void };

function createSlowClient(kind: SlowKind, { port, head }: SlowOptions, onEnd: (received: string) => void): SlowClient {
  const socket = connect(port, '127.0.0.1');
  let received = '';
  let ticks = 0;
  socket.on('error', () => {});
  socket.once('close', () => onEnd(received));
  if (kind !== 'slow reader') {
    socket.on('data', (bytes: Buffer) => {
      received = (received + bytes.toString('latin1')).slice(0, 500);
    });
  }
  switch (kind) {
    case 'slow headers': {
      const bytes = head('GET', '/api/now', '');
      return { socket, tick: () => void (socket.writable && socket.write(bytes[ticks++] ?? 'x')) };
    }
    case 'slow body':
      socket.write(head('POST', '/writes/now', 'content-length: 100000\r\n'));
      return { socket, tick: () => void (socket.writable && socket.write('x')) };
    case 'slow reader':
      socket.write(head('GET', '/reads/large', ''));
      // A little at a time, and after a while everything: only who reads learns that the connection is gone.
      return {
        socket,
        tick: () => {
          ticks += 1;
          if (ticks < readerTicksMax) socket.read(Math.min(64, socket.readableLength));
          else socket.resume();
        },
      };
    default:
      // Every other one has been a good client before.
      if (Math.random() < 0.5) socket.write(head('GET', '/api/lazy', ''));
      return { socket, tick: () => {} };
  }
}
