import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { closeFrame, FrameReader } from '../../src/forward/web-socket.ts';
import { frame } from '../support/web-socket.ts';

const bytesOf = (text: string) => Buffer.from(text, 'latin1');

describe('FrameReader', () => {
  it('finds the ends of frames, in whatever pieces they come', () => {
    const frames = fc.array(
      fc.record({
        opcode: fc.constantFrom(0, 1, 2, 9, 10),
        length: fc.constantFrom(0, 1, 125, 126, 127, 300, 65_535),
        isMasked: fc.boolean(),
      }),
      { minLength: 1, maxLength: 5 },
    );
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }), (list, steps) => {
        const ends = new Set([0]);
        let text = '';
        for (const { opcode, length, isMasked } of list) {
          text += frame(opcode, 'x'.repeat(length), isMasked);
          ends.add(text.length);
        }
        const bytes = bytesOf(text);
        const reader = new FrameReader();
        for (let at = 0, step = 0; at < bytes.length; step += 1) {
          const next = Math.min(bytes.length, at + (steps[step % steps.length] ?? 1));
          reader.read(bytes.subarray(at, next));
          at = next;
          expect(reader.isBetweenFrames()).toBe(ends.has(at));
        }
      }),
      { numRuns: 60 },
    );
  });

  it('reads a length of 64 bits', () => {
    const reader = new FrameReader();
    reader.read(Buffer.from([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 1]));
    reader.read(Buffer.alloc(65_536));
    expect(reader.isBetweenFrames()).toBe(false);
    reader.read(Buffer.alloc(1));
    expect(reader.isBetweenFrames()).toBe(true);
  });

  it('lets nothing in behind a frame that closes', () => {
    const reader = new FrameReader();
    reader.read(closeFrame('gone'));
    expect(reader.isBetweenFrames()).toBe(false);
  });
});

describe('closeFrame', () => {
  it('has the code 1008 and the text, unmasked', () => {
    expect([...closeFrame('no')]).toEqual([0x88, 4, 0x03, 0xf0, 0x6e, 0x6f]);
  });
});
