/** A real introspection endpoint (RFC 7662, RFC 9701) that notes what it is asked, and fails as it is told. */

import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SigningKey } from './keys.ts';
import { signJws } from './tokens.ts';

/** What is wrong with every answer: a status, or one of these. */
export type IntrospectionFault = number | 'hang' | 'stall' | 'reset' | 'redirect' | 'too_large' | 'not_json' | 'html';

export type IntrospectionQuestion = {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly form: URLSearchParams;
};

export type SignedAs = {
  readonly key: SigningKey;
  readonly header: Readonly<Record<string, unknown>>;
  readonly payload: Readonly<Record<string, unknown>>;
};

export type IntrospectionServer = {
  readonly url: string;
  readonly questions: readonly IntrospectionQuestion[];
  /** What is said of a token from now on; of every other one, that it is not active. A text is sent as it is. */
  setAnswer(token: string, answer: unknown): void;
  setFault(fault: IntrospectionFault | null): void;
  /** Answers 400 with this from now on; null ends it. */
  setRefusal(problem: object | null): void;
  /** Answers as a JWT made by this from now on. */
  signAnswers(make: (answer: unknown) => SignedAs): void;
  /** Holds answers back until the returned function is called. */
  hold(): () => void;
  close(): Promise<void>;
};

export async function startIntrospectionServer(): Promise<IntrospectionServer> {
  const questions: IntrospectionQuestion[] = [];
  const answers = new Map<string, unknown>();
  let fault: IntrospectionFault | null = null;
  let refusal: object | null = null;
  let make: ((answer: unknown) => SignedAs) | null = null;
  let held: Promise<void> = Promise.resolve();

  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const form = new URLSearchParams(body);
    questions.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, form });
    await held;
    const answer = answers.get(form.get('token') ?? '') ?? { active: false };
    if (fault !== null) return fail(fault, response);
    if (refusal !== null) {
      response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify(refusal));
      return;
    }
    if (make !== null) {
      response.writeHead(200, { 'content-type': 'application/token-introspection+jwt' });
      response.end(signJws(make(answer)));
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' });
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/introspect`,
    questions,
    setAnswer: (token, answer) => void answers.set(token, answer),
    setFault: (next) => {
      fault = next;
    },
    setRefusal: (next) => {
      refusal = next;
    },
    signAnswers: (next) => {
      make = next;
    },
    hold: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Every answer holds a good one, so that only its flaw can be what refuses it. */
function fail(fault: IntrospectionFault, response: ServerResponse): void {
  const good = '{"active":true}';
  if (typeof fault === 'number') {
    response.writeHead(fault, { 'content-type': 'application/json' }).end(good);
    return;
  }
  switch (fault) {
    case 'hang':
      return;
    case 'stall':
      response.writeHead(200, { 'content-type': 'application/json' }).write('{"active":');
      return;
    case 'reset':
      response.destroy();
      return;
    case 'redirect':
      response.writeHead(302, { location: '/elsewhere', 'content-type': 'application/json' }).end(good);
      return;
    case 'too_large':
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ active: true, padding: 'x'.repeat(70 * 1024) }));
      return;
    case 'not_json':
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"active":');
      return;
    case 'html':
      response.writeHead(200, { 'content-type': 'text/html' }).end(good);
      return;
  }
}
