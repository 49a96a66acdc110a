/** Files that a configuration names, and what they must hold. Nothing here waits or creates anything. */

import { X509Certificate } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { ConfigurationProblem } from '../errors.ts';
import { isJsonObject, parseStrictJsonBytes } from '../strict-json.ts';

export type Path = readonly (string | number)[];

const fileBytesMax = 1_048_576;
const bearerCharsMin = 16;

export const fault = (path: Path, message: string): ConfigurationProblem => ({ path, message });

export function contextProblem(parts: { cert?: Buffer; key?: Buffer }): string | null {
  try {
    createSecureContext(parts);
    return null;
  } catch (cause) {
    return `holds no PEM that can be used (${codeOf(cause)})`;
  }
}

/** A secure context would pass over an authority that it can't read, and trust nobody. */
export function certificateProblem(bytes: Buffer): string | null {
  try {
    new X509Certificate(bytes);
    return null;
  } catch (cause) {
    return `holds no PEM that can be used (${codeOf(cause)})`;
  }
}

/** Discovery (RFC 8414 §3) starts from the issuer's own URL. */
export function isPlainUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, search, hash, username, password } = new URL(text);
  return (protocol === 'https:' || protocol === 'http:') && search + hash + username + password === '';
}

export function keySetProblem(bytes: Buffer): string | null {
  const value = parseStrictJsonBytes(bytes, { maxDepth: 16 });
  // RFC 7517 §5.
  return isJsonObject(value) && Array.isArray(value.keys) && value.keys.length > 0 ? null : 'holds no JSON Web Key Set';
}

/** A certificate chain and its key, for a listener. */
export function checkKeyPair(
  path: Path,
  { certFile, keyFile }: { readonly certFile: string; readonly keyFile: string },
): readonly ConfigurationProblem[] {
  const problems = [
    ...checkFile([...path, 'certFile'], certFile, (cert) => contextProblem({ cert })),
    ...checkFile([...path, 'keyFile'], keyFile, (key) => contextProblem({ key })),
  ];
  if (problems.length > 0) return problems;
  const [cert, key] = [readBounded(certFile), readBounded(keyFile)];
  if (typeof cert === 'string' || typeof key === 'string' || contextProblem({ cert, key }) === null) return [];
  return [fault([...path, 'keyFile'], 'is not the key of the certificate in certFile')];
}

/** RFC 6750 §2.1: what an Authorization field can carry, and long enough not to be guessed. */
export function bearerTokenProblem(bytes: Buffer): string | null {
  const token = bytes.toString('latin1').trim();
  if (!/^[\x21-\x7e]*$/.test(token)) return 'must hold one word of printable ASCII';
  return token.length < bearerCharsMin
    ? `holds a token shorter than ${bearerCharsMin} characters; use a random one`
    : null;
}

export function emptyProblem(bytes: Buffer): string | null {
  return bytes.toString('utf8').trim() === '' ? 'is empty' : null;
}

export function checkFile(
  path: Path,
  file: string | undefined,
  problemOf: (bytes: Buffer) => string | null,
): readonly ConfigurationProblem[] {
  if (file === undefined) return [];
  const bytes = readBounded(file);
  const problem = typeof bytes === 'string' ? bytes : problemOf(bytes);
  return problem === null ? [] : [fault(path, problem)];
}

/** The bytes, or why there are none. Never waits: without O_NONBLOCK, opening a pipe waits for its writer. */
export function readBounded(file: string): Buffer | string {
  let descriptor: number | null = null;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(descriptor).isFile()) return 'is not a regular file';
    const buffer = Buffer.alloc(fileBytesMax + 1);
    const length = readSync(descriptor, buffer, 0, buffer.length, 0);
    return length > fileBytesMax ? 'is larger than 1 MiB' : buffer.subarray(0, length);
  } catch (error) {
    return `cannot be read (${codeOf(error)})`;
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown fault';
}
