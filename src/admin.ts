/** The admin listener: probes, metrics and revocations, on a port of its own, never on the data port. */

import { hash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { splitAddress } from './address.ts';
import { Fault, StoreFault } from './errors.ts';

const bodyBytesMax = 65_536;
const tokenCharsMin = 16;

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

/** Throws a Fault on a token that could be guessed. */
export function readAdminToken(file: string): string {
  const token = readFileSync(file, 'utf8').trim();
  if (token.length >= tokenCharsMin) return token;
  throw new Fault(
    'admin_token',
    `the admin token in ${file} is shorter than ${tokenCharsMin} characters; use a random one`,
  );
}

export type Admin = {
  /** `host:port`; gives the port that it listens on. */
  readonly start: (address: string) => Promise<number>;
  readonly close: () => Promise<void>;
};

export function createAdmin(options: AdminOptions): Admin {
  const limits = { maxHeaderSize: 16_384, requestTimeout: 10_000, headersTimeout: 5000, keepAliveTimeout: 60_000 };
  const server = createServer(limits, async (incoming, response) => {
    const answer = await answerTo(options, incoming).catch((fault: unknown) => answerToFault(options, fault));
    send(response, answer, incoming.method === 'HEAD');
  });
  return {
    start: (address) =>
      new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(splitAddress(address), () => {
          server.off('error', reject);
          resolve((server.address() as AddressInfo).port);
        });
      }),
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

function send(response: ServerResponse, answer: Answer, isHead: boolean): void {
  response.writeHead(answer.status, {
    'content-type': answer.type,
    'content-length': Buffer.byteLength(answer.body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...answer.fields,
  });
  response.end(isHead ? undefined : answer.body);
}

async function answerTo(options: AdminOptions, incoming: IncomingMessage): Promise<Answer> {
  const path = (incoming.url ?? '').split('?', 1)[0] ?? '';
  const method = incoming.method === 'HEAD' ? 'GET' : (incoming.method ?? '');
  // Probes say nothing worth protecting, and a kubelet holds no token.
  if (path === '/livez') return method === 'GET' ? json(200, { status: 'ok' }) : notAllowed('GET');
  if (path === '/readyz') return method === 'GET' ? readyz(await options.readiness()) : notAllowed('GET');
  const refusal = authenticate(options.token, incoming);
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
  const text = await readBody(incoming);
  if (text === null) return problem(413, 'Body too large', 'Send 64 KiB at most.');
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return problem(400, 'Malformed JSON', 'The body is not valid JSON.');
  }
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

function readyz(checks: Readonly<Record<string, Check>>): Answer {
  const isReady = Object.values(checks).every((check) => check.ok);
  return json(isReady ? 200 : 503, { status: isReady ? 'ready' : 'not ready', checks });
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

async function readBody(incoming: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
