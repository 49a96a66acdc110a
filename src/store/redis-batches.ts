/**
 * All checks of one turn of the event loop go to Redis as one script call. A call costs the client the same for one
 * request as for thirty, so this is what keeps the store nearly free under load; see scripts.ts for the layout.
 */

import { bucketWidthMs } from './meters.ts';
import type { CheckAnswer, CheckRequest } from './port.ts';
import type { RedisConnection } from './redis-connection.ts';
import { checkScript, type Keys } from './scripts.ts';

/** Longer batches would hold up other clients of Redis, and Lua can't unpack more than some thousand handles. */
const batchRequestsMax = 64;
const batchHandlesMax = 2000;
/** Requests that may wait for Redis at once. Beyond this it is not going to answer in time anyway. */
const waitingMax = 10_000;

type Waiting = {
  readonly request: CheckRequest;
  readonly resolve: (answer: CheckAnswer) => void;
  readonly reject: (fault: Error) => void;
};

export type BatchesOptions = {
  readonly connection: RedisConnection;
  readonly keys: Keys;
  readonly timeoutMs: number;
  /** Which revocation set a check relies on; empty for whichever there is. */
  readonly generation: () => string;
};

export function createBatches({ connection, keys, timeoutMs, generation }: BatchesOptions) {
  const { redis } = connection;
  redis.defineCommand('posternCheck', { lua: checkScript });
  let queue: Waiting[] = [];
  let waitingCount = 0;

  function check(request: CheckRequest): Promise<CheckAnswer> {
    if (!connection.isUp()) return Promise.reject(connection.fault());
    if (waitingCount >= waitingMax) return Promise.reject(connection.faultOf('BACKLOG'));
    waitingCount++;
    return new Promise((resolve, reject) => {
      // The check phase follows the poll phase: everything that arrived in this turn is in the queue by then.
      if (queue.push({ request, resolve, reject }) === 1) setImmediate(flush);
    });
  }

  function flush(): void {
    const all = queue;
    queue = [];
    let from = 0;
    let handles = 0;
    for (let i = 0; i < all.length; i++) {
      handles += all[i]?.request.handles.length ?? 0;
      const next = all[i + 1];
      const isFull =
        i + 1 - from >= batchRequestsMax || handles + (next?.request.handles.length ?? 0) > batchHandlesMax;
      if (next !== undefined && !isFull) continue;
      send(from === 0 && next === undefined ? all : all.slice(from, i + 1));
      from = i + 1;
      handles = 0;
    }
  }

  function send(batch: readonly Waiting[]): void {
    let isSettled = false;

    function fail(fault: Error): void {
      if (isSettled) return;
      isSettled = true;
      clearTimeout(timer);
      waitingCount -= batch.length;
      for (const waiting of batch) waiting.reject(fault);
    }

    // An answer may lie in the socket while this process was busy: the poll phase gets one chance to read it.
    const timer = setTimeout(() => setImmediate(() => fail(connection.faultOf('TIMEOUT'))), timeoutMs);

    redis.posternCheck(encode(batch, keys, generation())).then(
      (reply) => {
        if (isSettled) return;
        if (reply === 'lost') return fail(connection.faultOf('EMPTIED'));
        const answers = decode(reply, batch);
        if (answers === null) return fail(connection.faultOf('ANSWER'));
        isSettled = true;
        clearTimeout(timer);
        waitingCount -= batch.length;
        for (let i = 0; i < batch.length; i++) {
          const answer = answers[i];
          if (answer === null) batch[i]?.reject(connection.faultOf('EMPTIED'));
          else if (answer !== undefined) batch[i]?.resolve(answer);
        }
      },
      (error: unknown) => fail(connection.translate(error)),
    );
  }

  return { check };
}

function encode(batch: readonly Waiting[], keys: Keys, generation: string): (string | number)[] {
  const scriptKeys: (string | number)[] = [0, keys.revoked.handles, keys.revoked.meta];
  const handles: string[] = [];
  const numbers: number[] = [];
  const knownAt = batch[0]?.request.knownAt ?? null;
  let isKnown = knownAt !== null;
  for (const { request } of batch) {
    if (request.knownAt !== knownAt) isKnown = false;
    // As Redis has it: half of a surrogate pair is no UTF-8, and in JSON nothing that Lua would take.
    for (const handle of request.handles) handles.push(handle.toWellFormed());
    const { nowMs, issuedAtMs, singleUse, meters } = request;
    let lifetimeMs = 0;
    let madeAtMs = nowMs;
    if (singleUse !== null) {
      scriptKeys.push(keys.proofPrefix + singleUse.key);
      lifetimeMs = Math.ceil(singleUse.lifetimeMs);
      madeAtMs = Math.min(nowMs, singleUse.madeAtMs);
    }
    numbers.push(nowMs, Math.floor(issuedAtMs), request.handles.length, madeAtMs, lifetimeMs, meters.length);
    for (const meter of meters) {
      scriptKeys.push(`${keys.meterPrefix}${meter.windowMs}:${meter.key}`);
      numbers.push(meter.windowMs, bucketWidthMs(meter.windowMs), meter.cost);
    }
  }
  scriptKeys[0] = scriptKeys.length - 1;
  const known = knownAt !== null && isKnown ? `${knownAt.generation}:${knownAt.sequence}:${knownAt.head}` : '';
  return scriptKeys.concat(JSON.stringify(numbers), generation, known, JSON.stringify(handles));
}

/** Null where the reply is not what the script gives, and for a request that it can't tell anything about. */
function decode(reply: unknown, batch: readonly Waiting[]): (CheckAnswer | null)[] | null {
  const numbers = parseNumbers(reply);
  if (numbers === null) return null;
  const answers: (CheckAnswer | null)[] = [];
  let at = 0;
  for (const { request } of batch) {
    const revokedIndex = numbers[at++] ?? -1;
    const use = numbers[at++];
    if (use === 2) {
      answers.push(null);
      continue;
    }
    const isReplay = use === 1;
    const counts: number[] = [];
    const fallsInMs: number[] = [];
    if (revokedIndex < 0 && !isReplay) {
      for (let i = 0; i < request.meters.length; i++) {
        counts.push(numbers[at++] ?? 0);
        fallsInMs.push(numbers[at++] ?? 0);
      }
    }
    answers.push({ revokedIndex, isReplay, counts, fallsInMs });
  }
  return at === numbers.length ? answers : null;
}

function parseNumbers(reply: unknown): readonly number[] | null {
  if (typeof reply !== 'string') return null;
  try {
    const numbers: unknown = JSON.parse(reply);
    return Array.isArray(numbers) && numbers.every(Number.isSafeInteger) ? numbers : null;
  } catch {
    return null;
  }
}
