/** The client's side of a response: its head and body, searched for the credential where the route has a leak guard. */

import { type IncomingHttpHeaders, type ServerResponse, validateHeaderValue } from 'node:http';
import type { Dispatcher } from 'undici';
import { type Deny, deny } from '../decision.ts';
import type { ReadAlong } from '../drift-scores.ts';
import type { Outcome } from '../exchange.ts';
import type { LeakGuard } from '../leak-search.ts';
import { codingOf } from './decoder.ts';
import { createGuardedBody, type GuardedBody } from './guarded-body.ts';
import type { ForwardArguments } from './lane.ts';

export type DownstreamOptions = {
  readonly response: ServerResponse;
  readonly outcome: Outcome;
  readonly method: string;
  /** Null where nothing is searched. */
  readonly guard: LeakGuard | null;
  /** Looks along; null for nobody. Coded bodies are decoded for the guard only, so without one it sees none of them. */
  readonly readAlong: ReadAlong | null;
  /** Once: nothing more may be sent. The head has been, or not. */
  readonly onBlocked: (refusal: Deny) => void;
  /** All that there is has been searched, and the response is about to end. */
  readonly onEnd: () => void;
  /** The client takes nothing for now, or takes again. */
  readonly onFull: () => void;
  readonly onDrain: () => void;
};

const unreadable = 'the upstream used a content coding that the leak guard cannot read';

/** A refusal of what the upstream sent. */
export const leakIn = (where: string): Deny =>
  deny('credential_leak_blocked', { cause: `the upstream sent the credential back in ${where}` });

/** Null where answers are not searched for the credential. */
export function guardOf({ route, injection }: Pick<ForwardArguments, 'route' | 'injection'>): LeakGuard | null {
  return route.leakGuard === true ? (injection.guard ?? null) : null;
}

export class Downstream {
  readonly #options: DownstreamOptions;
  #head: { readonly status: number; readonly fields: string[] } | null = null;
  #body: GuardedBody | null = null;
  #reader: ReadAlong | null = null;
  #isCoded = false;
  #isOver = false;

  constructor(options: DownstreamOptions) {
    this.#options = options;
  }

  /** `fields` are names and values by turns, as they are to be sent. */
  begin(
    controller: Dispatcher.DispatchController,
    status: number,
    fields: string[],
    upstream: IncomingHttpHeaders,
  ): void {
    const { guard, method, outcome, response, readAlong } = this.#options;
    this.#head = { status, fields };
    const coding = codingOf(upstream['content-encoding']);
    // RFC 9110 §6.4.1, §15.3.5, §15.4.5: whatever its fields say, such a response has no body.
    const hasBody = method !== 'HEAD' && status !== 204 && status !== 304;
    this.#isCoded = coding !== null;
    if (hasBody && readAlong?.begin(upstream['content-type']) === true) this.#reader = readAlong;
    if (guard === null) this.#sendHead();
    else {
      // Here, where a fault is caught. The head itself waits for the first bytes that may be sent, for until then there
      // can be another answer.
      for (let at = 0; at + 1 < fields.length; at += 2) validateHeaderValue(fields[at] ?? '', fields[at + 1] ?? '');
      if (guard.isIn(fields.join('\n'))) {
        this.#block(leakIn('a field'));
        return;
      }
      // What cannot be read cannot be searched. It was not asked for: see createRequestFields.
      if (hasBody && coding === 'other') {
        this.#block(deny('upstream_failed', { cause: unreadable }));
        return;
      }
      if (hasBody && coding !== 'other') this.#body = this.#guardedBody(guard, coding, controller);
    }
    // A stream may be silent for long after its head; what comes in the same read goes out in the same write.
    if (upstream['content-length'] === undefined) {
      queueMicrotask(() => {
        if (!response.writableEnded && outcome.bytesOut === 0 && this.#body?.isBusy() !== true) this.#flushHead();
      });
    }
  }

  push(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#isCoded) this.#reader?.read(chunk);
    if (this.#body === null) this.#pass(controller, chunk);
    else this.#body.push(chunk);
  }

  end(): void {
    if (this.#body === null) this.#end();
    else this.#body.end();
  }

  /** Sends nothing more. */
  destroy(): void {
    this.#endReading();
    this.#isOver = true;
    this.#head = null;
    this.#body?.destroy();
  }

  #guardedBody(
    guard: LeakGuard,
    coding: Exclude<ReturnType<typeof codingOf>, 'other'>,
    controller: Dispatcher.DispatchController,
  ): GuardedBody {
    return createGuardedBody({
      guard,
      coding,
      onSafe: (bytes) => this.#pass(controller, bytes),
      onDecoded: this.#reader === null ? undefined : (bytes) => this.#reader?.read(bytes),
      onEnd: () => this.#end(),
      onLeak: () => this.#block(leakIn('a body')),
      onProblem: (problem) => this.#block(deny('upstream_failed', { cause: `the upstream sent ${problem}` })),
      pause: () => controller.pause(),
      resume: () => {
        if (this.#options.outcome.bytesOut === 0) this.#flushHead();
        if (!this.#options.response.writableNeedDrain) controller.resume();
      },
    });
  }

  #pass(controller: Dispatcher.DispatchController, bytes: Buffer): void {
    const { response, outcome, onFull, onDrain } = this.#options;
    if (this.#isOver) return;
    this.#sendHead();
    outcome.bytesOut += bytes.length;
    if (response.write(bytes)) return;
    controller.pause();
    // While paused, undici's body timeout rests, and this one watches the client.
    onFull();
    response.once('drain', () => {
      onDrain();
      controller.resume();
    });
  }

  #end(): void {
    if (this.#isOver) return;
    this.#endReading();
    this.#sendHead();
    this.#options.onEnd();
    this.#options.response.end();
  }

  /** Before the client has all of it, and so before it can act on it. */
  #endReading(): void {
    this.#reader?.end();
    this.#reader = null;
  }

  #sendHead(): void {
    if (this.#head === null) return;
    const { response, outcome } = this.#options;
    response.writeHead(this.#head.status, this.#head.fields);
    outcome.status = this.#head.status;
    this.#head = null;
  }

  #flushHead(): void {
    if (this.#isOver || this.#options.response.destroyed) return;
    this.#sendHead();
    this.#options.response.flushHeaders();
  }

  #block(refusal: Deny): void {
    this.destroy();
    this.#options.onBlocked(refusal);
  }
}
