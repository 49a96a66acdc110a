/** The upstream's side of a WebSocket: its half of the handshake, and where its frames end (RFC 6455). */

import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { ClientRequest } from '../exchange.ts';

// RFC 6455 §1.3: a constant of the protocol.
const acceptSuffix = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

const closeOpcode = 8;

/** RFC 6455 §7.4.1: 1008, a policy has been violated. Unmasked, as frames to a client are (§5.1). */
export function closeFrame(text: string): Buffer {
  const payload = Buffer.from(`\0\0${text}`, 'latin1');
  payload.writeUInt16BE(1008);
  return Buffer.concat([Buffer.from([0x80 | closeOpcode, payload.length]), payload]);
}

/** What makes an upstream's 101 none for this handshake; null for nothing. */
export function handshakeProblem(
  { webSocketKey, fields }: ClientRequest,
  headers: IncomingHttpHeaders,
  offersExtensions: boolean,
): string | null {
  if (webSocketKey === undefined) return 'the upstream switched protocols';
  // RFC 6455 §4.1: what a client verifies, verified here so that no other protocol ever gets a tunnel.
  if (headers.upgrade?.toLowerCase() !== 'websocket') return 'the upstream switched to another protocol';
  if (!members(headers.connection).includes('upgrade')) return 'the upstream switched protocols without saying so';
  if (headers['sec-websocket-accept'] !== hash('sha1', webSocketKey + acceptSuffix, 'base64')) {
    return 'the upstream sent another Sec-WebSocket-Accept than the handshake calls for';
  }
  const protocol = headers['sec-websocket-protocol'];
  const offered = fields.get('sec-websocket-protocol')?.flatMap((value) => value.split(',').map((one) => one.trim()));
  if (protocol !== undefined && offered?.includes(protocol) !== true) {
    return 'the upstream chose a subprotocol that was not offered';
  }
  const isOffered = offersExtensions && fields.has('sec-websocket-extensions');
  if (headers['sec-websocket-extensions'] !== undefined && !isOffered) {
    return 'the upstream uses an extension that was not offered';
  }
  return null;
}

function members(value: string | undefined): readonly string[] {
  return (value ?? '').split(',').map((member) => member.trim().toLowerCase());
}

export type OnPayload = (payload: Uint8Array, isControl: boolean) => void;
/** `isLast` where no frame of the same message follows. */
export type OnFrameEnd = (isControl: boolean, isLast: boolean) => void;

/** Follows the frames of one direction, whatever pieces they come in. Keeps no payload and judges nothing. */
export class FrameReader {
  readonly #onPayload: OnPayload | null;
  readonly #onFrameEnd: OnFrameEnd | null;
  #head: number[] = [];
  #first = 0;
  #bytesLeft = 0;
  #hasClosed = false;

  constructor(onPayload: OnPayload | null = null, onFrameEnd: OnFrameEnd | null = null) {
    this.#onPayload = onPayload;
    this.#onFrameEnd = onFrameEnd;
  }

  read(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#bytesLeft > 0) {
        const step = Math.min(this.#bytesLeft, chunk.length - at);
        this.#bytesLeft -= step;
        this.#onPayload?.(chunk.subarray(at, at + step), this.#isControl());
        at += step;
        if (this.#bytesLeft === 0) this.#endFrame();
      } else {
        this.#head.push(chunk[at] ?? 0);
        at += 1;
        this.#endHead();
      }
    }
  }

  /** Whether a frame may be put in here: none is under way, and none has said that it was the last. */
  isBetweenFrames(): boolean {
    return this.#bytesLeft === 0 && this.#head.length === 0 && !this.#hasClosed;
  }

  // RFC 6455 §5.2: opcode, mask bit and length; a longer length in 2 or 8 bytes; the mask.
  #endHead(): void {
    const [first = 0, second = 0] = this.#head;
    if (this.#head.length < 2) return;
    const short = second & 0x7f;
    const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0;
    if (this.#head.length < 2 + lengthBytes + (second & 0x80 ? 4 : 0)) return;
    const long = this.#head.slice(2, 2 + lengthBytes).reduce((sum, byte) => sum * 256 + byte, 0);
    this.#bytesLeft = lengthBytes === 0 ? short : long;
    if ((first & 0x0f) === closeOpcode) this.#hasClosed = true;
    this.#head = [];
    this.#first = first;
    if (this.#bytesLeft === 0) this.#endFrame();
  }

  #endFrame(): void {
    this.#onFrameEnd?.(this.#isControl(), (this.#first & 0x80) !== 0);
  }

  // RFC 6455 §5.5: opcodes with the highest bit set. Such a frame may stand between those of another message.
  #isControl(): boolean {
    return (this.#first & 0x08) !== 0;
  }
}
