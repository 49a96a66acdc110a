/** One request on its way to an upstream and its response on the way back. */

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { type Deny, deny } from '../decision.ts';
import { Fault } from '../errors.ts';
import type { ClientRequest, Injection, Outcome, Route } from '../exchange.ts';
import { type RequestFields, type ResponseFieldsOptions, responseFields } from './fields.ts';
import { bodyTooLarge, RequestBody } from './request-body.ts';

export type ForwardArguments = {
  readonly request: ClientRequest;
  readonly route: Route;
  readonly injection: Injection;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly outcome: Outcome;
  readonly decisionId: string;
  /** Further fields of the response, names and values by turns. */
  readonly extraFields?: readonly string[];
  /** Called right before the body is first read: the place for 100 Continue. */
  readonly beforeBody?: (() => void) | undefined;
};

/** What all requests of one route share. */
export type Lane = {
  readonly dispatcher: Dispatcher;
  readonly toUpstreamFields: RequestFields;
  readonly responseOptions: ResponseFieldsOptions;
  /** How long a request may wait for a connection, new or free. */
  readonly connectTimeoutMs: number;
  readonly onDone: () => void;
};

/** An answer that refused our credential is read to its end up to this size, to keep the connection. */
const discardBytesMax = 65_536;
/** How long a client may go on sending a body that was answered already. */
const discardWaitMs = 10_000;

const clientGone = new Fault('client_gone', 'the client closed the connection');

/** Runs once. The promise settles after the response body has ended; it rejects only for faults of our own. */
export class Relay implements Dispatcher.DispatchHandler {
  readonly #lane: Lane;
  readonly #args: ForwardArguments;
  readonly #body: RequestBody | null;
  #upstreamPath = '';
  #controller: Dispatcher.DispatchController | null = null;
  #timer: NodeJS.Timeout | null = null;
  #resolve: (result: Deny | null) => void = () => {};
  #reject: (fault: unknown) => void = () => {};
  #isSettled = false;
  #isDone = false;
  #hasEnded = false;
  #bytesDiscarded = 0;

