/** One request on its way to an upstream and its response on the way back. */

import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { type Deny, deny } from '../decision.ts';
import { Fault } from '../errors.ts';
import type { Outcome } from '../exchange.ts';
import { cutStalled, truncate } from './cut-client.ts';
import { callAfter } from './deadline.ts';
import { Downstream, guardOf, leakIn } from './downstream.ts';
import { responseFields } from './fields.ts';
import type { ForwardArguments, Lane } from './lane.ts';
import { bodyTooLarge, RequestBody } from './request-body.ts';
import { runTunnel } from './tunnel.ts';
import { codeOf, denyFor, headProblem, isOurs } from './upstream-problems.ts';
import { handshakeProblem } from './web-socket.ts';

/** An answer that refused our credential is read to its end up to this size, to keep the connection. */
const discardBytesMax = 65_536;
/** How long a client may go on sending a body that was answered already. */
const discardWaitMs = 10_000;

const clientGone = new Fault('client_gone', 'the client closed the connection');
const cutOff = new Fault('cut_off', 'what is left of the response must not be passed on');

/** Runs once. The promise settles after the response body has ended; it rejects only for faults of our own. */
export class Relay implements Dispatcher.DispatchHandler {
  readonly #lane: Lane;
  readonly #args: ForwardArguments;
  readonly #body: RequestBody | null;
  #upstreamPath = '';
  #controller: Dispatcher.DispatchController | null = null;
  #downstream: Downstream | null = null;
  #timer: NodeJS.Timeout | null = null;
  #endsAtMs = Number.POSITIVE_INFINITY;
  #cancelExpiry: (() => void) | null = null;
  #resolve: (result: Deny | null) => void = () => {};
  #reject: (fault: unknown) => void = () => {};
  #isSettled = false;
  #isDone = false;
  #hasEnded = false;
  #bytesDiscarded = 0;

