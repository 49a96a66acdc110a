/** A sidecar as a process of its own, which can be killed as a crash would, and started again on the same ports. */

import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const mainFile = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const startDeadlineMs = 30_000;
const keptLogCharacters = 16_384;

export type ProcessUsage = { readonly residentBytes: number; readonly handles: number };

export type SidecarProcess = {
  /** Rejects, with the end of its log, where it does not listen in time. */
  readonly start: () => Promise<void>;
  /** Ends it at once (SIGKILL). Resolves when it is gone. */
  readonly kill: () => Promise<void>;
  readonly isRunning: () => boolean;
  /** Memory and open file handles; null where it does not run, or the system does not tell. */
  readonly usage: () => ProcessUsage | null;
  /** The end of its log, of all its lives. */
  readonly log: () => string;
};

/** What still runs when this process ends, whatever ends it. */
const living = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

/** `configFile` names fixed ports, or it would come back elsewhere. Audit records written to stdout go nowhere. */
export function createSidecarProcess(configFile: string): SidecarProcess {
  let child: ChildProcess | null = null;
  let log = '';

  async function start(): Promise<void> {
    const started = spawn(process.execPath, [mainFile, 'run', '--json', '--config', configFile], {
      env: { PATH: process.env.PATH ?? '' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child = started;
    living.add(started);
    started.once('close', () => {
      living.delete(started);
      if (child === started) child = null;
    });
    const { promise: listening, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => reject(new Error(`a sidecar did not start in time:\n${log}`)), startDeadlineMs);
    started.once('error', reject);
    // Killed while it starts, it does as it was told.
    started.once('close', (code) =>
      code === null ? resolve() : reject(new Error(`a sidecar ended with ${code}:\n${log}`)),
    );
    started.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-keptLogCharacters);
      if (text.includes('"listening"')) resolve();
    });
    try {
      await listening;
    } finally {
      clearTimeout(timer);
    }
  }

  async function kill(): Promise<void> {
    const running = child;
    if (running === null) return;
    const gone = new Promise<void>((resolve) => running.once('close', () => resolve()));
    running.kill('SIGKILL');
    await gone;
  }

  return {
    start,
    kill,
    isRunning: () => child !== null,
    usage: () => (child?.pid === undefined ? null : usageOf(child.pid)),
    log: () => log,
  };
}

function usageOf(pid: number): ProcessUsage | null {
  try {
    const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    const handles = readdirSync(`/proc/${pid}/fd`).length;
    return kibibytes === undefined ? null : { residentBytes: Number(kibibytes) * 1024, handles };
  } catch {
    return null;
  }
}
