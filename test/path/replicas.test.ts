import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { uniquePrefix } from '../support/redis-server.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

const trials = 200;

describe('two sidecars on one Redis', () => {
  let one: Harness;
  let other: Harness;
  beforeAll(async () => {
    const store = { kind: 'redis', url: inject('redisUrl'), prefix: uniquePrefix(), timeout: '5s' };
    one = await startSidecar({ store });
    // The same issuer, so that either takes the other's tokens.
    other = await startSidecar({ store, config: { issuer: { issuer: one.issuer.issuer } } });
  });
  /** A call by the agent of the first one, whichever sidecar gets it. */
  const callOn = (harness: Harness, path: string, token: string) =>
    harness.call(path, { token, proof: one.proofFor(path, token) });
  afterAll(() => Promise.all([one.close(), other.close()]));

  it(`let a proof that both get at once pass exactly once, ${trials} times of ${trials}`, async () => {
    const outcomes: string[] = [];
    for (let trial = 0; trial < trials; trial++) {
      const token = one.mint({ claims: { client_id: `racer-${trial}` } });
      const proof = one.proofFor('/api/x', token);
      const before = one.upstream.requests.length + other.upstream.requests.length;
      const pair = await Promise.all([one.call('/api/x', { token, proof }), other.call('/api/x', { token, proof })]);
      const calls = one.upstream.requests.length + other.upstream.requests.length - before;
      const answers = pair.map(({ status, reason }) => `${status} ${reason}`).toSorted();
      outcomes.push(`${answers.join(' / ')}, upstream called ${calls} times`);
    }
    expect(outcomes).toEqual(Array(trials).fill('200 null / 401 proof_replayed, upstream called 1 times'));
  });

  it('refuse, on either, what was revoked on one', async () => {
    const token = one.mint({ claims: { client_id: 'gone' } });
    expect((await callOn(other, '/api/x', token)).status).toBe(200);
    expect((await one.admin('POST', '/v1/revocations', { agent: 'gone', reason: 'test' })).status).toBe(201);
    for (const harness of [one, other]) expect((await callOn(harness, '/api/x', token)).reason).toBe('token_revoked');
  });

  it('let no more through than a rule grants, however many calls come at once', async () => {
    for (let trial = 0; trial < 5; trial++) {
      const before = one.upstream.requests.length + other.upstream.requests.length;
      const calls = Array.from({ length: 40 }, (_, index) =>
        callOn(index % 2 === 0 ? one : other, '/api/metered', one.mint({ claims: { client_id: `rush-${trial}` } })),
      );
      const answers = await Promise.all(calls);
      expect(answers.map(({ status }) => status).toSorted()).toEqual([...Array(5).fill(200), ...Array(35).fill(429)]);
      expect(one.upstream.requests.length + other.upstream.requests.length).toBe(before + 5);
      // Each call was told another number, so none was counted as if it were alone.
      const remaining = answers.flatMap(({ status, headers }) => (status === 200 ? [headers.ratelimit] : []));
      expect(new Set(remaining.map((text) => /;r=(\d)/.exec(String(text))?.[1]))).toEqual(
        new Set(['4', '3', '2', '1', '0']),
      );
    }
  });

  it('count together', async () => {
    const call = (harness: Harness) => callOn(harness, '/api/metered', one.mint({ claims: { client_id: 'counted' } }));
    for (const harness of [one, other, one, other, one]) expect((await call(harness)).status).toBe(200);
    for (const harness of [one, other]) expect((await call(harness)).reason).toBe('rate_limited');
  });
});
