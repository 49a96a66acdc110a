/** Where the blocks of a Zstandard stream end (RFC 8878 §3.1). Keeps no content and judges nothing. */

const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;

type Part = 'magic' | 'descriptor' | 'block' | 'skippable-size' | 'lost';
const headBytes: Readonly<Record<Part, number>> = {
  magic: 4,
  descriptor: 1,
  block: 3,
  'skippable-size': 4,
  lost: Number.POSITIVE_INFINITY,
};

/**
 * A decoder gives nothing of a block before it has all of it, whereas its literals may stand in the first bytes of it.
 * So what can be judged ends where a block ends.
 */
export class ZstdBlocks {
  #part: Part = 'magic';
  #head: number[] = [];
  #bytesLeft = 0;
  #hasChecksum = false;

  /** How many bytes of the chunk stand before the last place in it where a block ends; 0 where none does. */
  judgeable(chunk: Uint8Array): number {
    let at = 0;
    let end = 0;
    while (at < chunk.length && this.#part !== 'lost') {
      if (this.#bytesLeft > 0) {
        const step = Math.min(this.#bytesLeft, chunk.length - at);
        this.#bytesLeft -= step;
        at += step;
      } else {
        this.#head.push(chunk[at] ?? 0);
        at += 1;
        if (this.#head.length === headBytes[this.#part]) this.#endHead();
      }
      if (this.#bytesLeft === 0 && this.#head.length === 0) end = at;
    }
    return end;
  }

  #endHead(): void {
    const value = this.#head.reduceRight((sum, byte) => sum * 256 + byte, 0);
    this.#head = [];
    if (this.#part === 'magic') {
      const isSkippable = Math.floor(value / 16) === skippableMagic / 16;
      this.#part = value === frameMagic ? 'descriptor' : isSkippable ? 'skippable-size' : 'lost';
    } else if (this.#part === 'skippable-size') {
      this.#bytesLeft = value;
      this.#part = 'magic';
    } else if (this.#part === 'descriptor') {
      this.#bytesLeft = frameHeaderBytes(value);
      this.#hasChecksum = (value & 0x04) !== 0;
      this.#part = 'block';
    } else {
      // RFC 8878 §3.1.1.2: last block, type, size. A block of type RLE is one byte, whatever its size.
      const isLast = (value & 1) === 1;
      this.#bytesLeft = ((value >> 1) & 3) === 1 ? 1 : value >> 3;
      if (isLast && this.#hasChecksum) this.#bytesLeft += 4;
      this.#part = isLast ? 'magic' : 'block';
    }
  }
}

/** RFC 8878 §3.1.1.1: window descriptor, dictionary id and content size, as the frame header descriptor says. */
function frameHeaderBytes(descriptor: number): number {
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryId = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contentSize = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  return (isSingleSegment ? 0 : 1) + dictionaryId + contentSize;
}
