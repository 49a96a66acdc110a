/** Where audit records go: one JSON line each, through pino's destination, to standard output or a file. */

import { openSync } from 'node:fs';
import { pino } from 'pino';
import { Fault } from '../errors.ts';

export type SinkConfig = 'stdout' | { readonly file: string };

export type Sinks = {
  /** `line` is one record as JSON, without the newline. */
  readonly write: (line: string) => void;
  /** False from a failed write until one succeeds again. */
  readonly isHealthy: () => boolean;
  /** Settles when everything written so far is out. */
  readonly close: () => Promise<void>;
};

export type SinksOptions = {
  readonly sinks: readonly SinkConfig[];
  readonly count: (sink: string, outcome: 'written' | 'failed', count: number) => void;
  readonly onFault: (sink: string, fault: Error) => void;
};

/** Opens every sink. Throws a Fault when one cannot be opened. */
export function openSinks(options: SinksOptions): Sinks {
  const sinks = options.sinks.map((sink) => openSink(sink, options));
  return {
    write(line) {
      for (const sink of sinks) sink.write(line);
    },
    isHealthy: () => sinks.every((sink) => sink.isHealthy()),
    async close() {
      await Promise.all(sinks.map((sink) => sink.close()));
    },
  };
}

/** Records kept in memory while a sink does not take them; beyond that the oldest problem wins and new ones are lost, counted. */
const backlogBytesMax = 16 * 1024 * 1024;
const closeWaitMs = 2000;

function openSink(sink: SinkConfig, { count, onFault }: SinksOptions): Sinks {
  const name = sink === 'stdout' ? 'stdout' : 'file';
  let isHealthy = true;
  let pending = 0;
  // minLength 0: a line goes to the kernel as soon as the write before it is done, and waits for no buffer to fill.
  const destination = pino.destination({
    dest: openTarget(sink),
    sync: false,
    minLength: 0,
    maxLength: backlogBytesMax,
  });
  const fail = (fault: Error) => {
    isHealthy = false;
    count(name, 'failed', 1);
    onFault(name, fault);
  };
  // A chunk that could not be written stays in the backlog and is tried again with the next record.
  destination.on('error', fail);
  destination.on('drop', (text: string) => {
    pending -= text.split('\n').length - 1;
    fail(new Fault('audit_backlog', 'the audit backlog is full and records were lost; see why the sink takes no more'));
  });
  destination.on('drain', () => {
    isHealthy = true;
    if (pending > 0) count(name, 'written', pending);
    pending = 0;
  });
  let batch = '';
  let batched = 0;
  const flush = () => {
    if (batch === '') return;
    const text = batch;
    pending += batched;
    batch = '';
    batched = 0;
    destination.write(text);
  };
  return {
    write(line) {
      // The lines of one turn of the event loop go out together: a write to the kernel costs more than a record.
      if (batch === '') setImmediate(flush);
      batch += `${line}\n`;
      batched += 1;
    },
    isHealthy: () => isHealthy,
    close: () =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, closeWaitMs);
        destination.once('close', () => {
          clearTimeout(timer);
          resolve();
        });
        flush();
        destination.end();
      }),
  };
}

/** A file descriptor. Only the owner may read what agents did. */
function openTarget(sink: SinkConfig): number {
  if (sink === 'stdout') return 1;
  try {
    return openSync(sink.file, 'a', 0o600);
  } catch (cause) {
    throw new Fault(
      'audit_sink',
      `the audit file ${sink.file} cannot be opened for appending; check the folder and its permissions`,
      cause,
    );
  }
}