  static #giveUp(relay: Relay): void {
    relay.#settle(deny('upstream_timeout', { cause: 'no connection in time' }));
  }

  constructor(lane: Lane, args: ForwardArguments) {
    this.#lane = lane;
    this.#args = args;
    const { request, incoming, outcome, route, beforeBody, body = null } = args;
    const streams = request.bodyBytes !== 0 && body === null;
    this.#body = streams ? new RequestBody({ incoming, outcome, bytesMax: route.bodyBytesMax, beforeBody }) : null;
  }

  run(): Promise<Deny | null> {
    const { request, route, injection, incoming, response, body = null, endsInMs } = this.#args;
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
    const { standing } = this.#args;
    if (standing !== undefined) {
      standing.onRevoked = this.#revoke;
      // Between the last look and this one other work may have run.
      if (standing.revokedBy !== null) {
        this.#onDone();
        this.#revoke();
        return promise;
      }
    }
    this.#upstreamPath = this.#lane.responseOptions.paths.toUpstream(request.target);
    this.#timer = setTimeout(Relay.#giveUp, this.#lane.connectTimeoutMs, this);
    if (endsInMs !== undefined) {
      this.#endsAtMs = performance.now() + endsInMs;
      this.#cancelExpiry = callAfter(endsInMs, this.#expire);
    }
    this.#lane.dispatcher.dispatch(
      {
        path: this.#upstreamPath,
        method: request.method,
        headers: this.#lane.toUpstreamFields(request, injection),
        // undici writes Content-Length for bytes that it has, so a chunked body that was read goes out with its length.
        body: this.#body ?? (request.bodyBytes === 0 ? null : body),
        // Nothing is ever sent twice: the proof that paid for this call is good for one.
        idempotent: false,
        upgrade: request.webSocketKey === undefined ? null : 'websocket',
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
    const { outcome, request, response, decisionId, extraFields } = this.#args;
    outcome.upstreamStatus = status;
    if (status === 401 || status === 407) {
      // Not about the client's credential. What is said to it would only mislead the agent (RFC 9449 §9).
      this.#settle(deny('upstream_auth_failed', { cause: `the upstream answered ${status}` }));
      return;
    }
    const fields = responseFields(headers, status, this.#upstreamPath, this.#lane.responseOptions);
    fields.push('postern-decision', decisionId);
    if (extraFields !== undefined) fields.push(...extraFields);
    this.#downstream = new Downstream({
      response,
      outcome,
      method: request.method,
      guard: guardOf(this.#args),
      readAlong: this.#args.readAlong ?? null,
      onBlocked: this.#block,
      onEnd: () => {
        this.#hasEnded = true;
        this.#body?.discardRest(discardWaitMs);
        this.#watchClient();
      },
      onFull: () => this.#watchClient(),
      onDrain: () => this.#stopTimer(),
    });
    this.#downstream.begin(controller, status, fields, headers);
  }

  /** A 101. undici has let go of the socket and of its bound on connections: `onDone` counts this one on. */
  onRequestUpgrade(
    _controller: Dispatcher.DispatchController,
    _status: number,
    headers: IncomingHttpHeaders,
    upstream: Duplex,
  ): void {
    // Without a listener its error would end the process.
    upstream.on('error', () => {});
    const { request, response, outcome, decisionId, extraFields = [], route } = this.#args;
    const { socket: client } = response;
    const guard = guardOf(this.#args);
    const problem = handshakeProblem(request, headers, guard === null);
    if (this.#isSettled || client === null || problem !== null) {
      upstream.destroy();
      this.#onDone();
      if (!this.#isSettled) this.#settle(deny('upstream_failed', { cause: problem ?? 'no client' }));
      return;
    }
    const fields = responseFields(headers, 101, this.#upstreamPath, this.#lane.responseOptions);
    fields.push('connection', 'upgrade', 'upgrade', 'websocket', 'postern-decision', decisionId, ...extraFields);
    response.writeHead(101, fields);
    response.flushHeaders();
    outcome.upstreamStatus = 101;
    outcome.status = 101;
    this.#unhook();
    response.detachSocket(client);
    const endsInMs = this.#endsAtMs - performance.now();
    const { standing } = this.#args;
    void runTunnel({ client, upstream, outcome, guard, idleMs: route.bodyTimeoutMs, endsInMs, standing }).then(() => {
      this.#onDone();
      this.#resolve(outcome.end === 'leak_blocked' ? leakIn('a WebSocket') : null);
    });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isSettled) {
      this.#bytesDiscarded += chunk.length;
      if (this.#bytesDiscarded > discardBytesMax) controller.abort(clientGone);
    } else this.#downstream?.push(controller, chunk);
  }

  onResponseEnd(): void {
    this.#onDone();
    if (!this.#isSettled) this.#downstream?.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#onDone();
    if (this.#isSettled) return;
    const { response, outcome } = this.#args;
    const code = codeOf(error);
    if (response.headersSent) {
      outcome.end = code === bodyTooLarge ? 'client_aborted' : 'upstream_aborted';
      truncate(this.#args.incoming, response);
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

  readonly #expire = (): void => {
    const cause = 'the access token expired before the upstream answered';
    this.#cutOff('token_expired', deny('token_expired', { cause, close: true }), null);
  };

  readonly #revoke = (): void => {
    const cause = `revoked: ${this.#args.standing?.revokedBy}, before the upstream answered`;
    this.#cutOff('revoked', deny('token_revoked', { cause, close: true }), null);
  };

  /** The credential is on its way back, or nobody can tell. The record says so even where an answer had begun. */
  readonly #block = (refusal: Deny): void => {
    const isLeak = refusal.reason === 'credential_leak_blocked';
    this.#cutOff(isLeak ? 'leak_blocked' : 'upstream_aborted', refusal, refusal);
  };

  /** What the client has of an answer it can tell from a whole one. `failure` is what is then said of it. */
  #cutOff(end: Outcome['end'], refusal: Deny, failure: Deny | null): void {
    if (this.#isSettled) return;
    if (this.#args.response.headersSent) {
      this.#args.outcome.end = end;
      truncate(this.#args.incoming, this.#args.response);
      this.#settle(failure);
      this.#body?.destroy();
    } else this.#settle(refusal);
    if (!this.#isDone) this.#controller?.abort(cutOff);
  }

  #leave(): void {
    this.#args.outcome.end = 'client_aborted';
    this.#settle(null);
  }

  #watchClient(): void {
    this.#stopTimer();
    this.#timer = setTimeout(cutStalled, this.#args.route.bodyTimeoutMs, this.#args.incoming);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
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
    this.#downstream?.destroy();
    this.#stopTimer();
    this.#cancelExpiry?.();
    if (this.#args.standing !== undefined) this.#args.standing.onRevoked = null;
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
