/** Looks at files when something changes in their folders, and now and then where nothing says so. */

import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';

/** An editor writes a file in several steps: a look in between would find half of it. */
const quietMs = 200;
/** A folder that never rests is looked at all the same. */
const quietMaxMs = 2000;
const foldersMax = 1000;

export type WatchOptions = {
  /** Looks, and gives the folders in which the next change would show. Never called twice at once. */
  readonly look: () => Promise<readonly string[]>;
  /** Finds what no event tells: network file systems have none, and a link further up may turn to another folder. */
  readonly intervalMs: number;
  /** Files in those folders that change without end, such as an audit file. */
  readonly ignored: ReadonlySet<string>;
  readonly onFault: (fault: unknown) => void;
};

/** Begins with a look. Gives what ends it, which settles when no look is under way. */
export function watchFiles({ look, intervalMs, ignored, onFault }: WatchOptions): () => Promise<void> {
  const watchers = new Map<string, { readonly watcher: FSWatcher; readonly identity: string }>();
  let isClosed = false;
  let isDue = false;
  let running: Promise<void> | null = null;
  let quiet: NodeJS.Timeout | undefined;
  let restlessSinceMs: number | null = null;

  async function cycle(): Promise<void> {
    try {
      do {
        isDue = false;
        const folders = await look();
        await follow(new Set(folders.slice(0, foldersMax)));
      } while (isDue && !isClosed);
    } catch (fault) {
      onFault(fault);
    } finally {
      running = null;
    }
  }
  const start = () => {
    restlessSinceMs = null;
    clearTimeout(quiet);
    if (isClosed) return;
    if (running === null) running = cycle();
    else isDue = true;
  };
  const onEvent = (folder: string, name: string | null) => {
    if (isClosed || (name !== null && ignored.has(join(folder, name)))) return;
    const nowMs = performance.now();
    restlessSinceMs ??= nowMs;
    clearTimeout(quiet);
    quiet = setTimeout(start, Math.max(0, Math.min(quietMs, restlessSinceMs + quietMaxMs - nowMs)));
    quiet.unref();
  };
  const drop = (folder: string) => {
    watchers.get(folder)?.watcher.close();
    watchers.delete(folder);
  };

  /** A folder that was replaced by another of its name is watched anew: the watcher would stay with the old one. */
  async function follow(folders: ReadonlySet<string>): Promise<void> {
    for (const folder of watchers.keys()) if (!folders.has(folder)) drop(folder);
    for (const folder of folders) {
      const identity = await identityOf(folder);
      const known = watchers.get(folder);
      if (known !== undefined && known.identity === identity) continue;
      drop(folder);
      if (identity === null || isClosed) continue;
      try {
        const watcher = watch(folder, { persistent: false }, (_event, name) => onEvent(folder, name));
        watcher.on('error', () => drop(folder));
        watchers.set(folder, { watcher, identity });
        // What changed between the look and this moment was told to nobody.
        if (known === undefined || known.identity !== identity) onEvent(folder, null);
      } catch {
        // The system has no more watchers to give, or the folder has just gone: the interval remains.
      }
    }
  }

  const timer = setInterval(start, intervalMs);
  timer.unref();
  start();
  return async () => {
    isClosed = true;
    clearInterval(timer);
    clearTimeout(quiet);
    for (const folder of [...watchers.keys()]) drop(folder);
    await running;
  };
}

/** Null for what is no folder. */
async function identityOf(folder: string): Promise<string | null> {
  try {
    const found = await stat(folder);
    return found.isDirectory() ? `${found.dev}:${found.ino}` : null;
  } catch {
    return null;
  }
}
