/** What the adapters share about revocation entries. */

import { StoreFault } from '../errors.ts';
import type { RevocationEntry } from './port.ts';

/** By time, and by id where two were made in the same millisecond, so the order never depends on the store. */
export function newestFirst(a: RevocationEntry, b: RevocationEntry): number {
  if (a.createdAtMs !== b.createdAtMs) return b.createdAtMs - a.createdAtMs;
  if (a.id === b.id) return 0;
  return a.id < b.id ? 1 : -1;
}

export function revocationSetFull(maxRevocations: number): StoreFault {
  return new StoreFault(
    `the revocation set holds ${maxRevocations} entries, all in force; lift some or give new ones an expiry`,
  );
}
