/** Certificate files of a listener: read at the start, and again when they may have changed. */

import type { Server } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { certificateProblem, contextProblem, readBounded } from './config/check-files.ts';
import type { Config } from './config/schema.ts';
import { Fault } from './errors.ts';

type Tls = Pick<NonNullable<Config['listen']['tls']>, 'certFile' | 'keyFile' | 'clientCaFile'>;

/** What the files hold. Throws a Fault where one can't be read. */
export function readCertificates({ certFile, keyFile, clientCaFile }: Tls) {
  return {
    cert: read('certFile', certFile),
    key: read('keyFile', keyFile),
    ...(clientCaFile === undefined ? {} : { ca: read('clientCaFile', clientCaFile) }),
    // Setting a context anew without it would fall back to Node's own.
    minVersion: 'TLSv1.2' as const,
  };
}

function read(key: string, file: string): Buffer {
  const bytes = readBounded(file);
  if (typeof bytes === 'string') throw new Fault('tls_file', `listen.tls.${key} ${bytes}`);
  return bytes;
}

/** After a refusal new connections still get what was good before. */
export type Renewal =
  | { readonly outcome: 'unchanged' | 'loaded' }
  | { readonly outcome: 'refused'; readonly problem: string };

/** Looks at the files. Open connections keep what they have. `inUse` is what the server was made with. */
export function createRenew(
  server: Pick<Server, 'setSecureContext'>,
  tls: Tls,
  inUse: ReturnType<typeof readCertificates>,
): () => Renewal {
  let current = inUse;
  return () => {
    try {
      const next = readCertificates(tls);
      if (isDeepStrictEqual(next, current)) return { outcome: 'unchanged' };
      // The pair is looked at as it was read: one of two files may have been replaced already.
      const problem = contextProblem(next) ?? (next.ca === undefined ? null : certificateProblem(next.ca));
      if (problem !== null) return { outcome: 'refused', problem: `listen.tls ${problem}` };
      server.setSecureContext(next);
      current = next;
      return { outcome: 'loaded' };
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      return { outcome: 'refused', problem: fault.message };
    }
  };
}
