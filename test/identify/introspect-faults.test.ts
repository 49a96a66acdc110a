import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import type { IntrospectionFault } from '../support/introspection-server.ts';
import { type IntrospectSettings, type OpaqueTokens, secret, startOpaqueTokens } from './introspect-setup.ts';

const raw = 'opaque-token';
let opaque: OpaqueTokens;

beforeEach(async () => {
  opaque = await startOpaqueTokens();
  opaque.server.setAnswer(raw, opaque.answer());
});

afterEach(() => opaque.close());

async function restart(settings: IntrospectSettings): Promise<void> {
  await opaque.close();
  opaque = await startOpaqueTokens(settings);
  opaque.server.setAnswer(raw, opaque.answer());
}

const asked = () => opaque.server.questions.length;

describe('the cache', () => {
  it('answers the same token with the same result, without waiting', async () => {
    const first = await opaque.verify(raw);
    expect(opaque.verify(raw)).toBe(first);
    expect(asked()).toBe(1);
  });

  it('keeps an answer for as long as configured', async () => {
    await opaque.accepted(raw);
    opaque.clock.advance(29_999);
    await opaque.accepted(raw);
    expect(asked()).toBe(1);
    opaque.server.setAnswer(raw, { active: false });
    opaque.clock.advance(1);
    await opaque.refused(raw, 'not active');
    expect(asked()).toBe(2);
  });

  it('keeps no answer past the expiry of the token', async () => {
    opaque.server.setAnswer(raw, opaque.answer({ exp: opaque.clock() / 1000 + 10 }));
    await opaque.accepted(raw);
    opaque.clock.advance(10_000);
    opaque.server.setAnswer(raw, { active: false });
    await opaque.refused(raw, 'not active');
  });

  it('counts from when the question was asked', async () => {
    const release = opaque.server.hold();
    const waiting = opaque.accepted(raw);
    opaque.clock.advance(20_000);
    release();
    await waiting;
    opaque.clock.advance(10_000);
    await opaque.accepted(raw);
    expect(asked()).toBe(2);
  });

  it('keeps a refusal for less', async () => {
    await opaque.refused('unknown', 'not active');
    opaque.clock.advance(4999);
    await opaque.refused('unknown', 'not active');
    expect(asked()).toBe(1);
    opaque.server.setAnswer('unknown', opaque.answer());
    opaque.clock.advance(1);
    await opaque.accepted('unknown');
    expect(asked()).toBe(2);
  });

  it('may be off', async () => {
    await restart({ cacheMs: 0, negativeCacheMs: 0 });
    for (const token of [raw, raw]) await opaque.accepted(token);
    for (const token of ['unknown', 'unknown']) await opaque.refused(token, 'not active');
    expect(asked()).toBe(4);
  });

  it('is bounded, and made-up tokens push no good one out', async () => {
    await restart({ cacheMax: 2 });
    opaque.server.setAnswer('second', opaque.answer());
    await opaque.accepted(raw);
    for (let count = 0; count < 10; count++) await opaque.refused(`made-up-${count}`, 'not active');
    await opaque.accepted(raw);
    expect(asked()).toBe(11);
    await opaque.refused('made-up-0', 'not active');
    expect(asked()).toBe(12);
  });

  it('asks once for all requests that bring the same token at once', async () => {
    const release = opaque.server.hold();
    const waiting = Array.from({ length: 20 }, () => opaque.verify(raw));
    release();
    expect(new Set(await Promise.all(waiting)).size).toBe(1);
    expect(asked()).toBe(1);
  });
});

