/** Calls to the admin API of a running sidecar. */

import { readFile } from 'node:fs/promises';
import { Agent, type Dispatcher, request } from 'undici';
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
  const { admin } = access;
  const base = URL.canParse(admin) ? new URL(admin) : null;
  if (base === null || !['http:', 'https:'].includes(base.protocol) || base.username + base.password !== '')
    throw new Fault('usage', `--admin must be a URL such as http://127.0.0.1:9901, not ${admin}`);
  const headers: Record<string, string> = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (access.tokenFile !== undefined) headers.authorization = `Bearer ${await readToken(access.tokenFile)}`;
  const dispatcher = new Agent({ connect: { timeout: timeoutMs }, headersTimeout: timeoutMs, bodyTimeout: timeoutMs });
  try {
    const answer = await request(new URL(path, base), {
      dispatcher,
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
    });
    return { status: answer.statusCode, body: parse(await readText(answer.body), admin) };
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    throw new Fault('admin_unreachable', `no sidecar answered ${askedText(access)}; check that it runs`, cause);
  } finally {
    await dispatcher.destroy();
  }
}

async function readText(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > answerBytesMax) throw new Fault('admin_answer', 'the admin API answered with too much');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parse(text: string, admin: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Fault('admin_answer', `what answers at ${admin} is no admin API of Postern; check --admin`, cause);
  }
}

async function readToken(file: string): Promise<string> {
  let token: string;
  try {
    token = (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new Fault('usage', `the token file ${file} cannot be read`, cause);
  }
  // Anything else no Authorization field can carry (RFC 6750 §2.1).
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Fault('usage', `the token file ${file} must hold one word`);
  return token;
}

/** The sidecar that was asked, and how to ask another one. */
export function askedText({ admin }: AdminAccess): string {
  return `at ${admin}; another with --admin`;
}

export const usualAdmin = 'http://127.0.0.1:9901';

/** The options that reach the same sidecar again, to be put behind a command; nothing where it is found without any. */
export function accessOptions({ admin, tokenFile }: AdminAccess): string {
  const token = tokenFile === undefined ? '' : ` --token-file ${quoted(tokenFile)}`;
  return `${admin === usualAdmin ? '' : ` --admin ${quoted(admin)}`}${token}`;
}

/** One word for a shell. */
function quoted(text: string): string {
  return /^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** What a problem+json answer says, on one line. */
export function problemText(answer: AdminAnswer): string {
  const body = answer.body;
  if (typeof body !== 'object' || body === null) return `the admin API answered ${answer.status}`;
  if (answer.status === 401) return 'the admin API wants its token; name the file that holds it with --token-file';
  const title = 'title' in body ? String(body.title) : `status ${answer.status}`;
  return 'detail' in body ? `${title}: ${String(body.detail)}` : title;
}
