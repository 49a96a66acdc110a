/** The admin listener: probes, metrics and revocations, on a port of its own, never on the data port. */

import { hash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { fewPeersLimits, listenAt } from './address.ts';
import {
  type AdminProblem,
  type AdminRequest,
  type Answer,
  authorOf,
  json,
  notAllowed,
  problem,
  readJson,
} from './admin-answer.ts';
import { bearerTokenProblem, readBounded } from './config/check-files.ts';
import { StoreFault } from './errors.ts';

const connectionsMax = 256;

/** What a check of readiness found; `detail` is for people. */
export type Check = { readonly ok: boolean; readonly detail?: string };

export type AdminOptions = {
  /**
   * Asked for each request. Null where the address is loopback and no token is set; a problem where the token can't be
   * had, and then nobody passes.
   */
  readonly readToken: () => string | AdminProblem | null;
  readonly readiness: () => Promise<Readonly<Record<string, Check>>>;
  readonly metrics: { readonly contentType: string; readonly expose: () => Promise<string> };
  /** JSON views; `author` is who the entry names. */
  readonly revocations: {
    readonly create: (body: unknown, author: string) => Promise<object | AdminProblem>;
    /** What create would hit. */
    readonly preview: (body: unknown) => Promise<object | AdminProblem>;
    readonly lift: (id: string, author: string) => Promise<object | null>;
    /** Takes what follows the question mark. */
    readonly list: (query: string) => Promise<object | AdminProblem>;
  };
  /** Null for what is not about agents. */
  readonly agents: (request: AdminRequest) => Promise<Answer | null>;
  /** A recent decision's audit record, as JSON, by its id. */
  readonly findDecision: (id: string) => string | null;
  /** Takes into use what configuration and rules hold now. */
  readonly reload: () => Promise<Answer>;
  /** Null where there is no such decision. */
  readonly explain: (body: unknown) => Promise<object | AdminProblem | null>;
  readonly onFault: (fault: unknown) => void;
};

/** Reads the token each time, so that a new one needs no restart. */
export function createReadAdminToken(file: string): () => string | AdminProblem {
  return () => {
    const bytes = readBounded(file);
    const problem = typeof bytes === 'string' ? bytes : bearerTokenProblem(bytes);
    // Without a good token nobody passes: an empty one would let everybody in who sends none.
    if (problem !== null || typeof bytes === 'string') return { problem: `The file of the admin token ${problem}.` };
    return bytes.toString('latin1').trim();
  };
}

export type Admin = {
  /** `host:port`; gives the port that it listens on. */
  readonly start: (address: string) => Promise<number>;
  readonly close: () => Promise<void>;
};

const unknownDecision = problem(
  404,
  'No such decision',
  'It is unknown or no longer kept in memory; see the audit log.',
);

export function createAdmin(options: AdminOptions): Admin {
  const server = createServer(fewPeersLimits, async (incoming, response) => {
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
  const [path = '', query = ''] = splitOnce(incoming.url ?? '', '?');
  const method = incoming.method === 'HEAD' ? 'GET' : (incoming.method ?? '');
  const refusal = authenticate(options.readToken(), incoming);
  // A kubelet holds no token. What exactly is wrong is told to those only who have one.
  if (path === '/livez') return method === 'GET' ? json(200, { status: 'ok' }) : notAllowed('GET');
  if (path === '/readyz') {
    return method === 'GET' ? readyz(await options.readiness(), refusal === null) : notAllowed('GET');
  }
  if (refusal !== null) return refusal;
  // Nothing here is for web pages. Where no token is needed, one that is open on this machine could else make changes.
  if (method !== 'GET' && incoming.headers.origin !== undefined) {
    return problem(403, 'Origin not allowed', 'Web pages may not call the admin API.');
  }
  if (path === '/metrics') {
    if (method !== 'GET') return notAllowed('GET');
    return { status: 200, body: await options.metrics.expose(), type: options.metrics.contentType };
  }
  const request = { method, path, query, incoming };
  if (path === '/v1/revocations') return collection(options, request);
  const id = idAfter(path, '/v1/revocations/');
  if (id !== null) return method === 'DELETE' ? lift(options, id, request) : notAllowed('DELETE');
  const decision = idAfter(path, '/v1/decisions/');
  if (decision !== null) {
    if (method !== 'GET') return notAllowed('GET');
    const record = options.findDecision(decision);
    return record === null ? unknownDecision : { status: 200, body: `${record}\n`, type: 'application/json' };
  }
  if (path === '/v1/explain') return explain(options, request);
  if (path === '/v1/reload') return method === 'POST' ? options.reload() : notAllowed('POST');
  const answer = await options.agents(request);
  if (answer !== null) return answer;
  return problem(
    404,
    'Not found',
    'Known here: /livez /readyz /metrics /v1/revocations /v1/decisions/{id} /v1/explain /v1/reload /v1/agents /v1/owners/{id}/offboard',
  );
}

async function explain(options: AdminOptions, request: AdminRequest): Promise<Answer> {
  if (request.method !== 'POST') return notAllowed('POST');
  const read = await readJson(request);
  if ('status' in read) return read;
  const explanation = await options.explain(read.value);
  if (explanation === null) return unknownDecision;
  return 'problem' in explanation
    ? problem(400, 'Invalid question', String(explanation.problem))
    : json(200, explanation);
}

async function collection(options: AdminOptions, request: AdminRequest): Promise<Answer> {
  const { method } = request;
  if (method === 'GET') {
    const page = await options.revocations.list(request.query);
    return 'problem' in page ? problem(400, 'Invalid query', String(page.problem)) : json(200, page);
  }
  if (method !== 'POST') return notAllowed('GET, POST');
  const isDryRun = request.query === 'dry_run=true';
  // Whoever misspells it must not have revoked anything.
  if (!isDryRun && request.query !== '') return problem(400, 'Invalid query', 'The query takes dry_run=true only.');
  const read = await readJson(request);
  if ('status' in read) return read;
  const entry = isDryRun
    ? await options.revocations.preview(read.value)
    : await options.revocations.create(read.value, authorOf(request));
  if ('problem' in entry) return problem(400, 'Invalid revocation', String(entry.problem));
  return json(isDryRun ? 200 : 201, entry);
}

async function lift(options: AdminOptions, id: string, request: AdminRequest): Promise<Answer> {
  const entry = await options.revocations.lift(id, authorOf(request));
  return entry === null
    ? problem(404, 'No such revocation', 'It is unknown or has been lifted already.')
    : json(200, entry);
}

function readyz(checks: Readonly<Record<string, Check>>, isDetailed: boolean): Answer {
  const isReady = Object.values(checks).every((check) => check.ok);
  const told = Object.entries(checks).map(([name, check]) => [name, isDetailed ? check : { ok: check.ok }]);
  return json(isReady ? 200 : 503, { status: isReady ? 'ready' : 'not ready', checks: Object.fromEntries(told) });
}

function splitOnce(text: string, separator: string): readonly [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function idAfter(path: string, prefix: string): string | null {
  const id = path.startsWith(prefix) ? path.slice(prefix.length) : '';
  return /^[A-Za-z0-9_-]{1,128}$/.test(id) ? id : null;
}

/** Null when the caller may go on. */
function authenticate(token: string | AdminProblem | null, incoming: IncomingMessage): Answer | null {
  if (token === null) {
    // Without a token only this machine may call, and a Host that is not loopback is a web page that rebound its name.
    const host = (incoming.headers.host ?? '').replace(/:\d+$/, '');
    if (host === 'localhost' || host === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)) return null;
    return problem(403, 'Host not allowed', 'Call the admin API by its loopback address.');
  }
  if (typeof token === 'object') return problem(503, 'Admin token unavailable', token.problem);
  const given = /^Bearer +(\S+)$/i.exec(incoming.headers.authorization ?? '')?.[1] ?? '';
  const isSame = timingSafeEqual(hash('sha256', given, 'buffer'), hash('sha256', token, 'buffer'));
  if (isSame) return null;
  return {
    ...problem(401, 'Admin token required', 'Send "Authorization: Bearer <admin token>".'),
    fields: { 'www-authenticate': 'Bearer' },
  };
}
