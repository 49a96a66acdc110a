import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { createTestClock } from '../support/clock.ts';
import { startIntrospectionServer } from '../support/introspection-server.ts';
import { publicOrigin, startSidecar, upstreamSecret } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';
import { type Expected, type Failure, failure, refusals, waitMs } from './matrix.ts';

const takesEffect = { revocation: 'takes effect' as const };
const counted = (value: number | undefined) => value !== undefined && value > 0;
const minuteMs = 60_000;

failure(
  "an issuer's keys cannot be fetched",
  {
    ...takesEffect,
    calls: null,
    readiness: [],
    metrics: { postern_jwks_age_seconds: (value) => Number(value) >= 1800 },
  },
  async (): Promise<Failure> => {
    const clock = createTestClock();
    const harness = await startSidecar({ clock });
    await harness.call('/api/x');
    harness.issuer.setFault('reset');
    // Long past the time at which they are fetched again, and short of the one at which they are no longer used.
    clock.advance(30 * minuteMs);
    const asked = () => [...harness.issuer.requests.values()].reduce((sum, count) => sum + count, 0);
    const before = asked();
    await harness.call('/api/x');
    await vi.waitFor(() => expect(asked()).toBeGreaterThan(before), waitMs);
    return {
      harness,
      mend: async () => {
        harness.issuer.setFault(null);
        clock.advance(minuteMs);
      },
      afterwards: async () => {
        const { text } = await harness.admin('GET', '/metrics');
        expect(text).toMatch(/^postern_jwks_age_seconds\{[^}]*\} 0$/m);
      },
    };
  },
);

failure(
  "an issuer's keys are too old",
  {
    ...takesEffect,
    calls: 'issuer_unavailable',
    readiness: ['issuers'],
    metrics: { postern_jwks_age_seconds: (value) => Number(value) > 3600, [refusals('issuer_unavailable')]: counted },
  },
  async (): Promise<Failure> => {
    const clock = createTestClock();
    const harness = await startSidecar({ clock });
    await harness.call('/api/x');
    harness.issuer.setFault(503);
    clock.advance(61 * minuteMs);
    return {
      harness,
      mend: async () => {
        harness.issuer.setFault(null);
        clock.advance(minuteMs);
      },
    };
  },
);

failure(
  'introspection is down',
  {
    ...takesEffect,
    calls: 'issuer_unavailable',
    readiness: [],
    metrics: { [refusals('issuer_unavailable')]: counted },
  },
  async (): Promise<Failure> => {
    const introspection = await startIntrospectionServer();
    const clientSecretFile = join(mkdtempSync(join(tmpdir(), 'postern-failures-')), 'secret');
    writeFileSync(clientSecretFile, 's3cret');
    const harness = await startSidecar({
      config: {
        issuer: { introspection: { url: introspection.url, clientId: 'postern', clientSecretFile, cache: '0s' } },
      },
    });
    const token = 'an-opaque-token';
    const nowSeconds = Math.floor(Date.now() / 1000);
    introspection.setAnswer(token, {
      active: true,
      iss: harness.issuer.issuer,
      aud: publicOrigin,
      sub: 'agent-7',
      client_id: 'agent-7',
      scope: 'read',
      iat: nowSeconds,
      exp: nowSeconds + 300,
      token_type: 'DPoP',
      cnf: { jkt: harness.agentKey.jkt },
    });
    const call = () => harness.call('/api/x', { token });
    expect((await call()).reason).toBeNull();
    introspection.setFault('reset');
    return { harness, call, mend: async () => introspection.setFault(null), close: () => introspection.close() };
  },
);

failure(
  "a credential's file is gone, empty or unfit",
  {
    ...takesEffect,
    calls: 'credential_unavailable',
    readiness: ['credentials'],
    metrics: {
      postern_credential_age_seconds: (value) => value === undefined,
      [refusals('credential_unavailable')]: counted,
    },
  },
  async (): Promise<Failure> => {
    const harness = await startSidecar();
    rmSync(harness.secretFile);
    await harness.sidecar.refreshSecrets();
    return {
      harness,
      mend: async () => {
        writeFileSync(harness.secretFile, upstreamSecret);
        await harness.sidecar.refreshSecrets();
      },
    };
  },
);

failure(
  'an audit sink takes no records',
  {
    ...takesEffect,
    calls: 'audit_unavailable',
    readiness: ['audit'],
    metrics: { 'postern_audit_records_total{outcome="failed"}': counted, [refusals('audit_unavailable')]: counted },
  },
  async (): Promise<Failure> => {
    const harness = await startSidecar({ config: { audit: { sinks: [{ file: '/dev/full' }] } } });
    // The first call is answered before its record fails.
    await harness.call('/api/x');
    return { harness };
  },
);

failure(
  'an upstream is down or talks garbage',
  { ...takesEffect, calls: 'upstream_failed', readiness: [], metrics: { [refusals('upstream_failed')]: counted } },
  async (): Promise<Failure> => {
    const harness = await startSidecar();
    harness.upstream.answerWith((_, response) => response.socket?.end('garbage\r\n\r\n'));
    expect((await harness.call('/api/x')).reason).toBe('upstream_failed');
    // Nothing is sent twice, not even what reached nobody that could answer.
    expect(harness.upstream.requests).toHaveLength(1);
    harness.upstream.answerWith((_, response) => response.destroy());
    return { harness, mend: async () => harness.upstream.answerWith((_, response) => response.end('{}')) };
  },
);

failure(
  'an upstream is slow',
  { ...takesEffect, calls: 'upstream_timeout', readiness: [], metrics: { [refusals('upstream_timeout')]: counted } },
  async (): Promise<Failure> => {
    const harness = await startSidecar({ route: { timeouts: { headers: '200ms', body: '200ms' } } });
    harness.upstream.answerWith(() => {});
    return { harness, mend: async () => harness.upstream.answerWith((_, response) => response.end('{}')) };
  },
);

const untimely: Expected = {
  ...takesEffect,
  calls: 'proof_invalid',
  readiness: [],
  metrics: { [refusals('proof_invalid')]: counted },
};

/** The agent's own clock is right, and so is the one of its issuer, who gave it the token a while ago. */
async function offBy(ms: number): Promise<Failure> {
  let offByMs = ms;
  const harness = await startSidecar({ clock: () => Date.now() + offByMs });
  const call = () => {
    const token = harness.mint({ nowMs: Date.now() - 2 * minuteMs });
    const url = `${publicOrigin}/api/x`;
    const proof = mintProof({ key: harness.agentKey, method: 'GET', url, accessToken: token, nowMs: Date.now() });
    return harness.call('/api/x', { token, proof });
  };
  return {
    harness,
    call,
    mend: async () => {
      offByMs = 0;
    },
  };
}

failure('the clock is a minute fast', untimely, () => offBy(minuteMs));
failure('the clock is a minute slow', untimely, () => offBy(-minuteMs));
