/** The admin listener: probes, metrics and revocations, on a port of its own, never on the data port. */

import { hash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { listenAt } from './address.ts';
import { StoreFault } from './errors.ts';
import { parseStrictJsonBytes } from './strict-json.ts';

const bodyBytesMax = 65_536;
const bodyDepthMax = 16;
const connectionsMax = 256;

/** What a check of readiness found; `detail` is for people. */
export type Check = { readonly ok: boolean; readonly detail?: string };

/** A problem that the caller of the admin API made. */
export type AdminProblem = { readonly problem: string };

export type AdminOptions = {
  /** Null where the address is loopback and no token is set. */
  readonly token: string | null;
  readonly readiness: () => Promise<Readonly<Record<string, Check>>>;
  readonly metrics: { readonly contentType: string; readonly expose: () => Promise<string> };
  /** JSON views; `author` is who the entry names. */
  readonly revocations: {
    readonly create: (body: unknown, author: string) => Promise<object | AdminProblem>;
    readonly lift: (id: string) => Promise<object | null>;
    readonly list: () => Promise<readonly object[]>;
  };
  /** A recent decision's audit record, as JSON, by its id. */
  readonly findDecision: (id: string) => string | null;
  readonly onFault: (fault: unknown) => void;
};

type Answer = {
  readonly status: number;
  readonly body: string;
  readonly type: string;
  readonly fields?: Record<string, string>;
};

const json = (status: number, value: unknown): Answer => ({
  status,
  body: `${JSON.stringify(value)}\n`,
  type: 'application/json',
});
const problem = (status: number, title: string, detail: string): Answer => ({
  status,
  body: `${JSON.stringify({ type: 'about:blank', title, status, detail })}\n`,
  type: 'application/problem+json',
});

/** Assumes a file in which the verification of the configuration has found a token. */
export function readAdminToken(file: string): string {
  return readFileSync(file, 'utf8').trim();
}

export type Admin = {
  /** `host:port`; gives the port that it listens on. */
  readonly start: (address: string) => Promise<number>;
  readonly close: () => Promise<void>;
};

export function createAdmin(options: AdminOptions): Admin {
  const limits = {
    maxHeaderSize: 16_384,
    requestTimeout: 10_000,
    headersTimeout: 5000,
    keepAliveTimeout: 60_000,
    connectionsCheckingInterval: 1000,
  };
  const server = createServer(limits, async (incoming, response) => {
    const answer = await answerTo(options, incoming).catch((fault: unknown) => answerToFault(options, fault));
    send(response, answer, incoming);
  });
  server.maxConnections = connectionsMax;
  return {
    async start(address) {
      const port = await listenAt(server, address, 'admin.address');
      server.on('error', options.onFault);
      return port;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function answerToFault(options: AdminOptions, fault: unknown): Answer {
  if (fault instanceof StoreFault) return problem(503, 'Store unavailable', fault.message);
  options.onFault(fault);
  return problem(500, 'Internal error', 'Postern failed; see its log.');
}

function send(response: ServerResponse, answer: Answer, incoming: IncomingMessage): void {
  response.writeHead(answer.status, {
    'content-type': answer.type,
    'content-length': Buffer.byteLength(answer.body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    // What is left of a body that nobody reads would be taken for the next request.
    ...(incoming.complete ? {} : { connection: 'close' }),
    ...answer.fields,
  });
  response.end(incoming.method === 'HEAD' ? undefined : answer.body);
}

async function answerTo(options: AdminOptions, incoming: IncomingMessage): Promise<Answer> {
  const path = (incoming.url ?? '').split('?', 1)[0] ?? '';
  const method = incoming.method === 'HEAD' ? 'GET' : (incoming.method ?? '');
  const refusal = authenticate(options.token, incoming);
  // A kubelet holds no token. What exactly is wrong is told to those only who have one.
  if (path === '/livez') return method === 'GET' ? json(200, { status: 'ok' }) : notAllowed('GET');
  if (path === '/readyz') {
    return method === 'GET' ? readyz(await options.readiness(), refusal === null) : notAllowed('GET');
  }
  if (refusal !== null) return refusal;
  if (path === '/metrics') {
    if (method !== 'GET') return notAllowed('GET');
    return { status: 200, body: await options.metrics.expose(), type: options.metrics.contentType };
  }
  if (path === '/v1/revocations') return collection(options, method, incoming);
  const id = idAfter(path, '/v1/revocations/');
  if (id !== null) return method === 'DELETE' ? lift(options, id) : notAllowed('DELETE');
  const decision = idAfter(path, '/v1/decisions/');
  if (decision !== null) {
    if (method !== 'GET') return notAllowed('GET');
    const record = options.findDecision(decision);
    return record === null
      ? problem(404, 'No such decision', 'It is unknown or no longer kept in memory; see the audit log.')
      : { status: 200, body: `${record}\n`, type: 'application/json' };
  }
  return problem(404, 'Not found', 'Known here: /livez /readyz /metrics /v1/revocations /v1/decisions/{id}');
}

async function collection(options: AdminOptions, method: string, incoming: IncomingMessage): Promise<Answer> {
  if (method === 'GET') return json(200, { revocations: await options.revocations.list() });
  if (method !== 'POST') return notAllowed('GET, POST');
  // A form post needs no preflight; asking for JSON keeps web pages from posting across origins.
  if (!/^application\/json\s*(;|$)/i.test(incoming.headers['content-type'] ?? '')) {
    return problem(415, 'Unsupported media type', 'Send application/json.');
  }
  const bytes = await readBody(incoming);
  if (bytes === 'too large') return problem(413, 'Body too large', 'Send 64 KiB at most.');
  const body = bytes === 'aborted' ? undefined : parseStrictJsonBytes(bytes, { maxDepth: bodyDepthMax });
  if (body === undefined) return problem(400, 'Malformed JSON', 'The body is not JSON, or names a member twice.');
  const author = incoming.headers['postern-author'];
  const entry = await options.revocations.create(body, typeof author === 'string' ? author.slice(0, 256) : 'admin');
  return 'problem' in entry ? problem(400, 'Invalid revocation', String(entry.problem)) : json(201, entry);
}

async function lift(options: AdminOptions, id: string): Promise<Answer> {
  const entry = await options.revocations.lift(id);
  return entry === null
    ? problem(404, 'No such revocation', 'It is unknown or has been lifted already.')
    : json(200, entry);
}

function readyz(checks: Readonly<Record<string, Check>>, isDetailed: boolean): Answer {
  const isReady = Object.values(checks).every((check) => check.ok);
  const told = Object.entries(checks).map(([name, check]) => [name, isDetailed ? check : { ok: check.ok }]);
  return json(isReady ? 200 : 503, { status: isReady ? 'ready' : 'not ready', checks: Object.fromEntries(told) });
}

function notAllowed(allow: string): Answer {
  return { ...problem(405, 'Method not allowed', `Allowed: ${allow}`), fields: { allow } };
}

function idAfter(path: string, prefix: string): string | null {
  const id = path.startsWith(prefix) ? path.slice(prefix.length) : '';
  return /^[A-Za-z0-9_-]{1,128}$/.test(id) ? id : null;
}

/** Null when the caller may go on. */
function authenticate(token: string | null, incoming: IncomingMessage): Answer | null {
  if (token === null) {
    // Without a token only this machine may call, and a Host that is not loopback is a web page that rebound its name.
    const host = (incoming.headers.host ?? '').replace(/:\d+$/, '');
    if (host === 'localhost' || host === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)) return null;
    return problem(403, 'Host not allowed', 'Call the admin API by its loopback address.');
  }
  const given = /^Bearer +(\S+)$/i.exec(incoming.headers.authorization ?? '')?.[1] ?? '';
  const isSame = timingSafeEqual(hash('sha256', given, 'buffer'), hash('sha256', token, 'buffer'));
  if (isSame) return null;
  return {
    ...problem(401, 'Admin token required', 'Send "Authorization: Bearer <admin token>".'),
    fields: { 'www-authenticate': 'Bearer' },
  };
}

/** The connection stays whole, so that whoever sent too much can read so. */
function readBody(incoming: IncomingMessage): Promise<Buffer | 'too large' | 'aborted'> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    incoming.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= bodyBytesMax) chunks.push(chunk);
      else resolve('too large');
    });
    incoming.once('end', () => resolve(Buffer.concat(chunks)));
    incoming.once('error', () => resolve('aborted'));
  });
}
