/**
 * Real Redis servers for tests. As vitest's global setup it starts one for the whole run, or takes the one that
 * REDIS_URL names, and provides its URL as `redisUrl`. Tests share it, each under a prefix of its own.
 */

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  export interface ProvidedContext {
    redisUrl: string;
  }
}

export type RedisServer = {
  /** Holds the password, where there is one. */
  readonly url: string;
  readonly port: number;
  /** The process stands still (SIGSTOP): connections stay open and are accepted, and nothing is answered. */
  pause(): void;
  resume(): void;
  /** Ends the process at once, as a crash would. Resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts again on the same port with what it has on disk, which without persistence is nothing. */
  restart(): Promise<void>;
  /** The same, after everything on its disk is gone. */
  restartEmpty(): Promise<void>;
  stop(): Promise<void>;
};

export type RedisServerOptions = {
  readonly password?: string;
  /** Makes this a read-only replica of the server on that port of this machine. */
  readonly replicaOfPort?: number;
  /** Files, and whether it wants a certificate of its clients too. The port then takes TLS only. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly caFile: string; isMutual?: boolean };
  /** The lines of a configuration file; with them it is a Sentinel. */
  readonly sentinel?: readonly string[];
  /** More of the server's own arguments, such as `--maxmemory-policy allkeys-lru`. */
  readonly extraArguments?: readonly string[];
};

const startDeadlineMs = 15_000;
const setpriv = '/usr/bin/setpriv';

/** A prefix that no other test uses, acceptable as `store.prefix`. */
export function uniquePrefix(): string {
  return `test:${randomUUID()}:`;
}

/** vitest calls this once before the run, and what it returns after. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.REDIS_URL;
  if (given !== undefined && given !== '') {
    await assertListening(given);
    project.provide('redisUrl', given);
    return async () => {};
  }
  const server = await startRedis();
  project.provide('redisUrl', server.url);
  return () => server.stop();
}

/** Starts a server of the caller's own on 127.0.0.1, without persistence. Rejects where none can be started. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-redis-'));
  const port = await freePort();
  let running = await launch(port, folder, options);
  const secret = options.password === undefined ? '' : `:${encodeURIComponent(options.password)}@`;
  return {
    url: `${options.tls === undefined ? 'redis' : 'rediss'}://${secret}127.0.0.1:${port}`,
    port,
    pause: () => running.signal('SIGSTOP'),
    resume: () => running.signal('SIGCONT'),
    kill: () => running.kill(),
    restart: async () => {
      await running.kill();
      running = await launch(port, folder, options);
    },
    restartEmpty: async () => {
      await running.kill();
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder);
      running = await launch(port, folder, options);
    },
    stop: async () => {
      await running.kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Ends what a test has left running, whatever ends this process. */
const living = new Set<() => void>();
process.once('exit', () => {
  for (const end of living) end();
});

type Running = { signal(name: NodeJS.Signals): void; kill(): Promise<void> };

async function launch(port: number, folder: string, options: RedisServerOptions): Promise<Running> {
  // Debian keeps servers in sbin, which the PATH of an ordinary user may lack.
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin` };
  const command = ['redis-server', ...serverArguments(port, folder, options)];
  // A test process that is killed runs nothing at its end; where there is setpriv, the kernel ends the server with it.
  const [file = '', ...args] = existsSync(setpriv) ? [setpriv, '--pdeathsig', 'KILL', ...command] : command;
  const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const end = () => child.kill('SIGKILL');
  living.add(end);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  let output = '';
  const ready = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`redis-server is not ready in time:\n${output}`)), startDeadlineMs);
    timer.unref();
    child.once('error', (error) =>
      reject(
        new Error('redis-server cannot be started: run npm test, which installs it, or set REDIS_URL', {
          cause: error,
        }),
      ),
    );
    child.once('exit', (code) => reject(new Error(`redis-server ended with ${code}:\n${output}`)));
    const read = (chunk: Buffer) => {
      output = (output + chunk.toString('utf8')).slice(-4096);
      if (/eady to accept connections|Sentinel ID is/.test(output)) {
        clearTimeout(timer);
        resolve();
      }
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
  });
  try {
    await ready;
  } catch (error) {
    end();
    throw error;
  }
  return {
    signal: (name) => {
      child.kill(name);
    },
    kill: async () => {
      end();
      await exited;
      living.delete(end);
    },
  };
}

function serverArguments(port: number, folder: string, options: RedisServerOptions): string[] {
  if (options.sentinel !== undefined) {
    const file = join(folder, 'sentinel.conf');
    const ports = options.tls === undefined ? [`port ${port}`] : ['port 0', `tls-port ${port}`];
    // A Sentinel writes what it has learnt into its file; a restart goes on from there.
    if (!existsSync(file)) writeFileSync(file, [...ports, 'bind 127.0.0.1', ...options.sentinel, ''].join('\n'));
    return [file, '--sentinel'];
  }
  const fixed = [
    ...portArguments(port, options),
    '--bind',
    '127.0.0.1',
    '--dir',
    folder,
    '--save',
    '',
    '--appendonly',
    'no',
    // A replica gets its copy at once.
    '--repl-diskless-sync-delay',
    '0',
  ];
  const password = options.password === undefined ? [] : ['--requirepass', options.password];
  const replica =
    options.replicaOfPort === undefined ? [] : ['--replicaof', '127.0.0.1', String(options.replicaOfPort)];
  return [...fixed, '--daemonize', 'no', ...password, ...replica, ...(options.extraArguments ?? [])];
}

function portArguments(port: number, { tls }: RedisServerOptions): string[] {
  if (tls === undefined) return ['--port', String(port)];
  const files = ['--tls-cert-file', tls.certFile, '--tls-key-file', tls.keyFile, '--tls-ca-cert-file', tls.caFile];
  const clients = tls.isMutual === true ? 'yes' : 'no';
  return ['--port', '0', '--tls-port', String(port), ...files, '--tls-auth-clients', clients];
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('the operating system gave no port');
  return address.port;
}

async function assertListening(text: string): Promise<void> {
  const url = new URL(text);
  const socket = connect({ host: url.hostname, port: Number(url.port || 6379), timeout: 5000 });
  socket.once('timeout', () => socket.destroy(new Error('no answer')));
  try {
    await once(socket, 'connect');
  } catch (error) {
    throw new Error(`REDIS_URL is set, but nothing answers at ${url.host}`, { cause: error });
  } finally {
    socket.destroy();
  }
}
