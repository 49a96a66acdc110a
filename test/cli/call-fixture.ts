/** A stub in Postern's place and a real authorization server, for tests of `postern call`. */

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CallOptions, call } from '../../src/cli/call.ts';
import { type AuthorizationServer, startAuthorizationServer } from '../../src/demo/authorization-server.ts';
import { closeServer, listenOnLoopback } from '../../src/demo/listen.ts';
import { createCapturedIo } from '../support/captured-io.ts';

export const clientSecret = 'correct-horse-battery-staple-0123456789';
export const decisionId = '019a0000-0000-7000-8000-000000000001';

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export type CallFixture = {
  readonly folder: string;
  readonly server: Server;
  readonly origin: string;
  readonly issuer: AuthorizationServer;
  readonly received: { readonly request: IncomingMessage; readonly body: string }[];
  /** What the stub answers; set by each test. */
  answer: Answer;
  readonly run: (options?: Partial<CallOptions>) => Promise<{ code: number; stdout: string; stderr: string }>;
  readonly close: () => Promise<void>;
};

export async function createCallFixture(): Promise<CallFixture> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-call-test-'));
  const received: CallFixture['received'] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    received.push({ request, body });
    fixture.answer(request, response);
  });
  const origin = `http://127.0.0.1:${await listenOnLoopback(server, 0)}`;
  const issuer = await startAuthorizationServer({
    port: 0,
    clients: [{ id: 'agent-7', secret: clientSecret, scopes: ['repo:read', 'repo:write'] }],
    resources: new Map([[origin, ['repo:read', 'repo:write']]]),
    requireNonce: true,
  });

  async function run(options: Partial<CallOptions> = {}) {
    const { io, stdout, stderr } = createCapturedIo();
    const usual = { issuer: issuer.issuer, clientId: 'agent-7', clientSecret, json: true, sessionFolder: folder };
    const code = await call({ url: `${origin}/repos/acme/site`, ...usual, ...options }, io);
    return { code, stdout: stdout(), stderr: stderr() };
  }

  async function close() {
    await closeServer(server);
    await issuer.close();
    await rm(folder, { recursive: true, force: true });
  }

  const fixture: CallFixture = { folder, server, origin, issuer, received, answer: allow, run, close };
  return fixture;
}

/** Postern lets the call through. */
export const allow: Answer = (_request, response) => {
  response.writeHead(200, { 'postern-decision': decisionId, 'content-type': 'application/json' });
  response.end('{"full_name":"acme/site"}');
};

/** Postern refuses, as refuse.ts does it. */
export function refuse(status: number, problem: object, fields: Record<string, string> = {}): Answer {
  return (_request, response) => {
    const own = { 'postern-decision': decisionId, 'content-type': 'application/problem+json' };
    response.writeHead(status, { ...own, ...fields });
    response.end(JSON.stringify({ status, decision_id: decisionId, ...problem }));
  };
}

export const parse = (text: string): Record<string, unknown> => JSON.parse(text);
