/** How the admin API answers, and how it reads what it is sent. */

import type { IncomingMessage } from 'node:http';
import { parseStrictJsonBytes } from './strict-json.ts';
import { readRequestBody } from './whole-body.ts';

const bodyBytesMax = 65_536;
const bodyDepthMax = 16;
const authorCharsMax = 256;

export type Answer = {
  readonly status: number;
  readonly body: string;
  readonly type: string;
  readonly fields?: Record<string, string>;
};

/** A problem that the caller of the admin API made. */
export type AdminProblem = { readonly problem: string };

/** A request whose caller may make it. */
export type AdminRequest = {
  /** GET for HEAD too. */
  readonly method: string;
  /** As sent, without the query. */
  readonly path: string;
  /** What follows the question mark; empty where there is none. */
  readonly query: string;
  readonly incoming: IncomingMessage;
};

export const json = (status: number, value: unknown): Answer => ({
  status,
  body: `${JSON.stringify(value)}\n`,
  type: 'application/json',
});

/** RFC 9457. */
export const problem = (status: number, title: string, detail: string, more: object = {}): Answer => ({
  status,
  body: `${JSON.stringify({ type: 'about:blank', title, status, detail, ...more })}\n`,
  type: 'application/problem+json',
});

export function notAllowed(allow: string): Answer {
  return { ...problem(405, 'Method not allowed', `Allowed: ${allow}`), fields: { allow } };
}

/** Who an entry names as its author: whatever the caller says. */
export function authorOf({ incoming }: AdminRequest): string {
  const author = incoming.headers['postern-author'];
  return typeof author === 'string' ? author.slice(0, authorCharsMax) : 'admin';
}

/** The value of a JSON body, or the answer to a body that has none. */
export async function readJson({ incoming }: AdminRequest): Promise<{ readonly value: unknown } | Answer> {
  // A form post needs no preflight; asking for JSON keeps web pages from posting across origins.
  if (!/^application\/json\s*(;|$)/i.test(incoming.headers['content-type'] ?? '')) {
    return problem(415, 'Unsupported media type', 'Send application/json.');
  }
  const bytes = await readRequestBody(incoming, bodyBytesMax);
  if (bytes === 'too large') return problem(413, 'Body too large', 'Send 64 KiB at most.');
  const value = bytes === 'aborted' ? undefined : parseStrictJsonBytes(bytes, { maxDepth: bodyDepthMax });
  if (value === undefined) return problem(400, 'Malformed JSON', 'The body is not JSON, or names a member twice.');
  return { value };
}
