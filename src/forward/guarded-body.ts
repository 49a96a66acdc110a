/** A response body that is searched for the credential as it passes. Its bytes pass as they came, or not at all. */

import type { LeakGuard, LeakSearch } from '../leak-search.ts';
import { type Coding, Decoder } from './decoder.ts';
import { ZstdBlocks } from './zstd-blocks.ts';

export type GuardedBodyOptions = {
  readonly guard: LeakGuard;
  readonly coding: Coding | null;
  readonly onSafe: (bytes: Buffer) => void;
  /** Of coded bytes, what they decode to. */
  readonly onDecoded?: ((bytes: Buffer) => void) | undefined;
  readonly onEnd: () => void;
  /** Once, and then nothing else: the credential is in it. */
  readonly onLeak: () => void;
  /** Once, and then nothing else: it cannot be searched. */
  readonly onProblem: (problem: string) => void;
  readonly pause: () => void;
  readonly resume: () => void;
};

export type GuardedBody = {
  readonly push: (chunk: Buffer) => void;
  readonly end: () => void;
  /** Whether a decision about bytes that came is under way. */
  readonly isBusy: () => boolean;
  readonly destroy: () => void;
};

/** What may wait for its meaning to become clear: more than a block of any coding, and than any secret. */
const heldBytesMax = 1_048_576;
/** A body that grows by more than this, once it is large, is there to cost time. */
const expansionMax = 250;
const expandedBytesFree = 67_108_864;

export function createGuardedBody(options: GuardedBodyOptions): GuardedBody {
  return options.coding === null ? plainBody(options) : new CodedBody(options, options.coding);
}

function plainBody({ guard, onSafe, onEnd, onLeak }: GuardedBodyOptions): GuardedBody {
  const search = guard.search();
  let isOver = false;
  return {
    push(chunk) {
      if (isOver) return;
      const safe = search.push(chunk);
      if (safe === null) {
        isOver = true;
        onLeak();
      } else if (safe.length > 0) onSafe(safe);
    },
    end() {
      if (isOver) return;
      const rest = search.rest();
      if (rest.length > 0) onSafe(rest);
      onEnd();
    },
    isBusy: () => false,
    destroy() {
      isOver = true;
    },
  };
}

/**
 * Coded bytes are held until what they decode to holds no credential, nor the beginning of one. They are searched as
 * they are as well: decoders stop where a reader of the bytes need not.
 */
class CodedBody implements GuardedBody {
  readonly #options: GuardedBodyOptions;
  readonly #coding: Coding;
  readonly #coded: LeakSearch;
  readonly #decoded: LeakSearch;
  readonly #blocks: ZstdBlocks | null;
  readonly #queue: Buffer[] = [];
  #decoder: Decoder | null = null;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #codedBytes = 0;
  #decodedBytes = 0;
  #hasLeaked = false;
  #isTooMuch = false;
  /** Of Zstandard, whose blocks are decoded whole. */
  #isWithinBlock = false;
  #hasEnded = false;
  #isRunning = false;
  #isOver = false;

  constructor(options: GuardedBodyOptions, coding: Coding) {
    this.#options = options;
    this.#coding = coding;
    this.#coded = options.guard.search();
    this.#decoded = options.guard.search();
    this.#blocks = coding === 'zstd' ? new ZstdBlocks() : null;
  }

  push(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#queue.push(chunk);
    this.#options.pause();
    if (!this.#isRunning) void this.#run();
  }

  end(): void {
    this.#hasEnded = true;
    if (!this.#isRunning) this.#finish();
  }

  isBusy(): boolean {
    return this.#isRunning;
  }

  destroy(): void {
    this.#isOver = true;
    this.#queue.length = 0;
    this.#held = [];
    this.#decoder?.destroy();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (let chunk = this.#queue.shift(); chunk !== undefined && !this.#isOver; chunk = this.#queue.shift()) {
      const end = this.#blocks?.judgeable(chunk) ?? chunk.length;
      if (end > 0) {
        await this.#decode(chunk.subarray(0, end));
        if (!this.#isOver && this.#decoded.isClean()) this.#release();
      }
      this.#isWithinBlock = end < chunk.length;
      if (!this.#isOver && this.#isWithinBlock) await this.#decode(chunk.subarray(end));
    }
    this.#isRunning = false;
    if (this.#isOver) return;
    if (this.#hasEnded) this.#finish();
    else this.#options.resume();
  }

  async #decode(bytes: Buffer): Promise<void> {
    this.#decoder ??= new Decoder(this.#coding, bytes[0] ?? 0, this.#onDecoded);
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    this.#codedBytes += bytes.length;
    const isSound = await this.#decoder.write(bytes);
    if (this.#isOver) return;
    if (this.#hasLeaked) this.#stop(this.#options.onLeak);
    else if (this.#isTooMuch) this.#give('a coded body that decodes to far too much');
    else if (!isSound) this.#give('a coded body that does not decode');
    else if (this.#heldBytes > heldBytesMax) this.#give('a coded body that cannot be searched in pieces');
  }

  readonly #onDecoded = (bytes: Buffer): void => {
    this.#decodedBytes += bytes.length;
    if (!this.#hasLeaked) this.#hasLeaked = this.#decoded.push(bytes) === null;
    if (!this.#hasLeaked) this.#options.onDecoded?.(bytes);
    this.#isTooMuch = this.#decodedBytes > Math.max(expandedBytesFree, this.#codedBytes * expansionMax);
    // A chunk of some codings can decode to gigabytes. Nothing of it is needed any more.
    if (this.#isTooMuch || this.#hasLeaked) this.#decoder?.destroy();
  };

  #release(): void {
    const bytes = this.#held.length === 1 && this.#held[0] !== undefined ? this.#held[0] : Buffer.concat(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    const safe = this.#coded.push(bytes);
    if (safe === null) this.#stop(this.#options.onLeak);
    else if (safe.length > 0) this.#options.onSafe(safe);
  }

  #finish(): void {
    if (this.#isOver) return;
    // What stands in a part of a block was not searched. Of the other codings a decoder gives all that there is.
    if (this.#isWithinBlock) {
      this.#give('a coded body that ends within a block');
      return;
    }
    this.#release();
    if (this.#isOver) return;
    const rest = this.#coded.rest();
    if (rest.length > 0) this.#options.onSafe(rest);
    this.destroy();
    this.#options.onEnd();
  }

  #give(problem: string): void {
    this.#stop(() => this.#options.onProblem(problem));
  }

  #stop(tell: () => void): void {
    this.destroy();
    tell();
  }
}
