/** Content codings (RFC 9110 §8.4.1) taken off a copy of a body, piece by piece and in bounded memory. */

import type { Transform } from 'node:stream';
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  createZstdDecompress,
} from 'node:zlib';

export type Coding = 'gzip' | 'deflate' | 'br' | 'zstd';

/** RFC 9659 §3: no window above 8 MiB in HTTP. A frame may ask for sixteen times that, and would get it. */
const zstdWindowLogMax = 23;

/** Every name of a coding that can be taken off. */
const codings: ReadonlyMap<string, Coding> = new Map([
  ['gzip', 'gzip'],
  // RFC 9110 §8.4.1.3.
  ['x-gzip', 'gzip'],
  ['deflate', 'deflate'],
  ['br', 'br'],
  ['zstd', 'zstd'],
]);

/** The coding of a Content-Encoding field; null for none, and 'other' for several or one that is not known here. */
export function codingOf(contentEncoding: string | readonly string[] | undefined): Coding | null | 'other' {
  if (contentEncoding === undefined) return null;
  const names = [contentEncoding].flat().flatMap((value) => value.toLowerCase().split(','));
  const applied = names.map((name) => name.trim()).filter((name) => name !== '' && name !== 'identity');
  if (applied.length === 0) return null;
  return applied.length === 1 ? (codings.get(applied[0] ?? '') ?? 'other') : 'other';
}

/** The members of an Accept-Encoding field whose coding can be taken off. Where none is left, no coding is asked for. */
export function readableCodings(acceptEncoding: string): string {
  const members = acceptEncoding.split(',').map((member) => member.trim());
  const isReadable = (member: string) => {
    const name = member.split(';', 1)[0]?.trim().toLowerCase() ?? '';
    return codings.has(name) || name === 'identity';
  };
  const readable = members.filter(isReadable);
  return readable.length === 0 ? 'identity' : readable.join(', ');
}

/** Decodes one body. */
export class Decoder {
  readonly #stream: Transform;
  readonly #onOutput: (bytes: Buffer) => void;
  #hasFailed = false;
  #settle: (() => void) | null = null;

  /** `onOutput` is called within `write`, before it settles. */
  constructor(coding: Coding, firstByte: number, onOutput: (bytes: Buffer) => void) {
    this.#onOutput = onOutput;
    this.#stream = createStream(coding, firstByte);
    this.#stream.on('readable', () => this.#drain());
    // A decoder ends by itself only where bytes follow the end of the coded body.
    for (const event of ['error', 'end', 'close']) this.#stream.on(event, () => this.#fail());
  }

  /** Settles when all that these bytes decode to has been given. False when they do not decode, or after destroy. */
  async write(bytes: Buffer): Promise<boolean> {
    await new Promise<void>((resolve) => {
      this.#settle = resolve;
      if (this.#hasFailed) resolve();
      else this.#stream.write(bytes, () => resolve());
    });
    this.#drain();
    return !this.#hasFailed;
  }

  destroy(): void {
    this.#stream.destroy();
    this.#fail();
  }

  #drain(): void {
    for (let bytes = this.#stream.read(); bytes !== null; bytes = this.#stream.read()) this.#onOutput(bytes);
  }

  #fail(): void {
    this.#hasFailed = true;
    this.#settle?.();
  }
}

function createStream(coding: Coding, firstByte: number): Transform {
  const options = { flush: constants.Z_SYNC_FLUSH, chunkSize: 65_536 };
  switch (coding) {
    case 'gzip':
      return createGunzip(options);
    case 'br':
      return createBrotliDecompress({ chunkSize: 65_536 });
    case 'zstd':
      return createZstdDecompress({ chunkSize: 65_536, params: { [constants.ZSTD_d_windowLogMax]: zstdWindowLogMax } });
    default:
      // RFC 9110 §8.4.1.2: some senders leave out the zlib wrapper, whose first byte names the method, 8 (RFC 1950 §2.2).
      return (firstByte & 0x0f) === 8 ? createInflate(options) : createInflateRaw(options);
  }
}
