/** The command as a process of its own: what people and init systems see of it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const mainFile = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export type ProcessOptions = {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A file descriptor in place of a pipe that is read. */
  readonly stdout?: number;
  /** Another script than the one in the repository, or another runtime. */
  readonly command?: readonly string[];
};

export type Ended = {
  /** Null where a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
};

export type Running = {
  /** The first JSON line on stderr that names where it listens. Rejects with the output where it ends before. */
  readonly listening: Promise<{ readonly listening: string; readonly admin: string }>;
  readonly ended: Promise<Ended>;
  readonly kill: (signal: NodeJS.Signals) => void;
};

/** No colour is forced on it or forbidden, and nothing of this environment reaches it but the path. */
function spawnPostern(args: readonly string[], { env = {}, cwd, stdout = -1, command }: ProcessOptions): ChildProcess {
  const [file = '', ...before] = command ?? [process.execPath, mainFile];
  return spawn(file, [...before, ...args], {
    env: { PATH: process.env.PATH ?? '', ...env },
    ...(cwd === undefined ? {} : { cwd }),
    stdio: ['ignore', stdout < 0 ? 'pipe' : stdout, 'pipe'],
  });
}

/** Rejects nothing: how it ended is for the test to judge. */
function watch(child: ChildProcess): { readonly ended: Promise<Ended>; readonly output: { out: string; err: string } } {
  const output = { out: '', err: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output.out += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output.err += text;
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, stdout: output.out, stderr: output.err }));
  });
  return { ended, output };
}

/** Runs it to its end. */
export function postern(args: readonly string[], options: ProcessOptions = {}): Promise<Ended> {
  return watch(spawnPostern(args, options)).ended;
}

/** Runs `postern run --json`, to be stopped by a signal. */
export function startPostern(configFile: string, options: ProcessOptions = {}): Running {
  const child = spawnPostern(['run', '--json', '--config', configFile], options);
  const { ended } = watch(child);
  const listening = new Promise<{ listening: string; admin: string }>((resolve, reject) => {
    if (child.stderr === null) throw new TypeError('stderr is a pipe');
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (line.includes('"listening":')) resolve(JSON.parse(line) as { listening: string; admin: string });
    });
    void ended.then(({ code, stdout, stderr }) => reject(new Error(`ended with ${code}:\n${stdout}${stderr}`)));
  });
  // Where a test waits for the end only, an early one is not an unhandled rejection.
  listening.catch(() => {});
  return { listening, ended, kill: (signal) => void child.kill(signal) };
}
