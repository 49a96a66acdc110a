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
  readonly body: string;
  readonly isTruncated: boolean;
};

type Explanation = Pick<Verdict, 'reason' | 'title' | 'detail' | 'rule'>;

const reasonSet: ReadonlySet<string> = new Set(reasons);
const upstreamReasons: ReadonlySet<string> = new Set<Reason>([
  'upstream_failed',
  'upstream_timeout',
  'upstream_auth_failed',
  'credential_leak_blocked',
]);
const bodyBytesMax = 65_536;

/** Reads an answer to its end, to the bound or until it breaks off. Never rejects. */
export async function readVerdict(response: Response): Promise<Verdict> {
  const { text, end } = await readText(response);
  const decisionId = response.headers.get('postern-decision');
  const explanation = end === 'bound' ? null : explanationOf(response, end === 'complete' ? text : '', decisionId);
  return {
    outcome: outcomeOf(decisionId, explanation),
    status: response.status,
    decisionId,
    ...(explanation ?? unexplained),
    retryAfter: response.headers.get('retry-after'),
    challenge: response.headers.get('www-authenticate'),
    body: text,
    isTruncated: end !== 'complete',
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
  const [mediaType = ''] = (response.headers.get('content-type') ?? '').split(';');
  if (decisionId === null || mediaType.trim().toLowerCase() !== 'application/problem+json') return null;
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

type Text = {
  readonly text: string;
  /** `broken`: the connection or the client's patience ended first. */
  readonly end: 'complete' | 'bound' | 'broken';
};

async function readText(response: Response): Promise<Text> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  try {
    // Leaving the loop early cancels the body.
    for await (const chunk of response.body ?? []) {
      const room = bodyBytesMax - bytes;
      bytes += chunk.byteLength;
      text += decoder.decode(chunk.subarray(0, room), { stream: true });
      if (bytes > bodyBytesMax) return { text, end: 'bound' };
    }
  } catch {
    return { text, end: 'broken' };
  }
  return { text: text + decoder.decode(), end: 'complete' };
}
