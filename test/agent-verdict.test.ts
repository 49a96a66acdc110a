import { describe, expect, test } from 'vitest';
import { readVerdict } from '../src/agent-verdict.ts';

const id = '019a0000-0000-7000-8000-000000000001';
const problem = { 'postern-decision': id, 'content-type': 'application/problem+json' };

function answer(body: string | null, headers: Record<string, string>, status = 403): Response {
  return new Response(body, { status, headers });
}

describe('what an answer tells the agent', () => {
  test('a problem that repeats the decision id is a denial', async () => {
    const body = JSON.stringify({ reason: 'rule_denied', decision_id: id, title: 'T', detail: 'D', rule: 'r' });
    const verdict = await readVerdict(answer(body, { ...problem, 'retry-after': '3', 'www-authenticate': 'DPoP' }));
    expect(verdict).toMatchObject({
      outcome: 'denied',
      status: 403,
      decisionId: id,
      reason: 'rule_denied',
      title: 'T',
      detail: 'D',
      rule: 'r',
      retryAfter: '3',
      challenge: 'DPoP',
    });
  });

  test.each(['upstream_failed', 'upstream_timeout', 'upstream_auth_failed', 'credential_leak_blocked'])(
    '%s is an allowed call that failed',
    async (reason) => {
      const verdict = await readVerdict(answer(JSON.stringify({ reason, decision_id: id }), problem, 502));
      expect(verdict).toMatchObject({ outcome: 'failed', reason });
    },
  );

  test.each([
    ['names another decision', JSON.stringify({ reason: 'rule_denied', decision_id: 'another' }), problem],
    ['has a reason that is not one of ours', JSON.stringify({ reason: 'made_up', decision_id: id }), problem],
    ['has a reason that is an inherited name', JSON.stringify({ reason: 'constructor', decision_id: id }), problem],
    ['is not JSON', 'denied', problem],
    ['is JSON but no object', 'null', problem],
    [
      'has another media type',
      JSON.stringify({ reason: 'rule_denied', decision_id: id }),
      { ...problem, 'content-type': 'application/json' },
    ],
  ])('an error of the API is no denial when its body %s', async (_what, body, headers) => {
    expect(await readVerdict(answer(body, headers))).toMatchObject({ outcome: 'allowed', reason: null, body });
  });

  test('a problem without a body, as HEAD gets it, is a denial without a reason', async () => {
    expect(await readVerdict(answer(null, problem, 401))).toMatchObject({
      outcome: 'denied',
      status: 401,
      reason: null,
    });
  });

  test('an answer without postern-decision is not from Postern', async () => {
    const body = JSON.stringify({ reason: 'rule_denied', decision_id: null });
    const verdict = await readVerdict(answer(body, { 'content-type': 'application/problem+json' }));
    expect(verdict).toMatchObject({ outcome: 'foreign', decisionId: null, reason: null });
  });

  test('media types are compared without case and parameters', async () => {
    const headers = { ...problem, 'content-type': 'Application/Problem+JSON; charset=utf-8' };
    const verdict = await readVerdict(answer(JSON.stringify({ reason: 'draining', decision_id: id }), headers, 503));
    expect(verdict).toMatchObject({ outcome: 'denied', reason: 'draining' });
  });

  function brokenAfter(text: string): ReadableStream<Uint8Array<ArrayBuffer>> {
    const chunks = [new TextEncoder().encode(text)];
    return new ReadableStream({
      pull(controller) {
        const chunk = chunks.shift();
        if (chunk === undefined) controller.error(new Error('connection lost'));
        else controller.enqueue(chunk);
      },
    });
  }

  test('a problem that broke off is a denial without a reason', async () => {
    const verdict = await readVerdict(new Response(brokenAfter('{"reason":'), { status: 403, headers: problem }));
    expect(verdict).toMatchObject({ outcome: 'denied', reason: null, isTruncated: true });
  });

  test('an allowed answer that broke off shows what had come', async () => {
    const verdict = await readVerdict(new Response(brokenAfter('event: 1'), { headers: { 'postern-decision': id } }));
    expect(verdict).toMatchObject({ outcome: 'allowed', body: 'event: 1', isTruncated: true });
  });

  test('reads 64 KiB and no more, and cancels the rest', async () => {
    let isCancelled = false;
    const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: (controller) => controller.enqueue(new Uint8Array(10_000).fill(0x61)),
      cancel: () => {
        isCancelled = true;
      },
    });
    const verdict = await readVerdict(new Response(endless, { status: 200, headers: { 'postern-decision': id } }));
    expect(verdict).toMatchObject({ outcome: 'allowed', isTruncated: true });
    expect(verdict.body).toHaveLength(65_536);
    expect(isCancelled).toBe(true);
  });
});
