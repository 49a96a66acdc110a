/** Where transmitters push security event tokens to (RFC 8935). */

import { Buffer } from 'node:buffer';
import { hash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Fault } from '../../errors.ts';
import { contentTypeOf, readRequestBody } from '../../whole-body.ts';
import type { ReceiveSet } from './receive.ts';
import type { SetProblem } from './security-event.ts';

export type PushEndpoint = {
  readonly receive: ReceiveSet;
  /** What the transmitter must send as a Bearer token, as it is now. */
  readonly readToken: () => Promise<string>;
  /** The transmitter has proved to be itself. */
  readonly onContact: () => void;
};

export type PushOptions = {
  /** By path. */
  readonly endpoints: ReadonlyMap<string, PushEndpoint>;
  readonly onFault: (fault: unknown) => void;
};

type Answer = { readonly status: number; readonly problem?: SetProblem; readonly fields?: Record<string, string> };

/** Whoever is no transmitter does not keep one of the few connections. */
const forStrangers = { connection: 'close' };

const unknown: Answer = { status: 404, fields: forStrangers };
const bodyBytesMax = 65_536;
const retryAfterSeconds = '5';

/** Prepares the answers of the listener for transmitters. */
export function createAnswerPush({ endpoints, onFault }: PushOptions) {
  return async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const endpoint = endpoints.get(incoming.url ?? '');
    const answer = endpoint === undefined ? unknown : await answerTo(endpoint, incoming).catch(answerToFault);
    send(response, answer, incoming);
  };

  /** RFC 8935 §2.3: any other failure is an HTTP error, after which the transmitter tries again. */
  function answerToFault(fault: unknown): Answer {
    onFault(fault);
    return fault instanceof Fault ? { status: 503, fields: { 'retry-after': retryAfterSeconds } } : { status: 500 };
  }
}

async function answerTo({ receive, readToken, onContact }: PushEndpoint, incoming: IncomingMessage): Promise<Answer> {
  if (incoming.method !== 'POST') return { status: 405, fields: { allow: 'POST', ...forStrangers } };
  // RFC 8935 §2.4: one who is not the transmitter gets nothing parsed.
  if (!hasToken(incoming.headers.authorization, await readToken())) {
    return {
      ...refusal('authentication_failed', 'The Bearer token is not that of the transmitter.'),
      fields: forStrangers,
    };
  }
  onContact();
  // RFC 8935 §2.1.
  if (contentTypeOf(incoming.headers['content-type']) !== 'application/secevent+jwt') return { status: 415 };
  const body = await readRequestBody(incoming, bodyBytesMax);
  if (body === 'too large') return { status: 413 };
  if (body === 'aborted') return { status: 400 };
  const problem = await receive(body.toString('latin1').trim());
  // RFC 8935 §2.2: 202 once it is taken, with an empty body.
  return problem === null ? { status: 202 } : { status: 400, problem };
}

function refusal(err: SetProblem['err'], description: string): Answer {
  return { status: 400, problem: { err, description } };
}

function hasToken(field: string | undefined, token: string): boolean {
  const given = /^Bearer +(\S+)$/i.exec(field ?? '')?.[1];
  if (given === undefined || token === '') return false;
  return timingSafeEqual(hash('sha256', given, 'buffer'), hash('sha256', token, 'buffer'));
}

function send(response: ServerResponse, { status, problem, fields }: Answer, incoming: IncomingMessage): void {
  const body = problem === undefined ? '' : JSON.stringify(problem);
  response.writeHead(status, {
    // RFC 8935 §2.3.
    ...(problem === undefined ? {} : { 'content-type': 'application/json', 'content-language': 'en' }),
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    // What is left of a body that nobody reads would be taken for the next request.
    ...(incoming.complete ? {} : { connection: 'close' }),
    ...fields,
  });
  response.end(body);
}
