/** What an answer tells the agent that called: Postern's decision, its explanation, and the body. */

import { type Reason, reasons } from './decision.ts';

export type Verdict = {
  /**
   * `allowed` and `denied` are decisions of Postern; `failed` is an allowed call that the upstream could not complete;
   * `foreign` is an answer without postern-decision, so not from Postern at all.
   */
  readonly outcome: 'allowed' | 'denied' | 'failed' | 'foreign';
  readonly status: number;
  readonly decisionId: string | null;
  readonly reason: Reason | null;
  readonly title: string | null;
  /** What the agent can do about it. */
  readonly detail: string | null;
  readonly rule: string | null;
  /** As sent: seconds or a date (RFC 9110 §10.2.3). */
  readonly retryAfter: string | null;
  readonly challenge: string | null;
  /** As much of it as is kept. */
  readonly body: string;
  readonly bodyEnd: BodyEnd;
};

/**
 * How the body ended: with all of it, at the bound of bytes or of time that is kept here, or `cut`, where the other side
 * broke off before the end.
 */
export type BodyEnd = 'complete' | 'bytes' | 'time' | 'cut';

/** Takes text as it comes. False where no more is wanted. */
export type TakeText = (text: string) => boolean | Promise<boolean>;

type Explanation = Pick<Verdict, 'reason' | 'title' | 'detail' | 'rule'>;

const reasonSet: ReadonlySet<string> = new Set(reasons);
const upstreamReasons: ReadonlySet<string> = new Set<Reason>([
  'upstream_failed',
  'upstream_timeout',
  'upstream_auth_failed',
  'credential_leak_blocked',
]);
const bodyBytesMax = 65_536;

/** Reads an answer to its end, to a bound or until it breaks off. Never rejects. */
export async function readVerdict(response: Response, timeoutMs: number): Promise<Verdict> {
  let body = '';
  const bodyEnd = await readBody(response, { bytesMax: bodyBytesMax, timeoutMs }, (text) => {
    body += text;
    return true;
  });
  const decisionId = response.headers.get('postern-decision');
  const whole = bodyEnd === 'complete' ? body : '';
  const explanation = bodyEnd === 'bytes' ? null : explanationOf(response, whole, decisionId);
  return { ...verdictOf(response, explanation), body, bodyEnd };
}

/** What an event stream tells before its first event, or null for any other answer: its body may go on for ever. */
export function verdictOfStream(response: Response): Verdict | null {
  if (mediaTypeOf(response) !== 'text/event-stream') return null;
  return { ...verdictOf(response, null), body: '', bodyEnd: 'complete' };
}

function verdictOf(response: Response, explanation: Explanation | null): Omit<Verdict, 'body' | 'bodyEnd'> {
  const { status, headers } = response;
  const decisionId = headers.get('postern-decision');
  return {
    outcome: outcomeOf(decisionId, explanation),
    status,
    decisionId,
    ...(explanation ?? unexplained),
    retryAfter: headers.get('retry-after'),
    challenge: headers.get('www-authenticate'),
  };
}

function outcomeOf(decisionId: string | null, explanation: Explanation | null): Verdict['outcome'] {
  if (decisionId === null) return 'foreign';
  if (explanation === null) return 'allowed';
  return upstreamReasons.has(explanation.reason ?? '') ? 'failed' : 'denied';
}

const unexplained: Explanation = { reason: null, title: null, detail: null, rule: null };

/**
 * Postern's own problem (RFC 9457), or null. An upstream may send problems too, with statuses like ours; only ours
 * repeats the decision id, which an upstream is never told.
 */
function explanationOf(response: Response, text: string, decisionId: string | null): Explanation | null {
  if (decisionId === null || mediaTypeOf(response) !== 'application/problem+json') return null;
  // An answer to HEAD, or one that broke off, can't explain itself. To call it allowed by mistake would be worse.
  if (text === '') return unexplained;
  const problem = parseObject(text);
  const reason = problem?.reason;
  if (problem?.decision_id !== decisionId || !isReason(reason)) return null;
  return { reason, title: textOf(problem.title), detail: textOf(problem.detail), rule: textOf(problem.rule) };
}

function parseObject(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : null;
  } catch {
    return null;
  }
}

function isReason(value: unknown): value is Reason {
  return typeof value === 'string' && reasonSet.has(value);
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function mediaTypeOf({ headers }: Response): string {
  const [mediaType = ''] = (headers.get('content-type') ?? '').split(';');
  return mediaType.trim().toLowerCase();
}

export type BodyBounds = { readonly bytesMax: number; readonly timeoutMs: number | null };

/** Hands the body over as text. What is left of it at a bound is cancelled. Rejects only where the taker does. */
export async function readBody(response: Response, bounds: BodyBounds, take: TakeText): Promise<BodyEnd> {
  const reader = response.body?.getReader();
  if (reader === undefined) return 'complete';
  const cancel = () => reader.cancel().catch(() => {});
  let isLate = false;
  const expire = () => {
    isLate = true;
    void cancel();
  };
  const timer = bounds.timeoutMs === null ? undefined : setTimeout(expire, bounds.timeoutMs);
  const decoder = new TextDecoder();
  try {
    for (let room = bounds.bytesMax; ; ) {
      const read = await reader.read().catch(brokenBy);
      if (isLate) return 'time';
      if (typeof read === 'string') return read;
      if (read.value === undefined) break;
      const isWanted = await take(decoder.decode(read.value.subarray(0, room), { stream: true }));
      room -= read.value.byteLength;
      if (isWanted && room >= 0) continue;
      await cancel();
      return 'bytes';
    }
    await take(decoder.decode());
    return 'complete';
  } finally {
    clearTimeout(timer);
  }
}

/** fetch has a bound of its own on how long nothing may come. */
function brokenBy(fault: unknown): BodyEnd {
  const cause = fault instanceof Error ? fault.cause : null;
  const isIdle = cause instanceof Error && 'code' in cause && cause.code === 'UND_ERR_BODY_TIMEOUT';
  return isIdle ? 'time' : 'cut';
}
