/** WebSockets by hand: handshakes, frames, and an upstream that echoes (RFC 6455). */

import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { type RawServer, rawServer } from './raw-http.ts';

// RFC 6455 §1.3 gives both.
export const webSocketKey = 'dGhlIHNhbXBsZSBub25jZQ==';
export const webSocketAccept = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

export const handshakeLines = [
  'connection: Upgrade',
  'upgrade: websocket',
  `sec-websocket-key: ${webSocketKey}`,
  'sec-websocket-version: 13',
];

/** A frame as latin1 text; masked with zeros where a client sends it, so that the payload can be read. */
export function frame(opcode: number, payload: string, isMasked = false): string {
  const { length } = payload;
  const size = length < 126 ? [length] : length < 65_536 ? [126, length >> 8, length & 255] : null;
  if (size === null) throw new Error('too long for this');
  const [first = 0, ...rest] = size;
  const bytes = [0x80 | opcode, first | (isMasked ? 0x80 : 0), ...rest, ...(isMasked ? [0, 0, 0, 0] : [])];
  return String.fromCharCode(...bytes) + payload;
}

/** The 101 that a request with these bytes calls for. */
export function switching(head: string, ...lines: readonly string[]): string {
  const key = /^sec-websocket-key: (.*)$/im.exec(head)?.[1]?.trim() ?? '';
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  const fields = ['connection: Upgrade', 'upgrade: websocket', `sec-websocket-accept: ${accept}`, ...lines];
  return `HTTP/1.1 101 Switching Protocols\r\n${fields.join('\r\n')}\r\n\r\n`;
}

export type WebSocketUpstream = RawServer & {
  /** Heads of handshakes. */
  readonly heads: readonly string[];
};

/** Answers each head, and hands the socket on with what follows it. Echoes byte for byte unless told otherwise. */
export async function startWebSocketUpstream(
  answer: (head: string) => string = (head) => switching(head),
  serve: (socket: Socket, text: string) => void = (socket, text) => void socket.write(text, 'latin1'),
): Promise<WebSocketUpstream> {
  const heads: string[] = [];
  const server = await rawServer((socket) => {
    let unread: string | null = '';
    socket.allowHalfOpen = true;
    socket.once('end', () => socket.end());
    socket.on('data', (text: string) => {
      if (unread === null) {
        serve(socket, text);
        return;
      }
      unread += text;
      const end = unread.indexOf('\r\n\r\n') + 4;
      if (end < 4) return;
      const head = unread.slice(0, end);
      heads.push(head);
      socket.write(answer(head), 'latin1');
      const rest = unread.slice(end);
      unread = null;
      if (rest !== '') serve(socket, rest);
    });
  });
  return { ...server, heads };
}
