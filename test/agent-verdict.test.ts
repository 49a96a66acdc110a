import { describe, expect, test } from 'vitest';
import { readBody, readVerdict } from '../src/agent-verdict.ts';

const id = '019a0000-0000-7000-8000-000000000001';
const patienceMs = 20_000;
const problem = { 'postern-decision': id, 'content-type': 'application/problem+json' };

function answer(body: string | null, headers: Record<string, string>, status = 403): Response {
  return new Response(body, { status, headers });
}

describe('what an answer tells the agent', () => {
  test('a problem that repeats the decision id is a denial', async () => {
    const body = JSON.stringify({ reason: 'rule_denied', decision_id: id, title: 'T', detail: 'D', rule: 'r' });
    const verdict = await readVerdict(
      answer(body, { ...problem, 'retry-after': '3', 'www-authenticate': 'DPoP' }),
      patienceMs,
    );
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
      const verdict = await readVerdict(answer(JSON.stringify({ reason, decision_id: id }), problem, 502), patienceMs);
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
    expect(await readVerdict(answer(body, headers), patienceMs)).toMatchObject({
      outcome: 'allowed',
      reason: null,
      body,
    });
  });

  test('a problem without a body, as HEAD gets it, is a denial without a reason', async () => {
    expect(await readVerdict(answer(null, problem, 401), patienceMs)).toMatchObject({
      outcome: 'denied',
      status: 401,
      reason: null,
    });
  });

  test('an answer without postern-decision is not from Postern', async () => {
    const body = JSON.stringify({ reason: 'rule_denied', decision_id: null });
    const verdict = await readVerdict(answer(body, { 'content-type': 'application/problem+json' }), patienceMs);
    expect(verdict).toMatchObject({ outcome: 'foreign', decisionId: null, reason: null });
  });

  test('media types are compared without case and parameters', async () => {
    const headers = { ...problem, 'content-type': 'Application/Problem+JSON; charset=utf-8' };
    const verdict = await readVerdict(
      answer(JSON.stringify({ reason: 'draining', decision_id: id }), headers, 503),
      patienceMs,
    );
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
    const verdict = await readVerdict(
      new Response(brokenAfter('{"reason":'), { status: 403, headers: problem }),
      patienceMs,
    );
    expect(verdict).toMatchObject({ outcome: 'denied', reason: null, bodyEnd: 'cut' });
  });

  test('an allowed answer that broke off shows what had come', async () => {
    const verdict = await readVerdict(
      new Response(brokenAfter('event: 1'), { headers: { 'postern-decision': id } }),
      patienceMs,
    );
    expect(verdict).toMatchObject({ outcome: 'allowed', body: 'event: 1', bodyEnd: 'cut' });
  });

  test('reads 64 KiB and no more, and cancels the rest', async () => {
    let isCancelled = false;
    const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: (controller) => controller.enqueue(new Uint8Array(10_000).fill(0x61)),
      cancel: () => {
        isCancelled = true;
      },
    });
    const verdict = await readVerdict(
      new Response(endless, { status: 200, headers: { 'postern-decision': id } }),
      patienceMs,
    );
    expect(verdict).toMatchObject({ outcome: 'allowed', bodyEnd: 'bytes' });
    expect(verdict.body).toHaveLength(65_536);
    expect(isCancelled).toBe(true);
  });

  test('reads for so long and no longer, and cancels the rest', async () => {
    let isCancelled = false;
    const silent = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => controller.enqueue(new TextEncoder().encode('event: 1')),
      cancel: () => {
        isCancelled = true;
      },
    });
    const verdict = await readVerdict(new Response(silent, { headers: { 'postern-decision': id } }), 50);
    expect(verdict).toMatchObject({ outcome: 'allowed', body: 'event: 1', bodyEnd: 'time' });
    expect(isCancelled).toBe(true);
  });

  test('takes no more of a stream than the reader wants', async () => {
    const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: (controller) => controller.enqueue(new TextEncoder().encode('event: 1\n')),
    });
    const taken: string[] = [];
    const bounds = { bytesMax: Number.POSITIVE_INFINITY, timeoutMs: null };
    const end = await readBody(new Response(endless), bounds, (text) => taken.push(text) < 3);
    expect([end, taken]).toEqual(['bytes', Array(3).fill('event: 1\n')]);
  });
});
