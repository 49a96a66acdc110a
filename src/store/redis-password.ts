/** The password of Redis, from a file that may change while Postern runs. */

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { Fault } from '../errors.ts';
import { systemCode } from './redis-options.ts';

const fileBytesMax = 65_536;

/** What the file holds, without blanks around it. Throws a Fault that quotes nothing of it. */
export function readPasswordFile(file: string): string {
  let descriptor: number | null = null;
  try {
    // Without O_NONBLOCK, opening a pipe waits for its writer.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(descriptor).isFile()) throw new Fault('PASSWORDFILE', `${file} is not a regular file`);
    const buffer = Buffer.alloc(fileBytesMax);
    const password = buffer.toString('utf8', 0, readSync(descriptor, buffer, 0, buffer.length, 0)).trim();
    if (password === '') throw new Fault('PASSWORDFILE', `${file} is empty`);
    return password;
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault('PASSWORDFILE', `${file} cannot be read (${systemCode(error)})`);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

/** As whom to log in; null for no user name, and for no password. */
export type Login = { readonly username: string | null; readonly password: string | null };

export function loginOptions({ username, password }: Login) {
  return { ...(username === null ? {} : { username }), ...(password === null ? {} : { password }) };
}

export type LoginOptions = {
  readonly username: string | null;
  readonly file: string | undefined;
  /** Where there is no file. */
  readonly fixed: string | null;
  readonly pollMs: number;
  /** Logs the connection in anew. Null while there is none, which then is made with what the file holds. */
  readonly authenticate: (password: string) => Promise<unknown> | null;
  readonly onNews: (level: 'info' | 'warn', text: string) => void;
};

export type Logins = {
  readonly current: () => Login;
  /** Reads the file now. It is small and local, and this is done on reconnecting only, so it may be waited for. */
  readonly read: () => Login;
  readonly close: () => void;
};

/**
 * A new password in the file is used at once: the live connection is told of it, and where Redis does not know it yet,
 * stays as it is and tries at every poll. Throws a Fault where the file can't be read at the start.
 */
export function createLogins({ username, file, fixed, pollMs, authenticate, onNews }: LoginOptions): Logins {
  let login: Login = { username, password: file === undefined ? fixed : readPasswordFile(file) };
  if (file === undefined) return { current: () => login, read: () => login, close: () => {} };
  let isLost = false;
  let refused: string | null = null;

  /** The last password stays in use while the file can't be read. */
  function read(from: string): string | null {
    try {
      const password = readPasswordFile(from);
      isLost = false;
      return password;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (!isLost) onNews('warn', `the password of Redis stays as it was, because ${error.message}`);
      isLost = true;
      return login.password;
    }
  }

  function poll(from: string): void {
    const password = read(from);
    if (password === login.password || password === null) return;
    authenticate(password)?.then(
      () => {
        login = { username, password };
        refused = null;
        onNews('info', 'Redis takes the new password');
      },
      () => {
        if (refused !== password) onNews('warn', 'Redis refuses the new password; the connection with the old goes on');
        refused = password;
      },
    );
  }

  const timer = setInterval(() => poll(file), pollMs).unref();
  return {
    current: () => login,
    read: () => {
      login = { username, password: read(file) };
      return login;
    },
    close: () => clearInterval(timer),
  };
}