  static #giveUp(relay: Relay): void {
    relay.#settle(deny('upstream_timeout', { cause: 'no connection in time' }));
  }

  /** The client took nothing for too long. Cut off, it counts as a client that went away. */
  static #cutStalled(relay: Relay): void {
    relay.#args.incoming.socket.destroy();
  }

  constructor(lane: Lane, args: ForwardArguments) {
    this.#lane = lane;
    this.#args = args;
    const { request, incoming, outcome, route, beforeBody } = args;
    this.#body =
      request.bodyBytes === 0 ? null : new RequestBody({ incoming, outcome, bytesMax: route.bodyBytesMax, beforeBody });
  }

  run(): Promise<Deny | null> {
    const { request, route, injection, incoming, response } = this.#args;
    const promise = new Promise<Deny | null>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (response.destroyed || incoming.socket.destroyed) {
      this.#onDone();
      this.#leave();
      return promise;
    }
    response.on('close', this.#onClose);
    // A response that waits behind a pipelined one has no socket yet, and hears nothing of its end.
    if (response.socket === null) incoming.socket.setMaxListeners(0).once('close', this.#onClose);
    this.#upstreamPath = this.#lane.responseOptions.paths.toUpstream(request.target);
    this.#timer = setTimeout(Relay.#giveUp, this.#lane.connectTimeoutMs, this);
    this.#lane.dispatcher.dispatch(
      {
        path: this.#upstreamPath,
        method: request.method,
        headers: this.#lane.toUpstreamFields(request, injection),
        body: this.#body,
        // Nothing is ever sent twice: the proof that paid for this call is good for one.
        idempotent: false,
        headersTimeout: route.headersTimeoutMs,
        bodyTimeout: route.bodyTimeoutMs,
      },
      this,
    );
    return promise;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#stopTimer();
    // Thrown before anything was written, so undici drops the request and keeps the connection.
    if (this.#isSettled) throw clientGone;
    this.#controller = controller;
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // RFC 9110 §15.2: a proxy may drop interim responses that it did not ask for.
    if (status < 200 && status !== 101) return;
    const problem = headProblem(status, headers);
    if (problem !== null) {
      controller.abort(new Fault('upstream_garbage', problem));
      return;
    }
    const { outcome, response, decisionId, extraFields } = this.#args;
    outcome.upstreamStatus = status;
    if (status === 401 || status === 407) {
      // Not about the client's credential. What is said to it would only mislead the agent (RFC 9449 §9).
      this.#settle(deny('upstream_auth_failed', { cause: `the upstream answered ${status}` }));
      return;
    }
    const fields = responseFields(headers, status, this.#upstreamPath, this.#lane.responseOptions);
    fields.push('postern-decision', decisionId);
    if (extraFields !== undefined) fields.push(...extraFields);
    response.writeHead(status, fields);
    outcome.status = status;
    // A stream may be silent for long after its head; what comes in the same read goes out in the same write.
    if (headers['content-length'] === undefined) {
      queueMicrotask(() => {
        if (!this.#hasEnded && outcome.bytesOut === 0 && !response.destroyed) response.flushHeaders();
      });
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const { outcome, response } = this.#args;
    if (this.#isSettled) {
      this.#bytesDiscarded += chunk.length;
      if (this.#bytesDiscarded > discardBytesMax) controller.abort(clientGone);
      return;
    }
    outcome.bytesOut += chunk.length;
    if (response.write(chunk)) return;
    controller.pause();
    // While paused, undici's body timeout rests, and this one watches the client.
    this.#watchClient();
    response.once('drain', () => {
      this.#stopTimer();
      controller.resume();
    });
  }

  onResponseEnd(): void {
    this.#onDone();
    if (this.#isSettled) return;
    this.#hasEnded = true;
    this.#body?.discardRest(discardWaitMs);
    this.#watchClient();
    this.#args.response.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#onDone();
    if (this.#isSettled) return;
    const { response, outcome } = this.#args;
    const code = codeOf(error);
    if (response.headersSent) {
      outcome.end = code === bodyTooLarge ? 'client_aborted' : 'upstream_aborted';
      this.#truncate();
      this.#settle(null);
      return;
    }
    if (isOurs(error, code)) this.#fail(error);
    else this.#settle(denyFor(error, code));
  }

  /** The response is over, one way or the other. */
  readonly #onClose = (): void => {
    if (this.#isSettled) return;
    if (this.#hasEnded && this.#args.response.writableFinished) {
      this.#args.outcome.end = 'complete';
      this.#settle(null);
      return;
    }
    this.#leave();
    // Not to be used again: the rest of the response is still on its way.
    if (!this.#isDone) this.#controller?.abort(clientGone);
    this.#body?.destroy();
  };

  #leave(): void {
    this.#args.outcome.end = 'client_aborted';
    this.#settle(null);
  }

  #watchClient(): void {
    this.#stopTimer();
    this.#timer = setTimeout(Relay.#cutStalled, this.#args.route.bodyTimeoutMs, this);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Makes sure that the client can tell a cut response from a complete one. */
  #truncate(): void {
    const { response, incoming } = this.#args;
    const { socket } = response;
    // RFC 9112 §8: to an HTTP/1.0 client the end of the connection is the end of the body; only a reset is none. TLS
    // has its own sign, the missing close_notify.
    if (incoming.httpVersion === '1.0' && socket !== null && !('encrypted' in socket)) socket.resetAndDestroy();
    else response.destroy();
  }

  #settle(result: Deny | null): void {
    this.#unhook();
    // The refusal is sent on the same connection, by somebody who may want to read the rest of the body.
    if (result !== null) this.#body?.destroy();
    this.#resolve(result);
  }

  #fail(fault: unknown): void {
    this.#unhook();
    this.#reject(fault);
  }

  #unhook(): void {
    const { response, incoming } = this.#args;
    this.#isSettled = true;
    this.#stopTimer();
    response.off('close', this.#onClose);
    incoming.socket?.off('close', this.#onClose);
  }

  /** Called once when undici is through with this request, which may be long after the promise has settled. */
  #onDone(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#stopTimer();
    this.#lane.onDone();
  }
}

/** What makes the head of a response one that must not be relayed; null for nothing. */
function headProblem(status: number, headers: IncomingHttpHeaders): string | null {
  // RFC 9110 §7.8: no upgrade was asked for.
  if (status === 101) return 'the upstream switched protocols';
  // RFC 9110 §15: a status outside of 100 to 599 is invalid.
  if (status > 599) return 'the upstream sent an invalid status';
  const coding: unknown = headers['transfer-encoding'];
  // RFC 9112 §6.1: with other codings we could not tell where the body ends.
  if (coding === undefined || (typeof coding === 'string' && coding.toLowerCase() === 'chunked')) return null;
  return 'the upstream sent a Transfer-Encoding other than chunked';
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}

/** Faults of the way in which we call undici, or of our own code in its callbacks: bugs, not an upstream that fails. */
function isOurs(error: Error, code: string): boolean {
  // A field value of the upstream that Node will not write.
  if (code === 'ERR_INVALID_CHAR') return false;
  return code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED' || error instanceof TypeError;
}

const timeouts: ReadonlySet<string> = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
]);

/** The cause is a code, or text of our own: what the upstream sent is not repeated. */
function denyFor(error: Error, code: string): Deny {
  if (code === bodyTooLarge) return deny('body_too_large', { close: true });
  if (timeouts.has(code)) return deny('upstream_timeout', { cause: code });
  return deny('upstream_failed', { cause: error instanceof Fault ? error.message : code });
}
