/** What can be wrong with an upstream and its answer, and which refusal follows from it. */

import type { IncomingHttpHeaders } from 'node:http';
import { type Deny, deny } from '../decision.ts';
import { Fault } from '../errors.ts';
import { bodyTooLarge } from './request-body.ts';

/** What makes the head of a response one that must not be relayed; null for nothing. */
export function headProblem(status: number, headers: IncomingHttpHeaders): string | null {
  // RFC 9110 §7.8: no upgrade was asked for.
  if (status === 101) return 'the upstream switched protocols';
  // RFC 9110 §15: a status outside of 100 to 599 is invalid.
  if (status > 599) return 'the upstream sent an invalid status';
  const coding: unknown = headers['transfer-encoding'];
  // RFC 9112 §6.1: with other codings we could not tell where the body ends.
  if (coding === undefined || (typeof coding === 'string' && coding.toLowerCase() === 'chunked')) return null;
  return 'the upstream sent a Transfer-Encoding other than chunked';
}

/** A code of undici or Node, else the class. */
export function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}

/** Faults of the way in which we call undici, or of our own code in its callbacks: bugs, not an upstream that fails. */
export function isOurs(error: Error, code: string): boolean {
  // A field value of the upstream that Node will not write.
  if (code === 'ERR_INVALID_CHAR') return false;
  return code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED' || error instanceof TypeError;
}

const timeouts: ReadonlySet<string> = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
]);

/** The cause is a code, or text of our own: what the upstream sent is not repeated. */
export function denyFor(error: Error, code: string): Deny {
  if (code === bodyTooLarge) return deny('body_too_large', { close: true });
  if (timeouts.has(code)) return deny('upstream_timeout', { cause: code });
  return deny('upstream_failed', { cause: error instanceof Fault ? error.message : code });
}
