import { createHash } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AuditRecord } from '../../src/record/audit-record.ts';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, publicOrigin, startSidecar, upstreamSecret } from '../support/sidecar.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar();
});
afterAll(() => harness.close());
beforeEach(() => harness.upstream.answerWith((_incoming, response) => response.end('{"ok":true}')));

const records = (): AuditRecord[] =>
  harness
    .auditText()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as AuditRecord);

/** Records since the last call of this, once there are so many, and none more after a later exchange. */
async function recordsAfter(count: number, work: () => Promise<unknown>): Promise<readonly AuditRecord[]> {
  await harness.record((await harness.call('/nowhere')).decision);
  const before = records().length;
  await work();
  await expect.poll(() => records().length).toBeGreaterThanOrEqual(before + count);
  await harness.record((await harness.call('/nowhere')).decision);
  return records().slice(before, -1);
}

describe('the audit record', () => {
  it('says who did what, for whom, why, under which rule, and how it ended', async () => {
    const token = harness.mint({ claims: { act: { sub: 'agent-8', iss: 'https://login.example' } } });
    const path = '/api/items?secret-query=1';
    const answer = await harness.call(path, { token, fields: { 'agent-reason': 'OPS-12' } });
    expect(answer.status).toBe(200);
    const record = await harness.record(answer.decision);
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { jti: string };
    expect(record).toMatchObject({
      type: 'decision',
      v: 1,
      id: answer.decision,
      decision: 'allow',
      reason: null,
      cause: null,
      rule: 'reads-need-read',
      rules: [{ id: 'reads-need-read', effect: 'allow', mode: 'enforce', failed: false }],
      policy: expect.stringMatching(/^[0-9a-f]{64}$/),
      route: 'api',
      subject: { id: 'user-1', issuer: harness.issuer.issuer },
      act: { depth: 1 },
      stated_reason: 'OPS-12',
      token: { iss: harness.issuer.issuer, aud: [publicOrigin], client_id: 'agent-7', jti: claims.jti },
      pop: { method: 'dpop', jkt: harness.agentKey.jkt, x5t: null },
      rates: { calls: expect.any(Number) },
      request: { method: 'GET', host: new URL(harness.sidecar.origin).host, path: '/api/items' },
      source: { address: '127.0.0.1' },
      credential: 'api-key',
      status: 200,
      upstream_status: 200,
      bytes_in: 0,
      bytes_out: 11,
      end: 'complete',
    });
    expect(record.request.query_sha256).toBe(createHash('sha256').update('secret-query=1').digest('base64url'));
    expect(Math.abs(Date.parse(record.time) - Date.now())).toBeLessThan(10_000);
    for (const stage of ['total', 'decision', 'identify', 'store', 'decide', 'credential', 'upstream'] as const) {
      expect(record.timings_ms[stage]).toBeGreaterThanOrEqual(0);
    }
  });

  it('names nobody where nobody is known, and no credential where none was used', async () => {
    const answer = await harness.call('/api/x', { token: '', proof: null });
    expect(await harness.record(answer.decision)).toMatchObject({
      decision: 'deny',
      reason: 'token_missing',
      agent: null,
      subject: null,
      token: null,
      pop: null,
      credential: null,
      status: 401,
      upstream_status: null,
      end: 'refused',
    });
  });

  it('is an allow with the reason of its failure where the upstream fails', async () => {
    harness.upstream.answerWith((incoming) => incoming.socket.destroy());
    const answer = await harness.call('/api/x');
    expect(await harness.record(answer.decision)).toMatchObject({
      decision: 'allow',
      reason: 'upstream_failed',
      rule: 'reads-need-read',
      status: 502,
      upstream_status: null,
    });
  });

  it('is one for each exchange, the client leaving in the middle of the answer included', async () => {
    harness.upstream.answerWith((_incoming, response) => response.write('the first half'));
    const token = harness.mint();
    const made = await recordsAfter(1, async () => {
      const client = new RawClient(harness.port).send(
        `GET /api/x HTTP/1.1\r\nhost: a\r\nauthorization: DPoP ${token}\r\ndpop: ${harness.proofFor('/api/x', token)}\r\n\r\n`,
      );
      await client.until((received) => received.includes('the first half'));
      client.destroy();
    });
    expect(made).toMatchObject([{ decision: 'allow', status: 200, end: 'client_aborted' }]);
  });

  it('is one for each exchange, an upstream that breaks off included', async () => {
    harness.upstream.answerWith((_incoming, response) => {
      response.write('the first half', () => response.destroy());
    });
    const made = await recordsAfter(1, () => harness.call('/api/x').catch(() => {}));
    expect(made).toMatchObject([{ decision: 'allow', end: 'upstream_aborted' }]);
  });

  it.each([
    ['garbage', 'HELLO THERE\r\n\r\n', 'request_malformed'],
    ['a tunnel', 'CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n', 'method_not_allowed'],
    ['fields beyond every limit', `GET /api/x HTTP/1.1\r\nx: ${'a'.repeat(40_000)}\r\n\r\n`, 'headers_too_large'],
  ])('is one for a connection that brings %s', async (_name, text, reason) => {
    const made = await recordsAfter(1, () => new RawClient(harness.port).send(text).end());
    expect(made).toMatchObject([{ decision: 'deny', reason, end: 'refused', agent: null }]);
  });

  it('is none for a connection that brings nothing', async () => {
    const made = await recordsAfter(0, async () => {
      const client = new RawClient(harness.port);
      client.socket.once('connect', () => client.destroy());
      await client.end();
    });
    expect(made).toEqual([]);
  });

  it('keeps long paths short', async () => {
    const answer = await harness.call(`/nowhere/${'x'.repeat(4000)}`);
    expect((await harness.record(answer.decision)).request.path).toMatch(/^\/nowhere\/x{1000,1024}…$/);
  });

  it('holds no token, proof, credential, query, body or cookie, nor does any log line, metric or decision', async () => {
    const token = harness.mint();
    const proof = harness.proofFor('/api/x', token, 'POST');
    const fields = { cookie: 'session=cookie-secret', 'proxy-authorization': 'Basic cHJveHktc2VjcmV0' };
    const answer = await harness.call('/api/x?key=query-secret', {
      method: 'POST',
      token,
      proof,
      fields,
      body: 'body-secret',
    });
    const denied = await harness.call('/api/x?key=query-secret', { token, proof, fields });
    expect(denied.reason).toBe('proof_invalid');
    await harness.record(answer.decision);
    await harness.record(denied.decision);
    const shown = [
      harness.auditText(),
      harness.log.join('\n'),
      (await harness.admin('GET', '/metrics')).text,
      (await harness.admin('GET', `/v1/decisions/${denied.decision}`)).text,
      denied.text,
    ].join('\n');
    expect(shown).toContain(denied.decision);
    const parts = [...token.split('.'), ...proof.split('.')].filter((part) => part.length > 40);
    const secrets = [upstreamSecret, 'query-secret', 'body-secret', 'cookie-secret', 'cHJveHktc2VjcmV0', ...parts];
    expect(parts.length).toBeGreaterThan(4);
    for (const secret of secrets) expect(shown.includes(secret)).toBe(false);
  });

  it('can be asked for by the id of its decision', async () => {
    const { decision } = await harness.call('/api/forbidden');
    const record = await harness.record(decision);
    expect(JSON.parse((await harness.admin('GET', `/v1/decisions/${decision}`)).text)).toEqual(record);
  });
});
