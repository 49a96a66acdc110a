/** What finds a credential in what comes back from an upstream. Whoever knows the secret makes one; others ask it. */

/** Looks for a credential in what comes back from an upstream. */
export type LeakGuard = {
  /** Whether it is in a text of one character a byte, such as a field value. */
  readonly isIn: (text: string) => boolean;
  /** A search of its own for each body. */
  readonly search: () => LeakSearch;
};

export type LeakSearch = {
  /** What may be passed on of all that was pushed so far; null when it holds the credential. Then it is over. */
  readonly push: (chunk: Buffer) => Buffer | null;
  /** Whether nothing is kept back, so that the credential cannot have begun. */
  readonly isClean: () => boolean;
  /** What was kept back, when nothing follows. Begins anew. */
  readonly rest: () => Buffer;
};
