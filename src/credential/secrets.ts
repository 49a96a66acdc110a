/** The secrets of all credentials: read at start, read again as files change, gone as soon as they can't be read. */

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Config } from '../config/schema.ts';
import type { ConfigurationProblem } from '../errors.ts';
import { injectProblems } from './problems.ts';
import { readSecretText, Secret, secretBytesMax } from './secret-text.ts';

export type SecretsOptions = {
  readonly credentials: Config['credentials'];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: () => number;
  readonly pollMs: number;
  /** Told when a secret changes, is lost (`problem` says why) or comes back; for logs and metrics. Never at start. */
  readonly onChange?: (change: {
    readonly name: string;
    readonly version: number;
    readonly problem: string | null;
  }) => void;
};

export type Secrets = {
  readonly names: readonly string[];
  /** Null while the secret can't be had, or where there is no such credential. */
  readonly current: (name: string) => Secret | null;
  /** Why current gives null. Holds no part of a secret. */
  readonly problem: (name: string) => string | null;
  /** Since the file was last written, or the environment read; null while the secret can't be had. */
  readonly ageMs: (name: string) => number | null;
  /** Reads every file now. The poll does the same; tests and a signal handler need not wait for it. */
  readonly refresh: () => Promise<void>;
  readonly close: () => void;
};

type Credential = Config['credentials'][string];
type Reading =
  | { readonly text: string; readonly changedAtMs: number; readonly problem: null }
  | { readonly problem: string };

/** What is known of one credential. A lost secret keeps its version, so that the next one gets a new one. */
type Entry = {
  readonly name: string;
  readonly credential: Credential;
  secret: Secret | null;
  last: Secret | null;
  changedAtMs: number;
  problem: string | null;
};

/**
 * Every secret that can't be read, and every field that can't carry one, is a problem, and the caller does not start.
 * A secret that is lost later makes its credential unavailable.
 */
export async function createSecrets(
  options: SecretsOptions,
): Promise<{ readonly secrets: Secrets; readonly problems: readonly ConfigurationProblem[] }> {
  const { credentials, env, clock, pollMs } = options;
  const entries = new Map<string, Entry>();
  for (const [name, credential] of Object.entries(credentials)) {
    entries.set(name, { name, credential, secret: null, last: null, changedAtMs: 0, problem: null });
  }
  await Promise.all(
    [...entries.values()].map(async (entry) => apply(entry, await read(entry.credential, env, clock), undefined)),
  );
  const unreadable = [...entries.values()].flatMap(({ name, problem }) =>
    problem === null ? [] : [{ path: ['credentials', name, 'from'], message: problem }],
  );
  const problems = [...injectProblems(credentials), ...unreadable];

  // An environment never changes under a running process.
  const files = [...entries.values()].filter(({ credential }) => 'file' in credential.from);
  let running: Promise<void> | null = null;
  const refresh = (): Promise<void> => {
    running ??= Promise.all(
      files.map(async (entry) => apply(entry, await read(entry.credential, env, clock), options.onChange)),
    )
      .then(() => {})
      .finally(() => {
        running = null;
      });
    return running;
  };
  const timer = setInterval(refresh, pollMs).unref();

  const secrets: Secrets = {
    names: [...entries.keys()],
    current: (name) => entries.get(name)?.secret ?? null,
    problem: (name) => {
      const entry = entries.get(name);
      return entry === undefined ? 'is not declared' : entry.problem;
    },
    ageMs: (name) => {
      const entry = entries.get(name);
      return entry === undefined || entry.secret === null ? null : Math.max(0, clock() - entry.changedAtMs);
    },
    refresh,
    close: () => clearInterval(timer),
  };
  return { secrets, problems };
}

function apply(entry: Entry, reading: Reading, onChange: SecretsOptions['onChange']): void {
  const before = entry.secret;
  const problemBefore = entry.problem;
  entry.problem = reading.problem;
  if (reading.problem !== null) {
    entry.secret = null;
  } else {
    const isSame = entry.last?.isSame(reading.text) === true;
    entry.secret = isSame ? entry.last : new Secret(reading.text, (entry.last?.version ?? 0) + 1);
    entry.last = entry.secret;
    entry.changedAtMs = reading.changedAtMs;
  }
  if (entry.secret === before && entry.problem === problemBefore) return;
  onChange?.({ name: entry.name, version: entry.last?.version ?? 0, problem: entry.problem });
}

async function read({ from, inject }: Credential, env: SecretsOptions['env'], clock: () => number): Promise<Reading> {
  const mustBeAscii = 'header' in inject;
  if ('env' in from) {
    // An environment, too, has what every object inherits.
    const value = Object.hasOwn(env, from.env) ? env[from.env] : undefined;
    if (value === undefined) return { problem: `names ${from.env}, which the environment does not hold` };
    const vetted = readSecretText(Buffer.from(value), mustBeAscii);
    return 'problem' in vetted
      ? { problem: `names ${from.env}, whose value ${vetted.problem}` }
      : { ...vetted, changedAtMs: clock(), problem: null };
  }
  try {
    const { bytes, changedAtMs } = await readBounded(from.file);
    const vetted = readSecretText(bytes, mustBeAscii);
    return 'problem' in vetted
      ? { problem: `names ${from.file}, which ${vetted.problem}` }
      : { ...vetted, changedAtMs, problem: null };
  } catch (fault) {
    return { problem: `names ${from.file}, which cannot be read (${codeOf(fault)})` };
  }
}

/** One byte more than is allowed at most, so that too large is seen and nothing huge is loaded. */
async function readBounded(file: string): Promise<{ readonly bytes: Buffer; readonly changedAtMs: number }> {
  // Without O_NONBLOCK, opening a pipe waits for its writer.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw Object.assign(new Error('not a regular file'), { code: 'not a regular file' });
    const buffer = Buffer.alloc(secretBytesMax + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return { bytes: buffer.subarray(0, length), changedAtMs: stat.mtimeMs };
  } finally {
    await handle.close();
  }
}

function codeOf(fault: unknown): string {
  return fault instanceof Error && 'code' in fault ? String(fault.code) : 'unknown fault';
}
