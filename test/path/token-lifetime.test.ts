import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestClock } from '../support/clock.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

const clock = createTestClock();
const skewMs = 30_000;
const lifetimeMs = 300_000;

let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar({ clock, config: { issuer: { tokenMaxLifetime: '5m', clockSkew: '30s' } } });
});
afterAll(() => harness.close());

async function revoke(body: object): Promise<{ id: string; expires_at: string | null }> {
  const { status, text } = await harness.admin('POST', '/v1/revocations', { reason: 'test', ...body });
  expect(status).toBe(201);
  return JSON.parse(text) as { id: string; expires_at: string | null };
}

const listed = async () => (await harness.admin('GET', '/v1/revocations')).text;

describe('an issuer whose tokens live for so long at most', () => {
  it('cannot issue one that lives longer', async () => {
    const before = harness.upstream.requests.length;
    const { status, reason, decision } = await harness.call('/api/x', {
      token: harness.mint({ lifetimeSeconds: 301 }),
    });
    expect([status, reason]).toEqual([401, 'token_invalid']);
    expect((await harness.record(decision)).cause).toContain('tokenMaxLifetime');
    expect(harness.upstream.requests.length).toBe(before);
    expect((await harness.call('/api/x', { token: harness.mint({ lifetimeSeconds: 300 }) })).status).toBe(200);
  });

  it('has the revocation of a token forgotten, and not before the token is', async () => {
    // As far ahead as an issuer's clock may be.
    const token = harness.mint({ nowMs: clock() + skewMs, claims: { jti: 'token-1' } });
    expect((await harness.call('/api/x', { token })).status).toBe(200);
    const { id, expires_at: expiresAt } = await revoke({ jti: 'token-1', issuer: harness.issuer.issuer });
    expect((await harness.call('/api/x', { token })).reason).toBe('token_revoked');
    clock.advance(skewMs + lifetimeMs + skewMs - 1);
    expect((await harness.call('/api/x', { token })).reason).toBe('token_revoked');
    clock.advance(1);
    expect((await harness.call('/api/x', { token })).reason).toBe('token_expired');
    expect(await listed()).toContain(id);
    clock.advance(Date.parse(expiresAt ?? '') - clock());
    expect(await listed()).not.toContain(id);
  });

  it('has one of all that was issued before a time forgotten, too, and none of an agent for good', async () => {
    const soon = new Date(clock() + 60_000).toISOString();
    const some = await revoke({ agent: 'agent-7', issued_before: soon });
    expect(Date.parse(some.expires_at ?? '') - Date.parse(soon)).toBe(lifetimeMs + 2 * skewMs + 60_000);
    const all = await revoke({ agent: 'agent-8' });
    expect(all.expires_at).toBeNull();
  });
});
