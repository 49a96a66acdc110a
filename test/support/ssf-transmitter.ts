/**
 * A real transmitter of security events (OpenID Shared Signals): signs event tokens with jose, publishes its keys,
 * pushes (RFC 8935) and answers polls (RFC 8936), each right by default and wrong or away where a test asks for it.
 */

import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SignJWT } from 'jose';
import { request } from 'undici';
import { createKey, publishedJwk, type SigningKey } from './keys.ts';

export const caep = 'https://schemas.openid.net/secevent/caep/event-type/';
export const risc = 'https://schemas.openid.net/secevent/risc/event-type/';
export const ssf = 'https://schemas.openid.net/secevent/ssf/event-type/';

export const receiverAudience = 'https://postern.example/signals';
export const pushToken = 'push-token-0123456789abcdef';
export const pollToken = 'poll-token-0123456789abcdef';

export type SetOptions = {
  readonly events: Readonly<Record<string, object>>;
  readonly subject?: unknown;
  readonly nowMs?: number;
  readonly key?: SigningKey;
  /** undefined takes one away. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
};

export type PollRequest = {
  readonly maxEvents?: number;
  readonly returnImmediately?: boolean;
  readonly ack?: readonly string[];
  readonly setErrs?: Readonly<Record<string, { readonly err: string; readonly description: string }>>;
};

export type SsfTransmitter = {
  readonly issuer: string;
  readonly pollEndpoint: string;
  readonly key: SigningKey;
  readonly setKeys: (keys: readonly SigningKey[]) => void;
  /** A signed event token. */
  readonly mint: (options: SetOptions) => Promise<string>;
  /** Puts a token where polls find it until it is acknowledged or refused. */
  readonly offer: (set: string) => void;
  /** Tokens that are still to be delivered by poll. */
  readonly pending: () => readonly string[];
  readonly polls: readonly PollRequest[];
  /** Answers polls with this status; null ends it. */
  readonly setFault: (status: number | null) => void;
  /** Whether it forgets what was acknowledged, as it should. */
  readonly setForgetful: (isForgetful: boolean) => void;
  readonly push: (url: string, set: string, options?: PushCall) => Promise<PushAnswer>;
  readonly close: () => Promise<void>;
};

export type PushCall = { readonly token?: string | null; readonly type?: string; readonly method?: string };
export type PushAnswer = { readonly status: number; readonly err: string | null; readonly text: string };

export async function startSsfTransmitter(): Promise<SsfTransmitter> {
  const key = createKey('ES256');
  let keys: readonly SigningKey[] = [key];
  let fault: number | null = null;
  let isForgetful = true;
  const queue = new Map<string, string>();
  const polls: PollRequest[] = [];
  const waiting = new Set<() => void>();

  async function answerPoll(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = JSON.parse(await textOf(incoming)) as PollRequest;
    if (incoming.headers.authorization !== `Bearer ${pollToken}`) return void response.writeHead(401).end();
    if (fault !== null) return void response.writeHead(fault).end();
    polls.push(asked);
    const told = [...(asked.ack ?? []), ...Object.keys(asked.setErrs ?? {})];
    for (const jti of isForgetful ? told : []) queue.delete(jti);
    if (queue.size === 0 && asked.returnImmediately !== true) await untilOffered(incoming);
    const most = asked.maxEvents ?? 100;
    const sets = Object.fromEntries([...queue].slice(0, most));
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ sets, moreAvailable: queue.size > most }));
  }

  function untilOffered(incoming: IncomingMessage): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        waiting.delete(done);
        resolve();
      };
      waiting.add(done);
      incoming.socket.once('close', done);
    });
  }

  const server = createServer((incoming, response) => {
    if (incoming.url === '/poll') return void answerPoll(incoming, response);
    const documents: Readonly<Record<string, unknown>> = {
      '/.well-known/ssf-configuration': { issuer, jwks_uri: `${issuer}/jwks`, spec_version: '1_0' },
      '/jwks': { keys: keys.map((one) => publishedJwk(one)) },
    };
    const document = documents[incoming.url ?? ''];
    response.writeHead(document === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(document ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    issuer,
    pollEndpoint: `${issuer}/poll`,
    key,
    setKeys: (next) => {
      keys = next;
    },
    mint: (options) => mintSet(issuer, { key, ...options }),
    offer: (set) => {
      queue.set(jtiOf(set), set);
      for (const done of [...waiting]) done();
    },
    pending: () => [...queue.keys()],
    polls,
    setFault: (status) => {
      fault = status;
    },
    setForgetful: (next) => {
      isForgetful = next;
    },
    push: async (url, set, { token = pushToken, type = 'application/secevent+jwt', method = 'POST' } = {}) => {
      const { statusCode, body } = await request(url, {
        method: method as 'POST',
        headers: { 'content-type': type, ...(token === null ? {} : { authorization: `Bearer ${token}` }) },
        body: method === 'GET' ? null : set,
      });
      const text = await body.text();
      const isProblem = text.startsWith('{');
      return { status: statusCode, text, err: isProblem ? (JSON.parse(text) as { err: string }).err : null };
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

export function mintSet(issuer: string, options: SetOptions & { readonly key: SigningKey }): Promise<string> {
  const { events, subject, nowMs = Date.now(), key, claims = {}, header = {} } = options;
  const payload = {
    iss: issuer,
    aud: receiverAudience,
    iat: Math.floor(nowMs / 1000),
    jti: randomUUID(),
    sub_id: subject,
    events,
    ...claims,
  };
  return new SignJWT(JSON.parse(JSON.stringify(payload)))
    .setProtectedHeader({ typ: 'secevent+jwt', alg: key.algorithm, kid: key.kid, ...header })
    .sign(key.privateKey);
}

function jtiOf(set: string): string {
  return (JSON.parse(Buffer.from(set.split('.')[1] ?? '', 'base64url').toString()) as { jti: string }).jti;
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
