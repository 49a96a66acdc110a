/** Whole numbers as bytes: seven bits a byte, lowest first; runs of zero as their length. */

export type Writer = {
  /** A whole number from 0 to 2^53 - 1. */
  readonly number: (value: number) => void;
  /** Cells that are mostly small or 0. */
  readonly cells: (values: Uint32Array | Uint8Array) => void;
  /** Words whose bits are spread evenly, or all 0. */
  readonly words: (values: Uint32Array) => void;
  readonly end: () => Uint8Array;
};

/** What is not sound reads as 0 and is remembered: callers ask once, at the end or before a loop goes on. */
export type Reader = {
  /** A whole number of at most `max`. */
  readonly number: (max: number) => number;
  /** Each of at most `max`; of 32 bits where it is left out. */
  readonly cells: (into: Uint32Array | Uint8Array, max?: number) => void;
  /** Null where all are 0. */
  readonly words: (length: number) => Uint32Array | null;
  readonly refuse: () => void;
  readonly isSound: () => boolean;
  readonly isAtEnd: () => boolean;
};

export function openWriter(): Writer {
  let bytes = new Uint8Array(4096);
  let length = 0;
  const byte = (value: number) => {
    if (length === bytes.length) {
      const longer = new Uint8Array(2 * length);
      longer.set(bytes);
      bytes = longer;
    }
    bytes[length++] = value;
  };
  const number = (value: number) => {
    let rest = value;
    while (rest >= 0x80) {
      byte((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    byte(rest);
  };
  const cells = (values: Uint32Array | Uint8Array) => {
    for (let index = 0; index < values.length; ) {
      let zeros = 0;
      while (index + zeros < values.length && values[index + zeros] === 0) zeros++;
      let end = index + zeros;
      // A single zero costs less among the values than a run of its own.
      while (end < values.length && !(values[end] === 0 && values[end + 1] === 0)) end++;
      number(zeros);
      number(end - index - zeros);
      for (let at = index + zeros; at < end; at++) number(values[at] ?? 0);
      index = end;
    }
  };
  return {
    number,
    cells,
    words: (values) => {
      const isEmpty = values.every((word) => word === 0);
      byte(isEmpty ? 0 : 1);
      if (isEmpty) return;
      for (const word of values) for (let shift = 0; shift < 32; shift += 8) byte((word >>> shift) & 0xff);
    },
    end: () => bytes.slice(0, length),
  };
}

export function openReader(bytes: Uint8Array): Reader {
  let at = 0;
  let isSound = true;
  const refuse = () => {
    isSound = false;
  };
  const number = (max: number) => {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 8; count++) {
      const byte = bytes[at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (value <= max) return value;
        break;
      }
      factor *= 0x80;
    }
    isSound = false;
    return 0;
  };
  return {
    number,
    refuse,
    cells: (into, max = 0xffffffff) => {
      for (let index = 0; index < into.length; ) {
        const zeros = number(into.length - index);
        index += zeros;
        const length = number(into.length - index);
        // A run of nothing would be read for ever.
        if (zeros + length === 0) isSound = false;
        if (!isSound) return;
        for (let end = index + length; index < end; index++) into[index] = number(max);
      }
    },
    words: (length) => {
      const isFilled = number(1) === 1;
      if (!isFilled) return null;
      if (bytes.length - at < 4 * length) {
        refuse();
        return null;
      }
      const view = new DataView(bytes.buffer, bytes.byteOffset + at, 4 * length);
      at += 4 * length;
      const values = new Uint32Array(length);
      for (let index = 0; index < length; index++) values[index] = view.getUint32(4 * index, true);
      return values;
    },
    isSound: () => isSound,
    isAtEnd: () => at === bytes.length,
  };
}
