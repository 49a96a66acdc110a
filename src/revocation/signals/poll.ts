/** Asks a transmitter for security event tokens (RFC 8936), one question after the other, for as long as it runs. */

import type { Buffer } from 'node:buffer';
import { setTimeout } from 'node:timers/promises';
import { type Dispatcher, request } from 'undici';
import { Fault } from '../../errors.ts';
import { isJsonObject, parseStrictJsonBytes } from '../../strict-json.ts';
import { discardResponseBody, readResponseBody } from '../../whole-body.ts';
import type { ReceiveSet } from './receive.ts';
import type { SetProblem } from './security-event.ts';

export type PollOptions = {
  readonly endpoint: string;
  /** Ours at the transmitter, as it is now. */
  readonly readToken: () => Promise<string>;
  readonly receive: ReceiveSet;
  readonly maxEvents: number;
  /** Whether the transmitter may hold its answer until there is one to give. */
  readonly isLongPoll: boolean;
  readonly intervalMs: number;
  /** For one whole question. */
  readonly timeoutMs: number;
  readonly dispatcher: Dispatcher;
  /** The transmitter has answered. */
  readonly onContact: () => void;
  /** Must not throw. */
  readonly onFailure: (event: { readonly problem: string; readonly error?: unknown }) => void;
};

export type Poller = { readonly close: () => Promise<void> };

const answerBytesMax = 8 * 1024 * 1024;
const longestWaitMs = 60_000;
/** Questions without a pause between them: a transmitter that gives the same again and again keeps nobody busy. */
const questionsInARowMax = 200;

type Owed = { readonly acks: string[]; readonly errors: Record<string, SetProblem> };
type Round = { readonly isMore: boolean; readonly hadFailure: boolean };

/** Begins to ask at once. */
export function startPoller(options: PollOptions): Poller {
  const { intervalMs, onFailure } = options;
  const closing = new AbortController();
  // Told with the next question (RFC 8936 §2.4), and again until an answer says that the transmitter knows.
  let owed: Owed = emptyOwed();

  async function ask(): Promise<Round> {
    const answer = await question(options, owed, closing.signal);
    options.onContact();
    owed = emptyOwed();
    let hadFailure = false;
    for (const [jti, set] of Object.entries(answer.sets)) {
      try {
        const problem = await takeOne(options.receive, set);
        if (problem === null) owed.acks.push(jti);
        else owed.errors[jti] = problem;
      } catch (error) {
        // Neither acknowledged nor refused, so that the transmitter gives it again.
        hadFailure = true;
        tell(error);
      }
    }
    return { isMore: answer.isMore || owed.acks.length > 0 || Object.keys(owed.errors).length > 0, hadFailure };
  }

  function tell(error: unknown): void {
    if (error instanceof Fault) onFailure({ problem: error.message });
    else onFailure({ problem: 'an event could not be taken', error });
  }

  async function run(): Promise<void> {
    let failures = 0;
    let inARow = 0;
    while (!closing.signal.aborted) {
      let waitMs = intervalMs;
      try {
        const { isMore, hadFailure } = await ask();
        failures = hadFailure ? failures + 1 : 0;
        inARow = isMore && inARow < questionsInARowMax ? inARow + 1 : 0;
        if (inARow > 0) waitMs = 0;
      } catch (error) {
        if (closing.signal.aborted) return;
        failures += 1;
        tell(error);
      }
      if (failures > 0) waitMs = Math.min(longestWaitMs, intervalMs * 2 ** Math.min(failures - 1, 16));
      await setTimeout(waitMs, undefined, { signal: closing.signal }).catch(() => undefined);
    }
  }

  const running = run();
  return {
    close: async () => {
      closing.abort();
      await running;
    },
  };
}

const emptyOwed = (): Owed => ({ acks: [], errors: Object.create(null) as Record<string, SetProblem> });

function takeOne(receive: ReceiveSet, set: unknown): Promise<SetProblem | null> {
  if (typeof set === 'string') return receive(set);
  return Promise.resolve({ err: 'invalid_request', description: 'The security event token is not a string.' });
}

type PollAnswer = { readonly sets: Readonly<Record<string, unknown>>; readonly isMore: boolean };

async function question(options: PollOptions, { acks, errors }: Owed, closing: AbortSignal): Promise<PollAnswer> {
  const { endpoint, maxEvents, isLongPoll, timeoutMs, dispatcher } = options;
  const token = await options.readToken();
  const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), closing]);
  try {
    // Follows no redirect: the token goes to the configured place only.
    const { statusCode, body } = await request(endpoint, {
      dispatcher,
      signal,
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, accept: 'application/json', 'content-type': 'application/json' },
      body: JSON.stringify({
        maxEvents,
        returnImmediately: !isLongPoll,
        ...(acks.length > 0 ? { ack: acks } : {}),
        ...(Object.keys(errors).length > 0 ? { setErrs: errors } : {}),
      }),
    });
    if (statusCode !== 200) {
      discardResponseBody(body);
      throw new Fault('signals_poll', `${endpoint} answered ${statusCode}.`);
    }
    const document = await readResponseBody(body, answerBytesMax);
    if (document !== null) return readAnswer(document, endpoint);
    throw new Fault('signals_poll', `${endpoint} answered more than ${answerBytesMax} bytes.`);
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault('signals_poll', `${endpoint} ${signal.aborted ? 'took too long' : 'could not be asked'}.`, error);
  }
}

/** RFC 8936 §2.3. */
function readAnswer(document: Buffer, endpoint: string): PollAnswer {
  const answer = parseStrictJsonBytes(document, { maxDepth: 8 });
  if (!isJsonObject(answer) || !isJsonObject(answer.sets)) {
    throw new Fault('signals_poll', `${endpoint} answered something else than an object with sets.`);
  }
  return { sets: answer.sets, isMore: answer.moreAvailable === true };
}
