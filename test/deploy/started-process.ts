/** A child process that says in a line of JSON where it listens, and ends when it is told to. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export type StartedProcess = {
  /** The first JSON line with a member `listening`. */
  readonly started: Readonly<Record<string, string>>;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Sends SIGTERM where the process still runs. Resolves to its exit code, or to the signal that ended it. */
  readonly stop: () => Promise<number | NodeJS.Signals | null>;
};

const startTimeoutMs = 15_000;

/** Rejects, with what the process wrote, when it ends or stays silent before it listens. */
export async function startProcess(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<StartedProcess> {
  const [file = '', ...args] = command;
  const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  const ended = new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
  const said = new Promise<Readonly<Record<string, string>>>((resolve) => {
    for (const name of ['stdout', 'stderr'] as const) {
      createInterface({ input: child[name] }).on('line', (line) => {
        output[name] += `${line}\n`;
        const started = readStart(line);
        if (started !== null) resolve(started);
      });
    }
  });
  const failed = (why: string) => new Error(`${command.join(' ')} ${why}:\n${output.stderr}${output.stdout}`);
  const silent = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    child.kill('SIGKILL');
    silent.reject(failed('did not say where it listens'));
  }, startTimeoutMs);
  const early = ended.then((code) => Promise.reject(failed(`ended with ${code}`)));
  const started = await Promise.race([said, early, silent.promise]).finally(() => clearTimeout(timer));
  // Once it has started, its end is no failure any more.
  early.catch(() => undefined);
  return {
    started,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    stop: () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      return ended;
    },
  };
}

function readStart(line: string): Readonly<Record<string, string>> | null {
  if (!line.startsWith('{')) return null;
  try {
    const value = JSON.parse(line) as Record<string, string>;
    return typeof value.listening === 'string' ? value : null;
  } catch {
    return null;
  }
}
