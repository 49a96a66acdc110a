/** An agent with a habit: it reads its mail, and pays whom it always pays. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { TestClock } from '../support/clock.ts';
import type { Harness } from '../support/sidecar.ts';

const shipped = readFileSync(join(import.meta.dirname, '../../rules/guards/drift.yaml'), 'utf8');
export const rules = `${shipped}
  - id: all
    when: '"read" in token.scopes'
    effect: allow
`;
export const drift = { warmUp: { requests: 200, time: '1h' }, flushInterval: '100ms', alarm: { score: 0.997 } };
export const route = { inspectBody: { json: true } };
export const known = 'GB33BUKB20201555555555';
export const stranger = 'DE89370400440532013000';

/** What the agent does all day. */
export async function work(harness: Harness, clock: TestClock, rounds: number, claims = {}, from = 0): Promise<void> {
  for (let round = from; round < from + rounds; round++) {
    pause(clock, round);
    const token = harness.mint({ claims });
    await harness.call('/api/mail', { token });
    if (round % 7 === 3) await harness.call('/api/status', { token });
    pause(clock, round * 3);
    expect((await pay(harness, known, claims)).status).toBe(200);
  }
}

/** How many calls so many rounds of work are. */
export const callsIn = (rounds: number) => 2 * rounds + Math.floor((rounds + 3) / 7);

/** Nobody works to the beat of a clock: from none at all to half a minute. */
function pause(clock: TestClock, step: number): void {
  clock.advance((step * 7919) % 30_000);
}

export function pay(harness: Harness, to: string, claims = {}) {
  const fields = { 'content-type': 'application/json' };
  const body = JSON.stringify({ to, amount: 10 });
  return harness.call('/api/payments', { method: 'POST', token: harness.mint({ claims }), fields, body });
}

export function answerMail(harness: Harness, text: string): void {
  harness.upstream.answerWith((incoming, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(incoming.url === '/api/mail' ? { from: 'boss@corp.example', text } : { ok: true }));
  });
}

/** A harness whose calls go to `sidecar` with the tokens and proofs of `agent`. */
export function asAgentOf(agent: Harness, sidecar: Harness): Harness {
  return {
    ...sidecar,
    mint: agent.mint,
    proofFor: agent.proofFor,
    call: (target, options = {}) => {
      const token = options.token ?? agent.mint();
      return sidecar.call(target, { ...options, token, proof: agent.proofFor(target, token, options.method) });
    },
  };
}

/** A harness whose calls go to one after the other. */
export function inTurn(one: Harness, other: Harness): Harness {
  const made = new Map<string, Harness>();
  let calls = 0;
  return {
    ...one,
    call: async (target, options) => {
      const at = calls++ % 2 === 0 ? one : other;
      const answer = await at.call(target, options);
      made.set(answer.decision, at);
      return answer;
    },
    record: (decision) => (made.get(decision) ?? one).record(decision),
  };
}
