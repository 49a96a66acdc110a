/** Where audit records go: one JSON line each, through pino's destination, to standard output or a file. */

import { constants, fstatSync, openSync, statSync } from 'node:fs';
import { pino } from 'pino';
import { Fault } from '../errors.ts';

export type SinkConfig = 'stdout' | { readonly file: string };

export type Sinks = {
  /** `line` is one record as JSON, without the newline. */
  readonly write: (line: string) => void;
  /**
   * Opens files again that are no longer where they were, so that what was renamed can be compressed or removed. What
   * was written before is in the old file. One that can't be opened again is told, and the old one stays in use.
   */
  readonly reopen: () => Promise<void>;
  /** False from a failed write until everything written so far is out. */
  readonly isHealthy: () => boolean;
  /** Settles when everything written so far is out, or when it is clear that it won't be. Records that come later are lost. */
  readonly close: () => Promise<void>;
};

export type SinksOptions = {
  readonly sinks: readonly SinkConfig[];
  /** `failed` counts writes that failed and will be tried again, and records that were lost. */
  readonly count: (sink: string, outcome: 'written' | 'failed', count: number) => void;
  /** Told when a sink begins to fail, when it first loses a record, and what it had to leave unwritten at the end. */
  readonly onFault: (sink: string, fault: Error) => void;
  /** How long after a failed write it is tried again, records or not. */
  readonly retryMs?: number;
};

/** Opens every sink. Throws a Fault when one cannot be opened. */
export function openSinks(options: SinksOptions): Sinks {
  const sinks = options.sinks.map((sink) => openSink(sink, options));
  /** Replaced, and writing out what they still have. */
  const leaving = new Set<Promise<void>>();
  return {
    write(line) {
      for (const sink of sinks) sink.write(line);
    },
    async reopen() {
      for (const [index, sink] of sinks.entries()) {
        const config = options.sinks[index];
        if (config === undefined || !sink.isMoved()) continue;
        try {
          sinks[index] = openSink(config, options);
          const left = sink.close().finally(() => leaving.delete(left));
          leaving.add(left);
        } catch (fault) {
          if (!(fault instanceof Fault)) throw fault;
          options.onFault('file', fault);
        }
      }
      await Promise.all(leaving);
    },
    isHealthy: () => sinks.every((sink) => sink.isHealthy()),
    async close() {
      await Promise.all([...leaving, ...sinks.map((sink) => sink.close())]);
    },
  };
}

/** Records kept in memory while a sink does not take them; new ones beyond that are lost, and counted. */
const backlogBytesMax = 16 * 1024 * 1024;
const closeWaitMs = 2000;
/** The library tries a full pipe every 100 ms. */
const fullTriesMax = 10;

type Sink = Omit<Sinks, 'reopen'> & {
  /** Whether its file is no longer where it was opened. */
  readonly isMoved: () => boolean;
};

function openSink(sink: SinkConfig, { count, onFault, retryMs = 1000 }: SinksOptions): Sink {
  const name = sink === 'stdout' ? 'stdout' : 'file';
  let state: 'healthy' | 'failing' | 'losing' = 'healthy';
  let isClosed = false;
  let isGone = false;
  let pending = 0;
  let retry: NodeJS.Timeout | null = null;
  let fullTries = 0;
  // minLength 0: a line goes to the kernel as soon as the write before it is done, and waits for no buffer to fill.
  const descriptor = openTarget(sink);
  const opened = fstatSync(descriptor);
  const destination = pino.destination({
    dest: descriptor,
    sync: false,
    minLength: 0,
    maxLength: backlogBytesMax,
    // A pipe may be full for a moment; one that stays so is a failure, and must not hold up the end of the process.
    retryEAGAIN: () => {
      fullTries += 1;
      return fullTries <= fullTriesMax;
    },
  });
  // The library turns a destination whose pipe has broken into one that takes everything and writes nothing.
  destination.removeAllListeners('error');
  const lose = (records: number, why: string) => {
    count(name, 'failed', records);
    // Once for each spell of trouble: a log that floods helps nobody, and the metric goes on counting.
    if (state !== 'losing') onFault(name, new Fault('audit_lost', `audit records were lost: ${why}`));
    state = 'losing';
  };
  destination.on('error', (fault: Error) => {
    count(name, 'failed', 1);
    if (state === 'healthy') {
      state = 'failing';
      onFault(name, fault);
    }
    // The chunk stays in the backlog. Nobody may send a request while the sidecar is not ready, so no record that
    // comes later can be relied on to try it again.
    retry ??= setTimeout(() => {
      retry = null;
      if (!isGone) destination.write('');
    }, retryMs);
  });
  const cancelRetry = () => {
    if (retry !== null) clearTimeout(retry);
    retry = null;
  };
  destination.on('write', () => {
    fullTries = 0;
    cancelRetry();
  });
  destination.on('drop', (text: string) => {
    const records = text.split('\n').length - 1;
    pending -= records;
    lose(records, 'the backlog is full; see why the sink takes no more');
  });
  destination.on('drain', () => {
    state = 'healthy';
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
      if (isClosed) return lose(1, 'the sink is closed');
      // The lines of one turn of the event loop go out together: a write to the kernel costs more than a record.
      if (batch === '') setImmediate(flush);
      batch += `${line}\n`;
      batched += 1;
    },
    isHealthy: () => state === 'healthy',
    isMoved: () => {
      if (sink === 'stdout') return false;
      try {
        const { dev, ino } = statSync(sink.file);
        return dev !== opened.dev || ino !== opened.ino;
      } catch {
        return true;
      }
    },
    close: async () => {
      if (isClosed) return;
      flush();
      isClosed = true;
      const isWritten = await ended(destination);
      isGone = true;
      cancelRetry();
      if (isWritten) {
        if (pending > 0) count(name, 'written', pending);
      } else {
        destination.destroy();
        lose(pending, `${pending} could not be written before the end`);
      }
    },
  };
}

/** False where the backlog was not out in time. */
function ended(destination: ReturnType<typeof pino.destination>): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, closeWaitMs, false);
    destination.once('close', () => {
      clearTimeout(timer);
      resolve(true);
    });
    destination.end();
  });
}

/** A file descriptor. Only the owner may read what agents did. */
function openTarget(sink: SinkConfig): number {
  // Without O_NONBLOCK, opening or writing a pipe waits for its reader, and with it the end of the process.
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
  if (sink === 'stdout') {
    try {
      return openSync('/dev/stdout', O_WRONLY | O_APPEND | O_NONBLOCK);
    } catch {
      // A socket, or a pipe of another user.
      return 1;
    }
  }
  try {
    return openSync(sink.file, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0o600);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown fault';
    throw new Fault(
      'audit_sink',
      `the audit file ${sink.file} cannot be opened for appending (${code}); check the folder and its permissions`,
      cause,
    );
  }
}
