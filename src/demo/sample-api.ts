/** A small code-hosting API for the demo. Like the real ones, it answers nobody who lacks its secret key. */

import { hash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { closeServer, listenOnLoopback, loopback } from './listen.ts';

export type SampleApiOptions = {
  readonly port: number;
  /** Expected as "Authorization: Bearer SECRET". */
  readonly secret: string;
};

/** What one request brought, for the tour to look at. Never leaves this process. */
export type ReceivedRequest = {
  readonly method: string;
  readonly target: string;
  /** As sent, in order; names in lower case. */
  readonly fields: ReadonlyArray<readonly [string, string]>;
  readonly isAuthorized: boolean;
};

export type SampleApi = {
  readonly origin: string;
  /** The most recent requests, oldest first. */
  readonly received: () => readonly ReceivedRequest[];
  /** How many requests there have been in all. */
  readonly count: () => number;
  readonly close: () => Promise<void>;
};

type Issue = { readonly number: number; readonly title: string };
type Repository = { readonly owner: string; readonly name: string; readonly description: string; issues: Issue[] };
type Answer = { readonly status: number; readonly body: unknown; readonly location?: string };

const receivedMax = 100;
const bodyBytesMax = 16_384;
const issuesMax = 1000;
const eventsMax = 600;
const eventEveryMs = 500;

/**
 * Serves GET on /repos/{owner} and /repos/{owner}/{name}, on its /issues, its /events (as a stream) and its /debug (which
 * tells what was sent, the key included), and POST on /issues.
 */
export async function startSampleApi({ port, secret }: SampleApiOptions): Promise<SampleApi> {
  const isAuthorized = createAuthorize(secret);
  const repositories = createRepositories();
  const received: ReceivedRequest[] = [];
  let count = 0;
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000, maxHeaderSize: 16_384 });

  server.on('request', async (request, response) => {
    const authorized = isAuthorized(request.headers.authorization);
    count += 1;
    if (received.length === receivedMax) received.shift();
    received.push(receivedOf(request, authorized));
    try {
      const found = authorized ? await answer(request, repositories) : unauthorized;
      if (found === 'events') sendEvents(response);
      else send(request, response, found);
    } catch {
      // The body ended early: there is nobody left to answer.
      response.destroy();
    }
  });

  const actualPort = await listenOnLoopback(server, port);
  return {
    origin: `http://${loopback}:${actualPort}`,
    received: () => [...received],
    count: () => count,
    close: () => closeServer(server),
  };
}

const unauthorized: Answer = { status: 401, body: { message: 'Requires the API key' } };
const notFound: Answer = { status: 404, body: { message: 'Not Found' } };

async function answer(request: IncomingMessage, repositories: readonly Repository[]): Promise<Answer | 'events'> {
  const [path = '/'] = (request.url ?? '/').split('?');
  const [, root, owner, name, leaf, ...rest] = path.split('/');
  if (root !== 'repos' || owner === undefined || rest.length > 0) return notFound;
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  if (name === undefined) {
    const owned = repositories.filter((repository) => repository.owner === owner);
    return isRead ? { status: 200, body: owned.map(summary) } : notFound;
  }
  const repository = repositories.find((candidate) => candidate.owner === owner && candidate.name === name);
  if (repository === undefined) return notFound;
  if (leaf === undefined && isRead) return { status: 200, body: summary(repository) };
  if (leaf === 'events' && request.method === 'GET') return 'events';
  if (leaf === 'debug' && isRead) return { status: 200, body: { you_sent: request.headers } };
  if (leaf === 'issues' && isRead) return { status: 200, body: repository.issues };
  if (leaf === 'issues' && request.method === 'POST') return createIssue(request, repository);
  return notFound;
}

async function createIssue(request: IncomingMessage, repository: Repository): Promise<Answer> {
  const title = titleOf(await readBody(request));
  if (title === null) return { status: 422, body: { message: 'Send JSON with a title of 1 to 200 characters' } };
  const issue = { number: (repository.issues.at(-1)?.number ?? 0) + 1, title };
  repository.issues = [...repository.issues.slice(1 - issuesMax), issue];
  const { owner, name } = repository;
  return { status: 201, body: issue, location: `/repos/${owner}/${name}/issues/${issue.number}` };
}

/** Null when there is more than the API takes. */
async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError('a request without an encoding yields buffers');
    bytes += chunk.length;
    if (bytes > bodyBytesMax) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function titleOf(body: string | null): string | null {
  try {
    const value: unknown = JSON.parse(body ?? '');
    if (typeof value !== 'object' || value === null || !('title' in value)) return null;
    const { title } = value;
    return typeof title === 'string' && title.length >= 1 && title.length <= 200 ? title : null;
  } catch {
    return null;
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, body, location }: Answer): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...(location === undefined ? {} : { location }),
    ...(status === 401 ? { 'www-authenticate': 'Bearer realm="sample"' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : text);
}

/** Server-sent events, until the client has enough or the stream is long enough. */
function sendEvents(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  let count = 0;
  const tick = () => {
    count += 1;
    response.write(`event: push\ndata: {"commit":${count}}\n\n`);
    if (count === eventsMax) response.end();
  };
  const timer = setInterval(tick, eventEveryMs);
  response.once('close', () => clearInterval(timer));
  tick();
}

function createAuthorize(secret: string): (authorization: string | undefined) => boolean {
  const expected = hash('sha256', `Bearer ${secret}`, 'buffer');
  // Digests have one length, so the comparison takes one time.
  return (authorization) => timingSafeEqual(hash('sha256', authorization ?? '', 'buffer'), expected);
}

function receivedOf(request: IncomingMessage, isAuthorized: boolean): ReceivedRequest {
  const fields: [string, string][] = [];
  for (let index = 0; index + 1 < request.rawHeaders.length; index += 2) {
    fields.push([(request.rawHeaders[index] ?? '').toLowerCase(), request.rawHeaders[index + 1] ?? '']);
  }
  return { method: request.method ?? '', target: request.url ?? '', fields, isAuthorized };
}

function summary({ owner, name, description, issues }: Repository) {
  return { full_name: `${owner}/${name}`, description, open_issues: issues.length };
}

function createRepositories(): readonly Repository[] {
  return [
    {
      owner: 'acme',
      name: 'site',
      description: 'The public web site',
      issues: [{ number: 1, title: 'Footer links to last year' }],
    },
    { owner: 'acme', name: 'billing', description: 'Invoices and payments', issues: [] },
  ];
}