describe('an issuer that gives no answer', () => {
  it.each<[IntrospectionFault]>([
    ...[[401], [403], [404], [429], [500], [503], [204]].map(([status]) => [status] as [number]),
    ...(['reset', 'redirect', 'too_large', 'not_json', 'html'] as const).map((fault) => [fault] as ['reset']),
  ])('lets nobody in: %s', async (fault) => {
    opaque.server.setFault(fault);
    const refusal = await opaque.refused(raw, 'no answer', 'issuer_unavailable');
    expect(refusal.retryAfterSeconds).toBe(1);
    expect(asked()).toBe(1);
    const problem = opaque.introspect.problem() ?? '';
    expect(problem).toContain(opaque.server.url);
    for (const hidden of [raw, secret]) expect(problem + JSON.stringify(refusal)).not.toContain(hidden);
  });

  it.each<['hang' | 'stall']>([['hang'], ['stall']])('in time lets nobody in: %s', async (fault) => {
    await restart({ timeoutMs: 50 });
    opaque.server.setFault(fault);
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
    expect(opaque.introspect.problem()).toContain('took too long');
  });

  it('is not asked without a secret', async () => {
    rmSync(opaque.secretFile);
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
    expect([asked(), opaque.introspect.problem()]).toEqual([0, expect.stringContaining(opaque.secretFile)]);
  });

  it('is not trusted from memory either, once the memory is too old', async () => {
    await opaque.accepted(raw);
    opaque.server.setFault(500);
    opaque.clock.advance(29_999);
    await opaque.accepted(raw);
    opaque.clock.advance(1);
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
  });

  it('is asked again at once after a single failure', async () => {
    opaque.server.setFault(500);
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
    opaque.server.setFault(null);
    await opaque.accepted(raw);
    expect(opaque.introspect.problem()).toBeNull();
  });

  it('is left alone after five, tried with one question, and taken back', async () => {
    opaque.server.setFault(500);
    for (let count = 0; count < 4; count++) await opaque.refused(raw, 'no answer', 'issuer_unavailable');
    expect(opaque.introspect.outage()).toBeNull();
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
    await opaque.refused(raw, 'lately', 'issuer_unavailable');
    expect(asked()).toBe(5);
    expect(opaque.introspect.outage()).toBe(opaque.introspect.problem());
    expect(opaque.introspect.outage()).toContain('500');
    opaque.clock.advance(1000);
    const release = opaque.server.hold();
    const trial = opaque.verify(raw);
    const beside = await opaque.refused('another', 'lately', 'issuer_unavailable');
    expect(beside.retryAfterSeconds).toBe(1);
    release();
    await trial;
    // The trial failed, so the wait is twice as long.
    const later = await opaque.refused(raw, 'lately', 'issuer_unavailable');
    expect([asked(), later.retryAfterSeconds]).toEqual([6, 2]);
    opaque.server.setFault(null);
    opaque.clock.advance(2000);
    await opaque.accepted(raw);
    await opaque.refused('another', 'not active');
    expect(asked()).toBe(8);
  });

  it('keeps nobody out whose token is known', async () => {
    await opaque.accepted(raw);
    opaque.server.setFault('reset');
    for (let count = 0; count < 6; count++) await opaque.verify(`made-up-${count}`);
    await opaque.accepted(raw);
  });

  it('is told of, each time', async () => {
    const problems: string[] = [];
    await restart({ onFailure: ({ problem, error }) => problems.push(`${problem} ${error === undefined}`) });
    opaque.server.setFault(500);
    await opaque.verify(raw);
    expect(problems).toEqual([expect.stringContaining('answered 500. true')]);
  });
});

describe('an issuer that is flooded with questions', () => {
  it('gets no more than a bounded number at once', async () => {
    const release = opaque.server.hold();
    const waiting = Array.from({ length: 128 }, (_, index) => opaque.verify(`made-up-${index}`));
    await opaque.refused(raw, 'too many', 'issuer_unavailable');
    release();
    expect((await Promise.all(waiting)).every((result) => isDeny(result))).toBe(true);
    await opaque.accepted(raw);
  });
});

describe('an issuer that faults the token', () => {
  it('has answered: the token is refused, and nobody else pays for it', async () => {
    opaque.server.setRefusal({ error: 'unsupported_token_type' });
    for (let count = 0; count < 6; count++) await opaque.refused(`a.b.c.d-${count}`, 'would not introspect');
    opaque.server.setRefusal(null);
    await opaque.accepted(raw);
  });

  it('is not believed to where it faults us', async () => {
    opaque.server.setRefusal({ error: 'invalid_client' });
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
  });
});
