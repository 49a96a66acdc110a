/** Starting in order and stopping in reverse. */

/** Things to close. Last opened, first closed; one that fails does not keep the others open. */
export type Closers = { readonly add: (close: () => unknown) => void; readonly closeAll: () => Promise<void> };

export function createClosers(onFault: (fault: unknown) => void): Closers {
  const closers: (() => unknown)[] = [];
  return {
    add: (close) => void closers.push(close),
    async closeAll() {
      for (const close of closers.splice(0).reverse()) {
        try {
          await close();
        } catch (fault) {
          onFault(fault);
        }
      }
    },
  };
}

/** However often it is called, the work is done once and everybody waits for it. */
export function runOnce(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  return () => {
    running ??= work();
    return running;
  };
}
