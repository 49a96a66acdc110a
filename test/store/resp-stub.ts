/** A server that speaks just enough of the Redis protocol to play the servers that a test can't start. */

import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

export type RespStub = { readonly url: string; readonly commands: string[]; stop(): Promise<void> };

/** `answer` gets the name of each command in lower case and gives the raw reply, or null to stay silent. */
export async function startRespStub(answer: (name: string) => string | null): Promise<RespStub> {
  const commands: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    let buffered = '';
    socket.on('data', (chunk) => {
      buffered += chunk.toString('latin1');
      for (let next = takeCommand(buffered); next !== null; next = takeCommand(buffered)) {
        buffered = buffered.slice(next.length);
        commands.push(next.name);
        const reply = answer(next.name);
        if (reply !== null) socket.write(reply);
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the operating system gave no port');
  return {
    url: `redis://127.0.0.1:${address.port}`,
    commands,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** An INFO reply with these lines. */
export function bulk(text: string): string {
  return `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
}

/** The first whole command: an array of bulk strings. Null until it has arrived. */
function takeCommand(text: string): { readonly name: string; readonly length: number } | null {
  const head = /^\*(\d+)\r\n/.exec(text);
  if (head === null) return null;
  let at = head[0].length;
  let name = '';
  for (let i = 0; i < Number(head[1]); i++) {
    const size = /^\$(\d+)\r\n/.exec(text.slice(at, at + 16));
    if (size === null) return null;
    const from = at + size[0].length;
    at = from + Number(size[1]) + 2;
    if (at > text.length) return null;
    if (i === 0) name = text.slice(from, at - 2).toLowerCase();
  }
  return { name, length: at };
}
