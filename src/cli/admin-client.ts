/** Calls to the admin API of a running sidecar. */

import { readFile } from 'node:fs/promises';
import { request } from 'undici';
import { Fault } from '../errors.ts';

const timeoutMs = 5000;
const answerBytesMax = 16 * 1024 * 1024;

export type AdminAccess = {
  readonly admin: string;
  /** File that holds the admin token; needed where the admin address is not loopback. */
  readonly tokenFile?: string | undefined;
};

export type AdminAnswer = { readonly status: number; readonly body: unknown };

/** Throws a Fault where the sidecar cannot be reached or answers with something else than JSON. */
export async function callAdmin(
  access: AdminAccess,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<AdminAnswer> {
  if (!URL.canParse(access.admin))
    throw new Fault('usage', `--admin must be a URL such as http://127.0.0.1:9901, not ${access.admin}`);
  const headers: Record<string, string> = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (access.tokenFile !== undefined) headers.authorization = `Bearer ${await readToken(access.tokenFile)}`;
  try {
    const answer = await request(new URL(path, access.admin), {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    const text = await answer.body.text();
    if (text.length > answerBytesMax) throw new Fault('admin_answer', 'the admin API answered with too much');
    return { status: answer.statusCode, body: JSON.parse(text) };
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    throw new Fault(
      'admin_unreachable',
      `no sidecar answered at ${access.admin}; check that it runs, and --admin`,
      cause,
    );
  }
}

async function readToken(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new Fault('usage', `the token file ${file} cannot be read`, cause);
  }
}

/** What a problem+json answer says, on one line. */
export function problemText(answer: AdminAnswer): string {
  const body = answer.body;
  if (typeof body !== 'object' || body === null) return `the admin API answered ${answer.status}`;
  const title = 'title' in body ? String(body.title) : `status ${answer.status}`;
  return 'detail' in body ? `${title}: ${String(body.detail)}` : title;
}
