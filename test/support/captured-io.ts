/** Streams for subcommands under test, and what was written to them. */

import { Writable } from 'node:stream';
import { WriteStream } from 'node:tty';
import type { Io } from '../../src/cli/output.ts';

export type CapturedIo = {
  readonly io: Io;
  readonly stdout: () => string;
  readonly stderr: () => string;
};

export function createCapturedIo({ isTerminal = false } = {}): CapturedIo {
  const stdout = createCapture(isTerminal);
  const stderr = createCapture(isTerminal);
  return {
    io: { stdout: stdout.stream, stderr: stderr.stream, isTerminal },
    stdout: stdout.text,
    stderr: stderr.text,
  };
}

function createCapture(isTTY: boolean): { stream: Writable; text: () => string } {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString('utf8');
      done();
    },
  });
  return {
    stream: Object.assign(stream, isTTY ? { isTTY, getColorDepth: WriteStream.prototype.getColorDepth } : {}),
    text: () => text,
  };
}
