/** The agents file while the sidecar runs: read again when it changes, and kept as it was where it is no good. */

import { ConfigurationFault, type Problem } from '../errors.ts';
import { loadRegistry, type Registry, signatureOf } from './registry.ts';

export type RegistryChange =
  | { readonly outcome: 'loaded'; readonly agents: number }
  | { readonly outcome: 'refused'; readonly problems: readonly Problem[] };

export type RegistryFileOptions = {
  /** Null where the configuration names no file. */
  readonly file: string | null;
  readonly registry: Registry;
  readonly pollMs: number;
  readonly onChange: (change: RegistryChange) => void;
  readonly onFault: (fault: unknown) => void;
};

export type RegistryFile = {
  readonly current: () => Registry;
  /** Looks now instead of at the next poll. Settles when the file, if it has changed, has been read. */
  readonly refresh: () => Promise<void>;
  readonly close: () => void;
};

export function followRegistry(options: RegistryFileOptions): RegistryFile {
  const { file, onChange, onFault } = options;
  let registry = options.registry;
  // Of the last state that was looked at, good or not: one that is no good is told once.
  let seen = registry.signature;
  let isClosed = false;
  let running: Promise<void> | null = null;

  async function look(path: string): Promise<void> {
    const signature = await signatureOf(path);
    if (signature === seen || isClosed) return;
    seen = signature;
    try {
      const loaded = await loadRegistry(path);
      if (isClosed) return;
      registry = loaded;
      onChange({ outcome: 'loaded', agents: registry.entries.length });
    } catch (fault) {
      if (!(fault instanceof ConfigurationFault)) throw fault;
      onChange({ outcome: 'refused', problems: fault.problems });
    }
  }

  const refresh = () => {
    if (file === null) return Promise.resolve();
    running ??= look(file)
      .catch(onFault)
      .finally(() => {
        running = null;
      });
    return running;
  };
  const timer = setInterval(refresh, options.pollMs);
  timer.unref();

  return {
    current: () => registry,
    refresh,
    close: () => {
      isClosed = true;
      clearInterval(timer);
    },
  };
}
