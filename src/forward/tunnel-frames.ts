/** The frames of a WebSocket on their way to the client, searched for the credential where the route has a leak guard. */

import type { LeakGuard, LeakSearch } from '../leak-search.ts';
import { FrameReader } from './web-socket.ts';

const nothing = Buffer.alloc(0);
/** What may wait within a message for its meaning to become clear: a few frames more than any secret is long. */
const heldBytesMax = 1_048_576;

/**
 * What is searched is what frames carry, message by message, in however many frames. A message that is whole is never
 * kept back, for nothing more can belong to it.
 */
export class TunnelFrames {
  readonly #guard: LeakGuard | null;
  readonly #frames: FrameReader;
  #message: LeakSearch | null;
  #control: LeakSearch | null;
  #held: Buffer = nothing;
  #hasLeaked = false;

  constructor(guard: LeakGuard | null) {
    this.#guard = guard;
    this.#message = guard?.search() ?? null;
    this.#control = guard?.search() ?? null;
    this.#frames = guard === null ? new FrameReader() : new FrameReader(this.#onPayload, this.#onFrameEnd);
  }

  /** What may be passed on now; null when the credential is in it, or nobody could tell. Then it is over. */
  push(chunk: Buffer): Buffer | null {
    this.#frames.read(chunk);
    if (this.#guard === null) return chunk;
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    if (this.#hasLeaked || bytes.length > heldBytesMax + chunk.length) return null;
    const isClean = this.#message?.isClean() === true && this.#control?.isClean() === true;
    this.#held = isClean ? nothing : bytes;
    return isClean ? bytes : nothing;
  }

  /** What was kept back, when nothing follows. */
  rest(): Buffer {
    const rest = this.#held;
    this.#held = nothing;
    return rest;
  }

  /** Whether a frame may be put in where the client has got to. */
  isBetweenFrames(): boolean {
    return this.#held.length === 0 && this.#frames.isBetweenFrames();
  }

  readonly #onPayload = (payload: Uint8Array, isControl: boolean): void => {
    const search = isControl ? this.#control : this.#message;
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    if (!this.#hasLeaked) this.#hasLeaked = search?.push(bytes) === null;
  };

  readonly #onFrameEnd = (isControl: boolean, isLast: boolean): void => {
    if (isControl) this.#control?.rest();
    else if (isLast) this.#message?.rest();
  };
}
