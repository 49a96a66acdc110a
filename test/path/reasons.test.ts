import { renameSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Reason, reasons } from '../../src/decision.ts';
import { answers } from '../../src/refuse.ts';
import { createKey } from '../support/keys.ts';
import { exchangeRaw, RawClient, rawServer } from '../support/raw-http.ts';
import { startRedis } from '../support/redis-server.ts';
import {
  type Answer,
  type Harness,
  publicOrigin,
  type StoreKind,
  startSidecar,
  stores,
  upstreamSecret,
} from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';

/** Reasons seen end to end by this file; the last test compares them with the closed set. */
const seen = new Set<Reason>();

async function expectRefusal(harness: Harness, reason: Reason, answer: Answer): Promise<void> {
  expect(answer.reason).toBe(reason);
  expect(answer.status).toBe(answers[reason].status);
  expect(JSON.parse(answer.text)).toMatchObject({ reason, status: answer.status, decision_id: answer.decision });
  expect(answer.headers['cache-control']).toBe('no-store');
  const record = await harness.record(answer.decision);
  expect(record).toMatchObject({ reason, status: answer.status, end: 'refused' });
  expect(JSON.stringify(record)).not.toContain(upstreamSecret);
  seen.add(reason);
}

/** A refusal that must not have reached the upstream. */
async function expectNotCalled(harness: Harness, reason: Reason, call: () => Promise<Answer>): Promise<Answer> {
  const before = harness.upstream.requests.length;
  const answer = await call();
  await expectRefusal(harness, reason, answer);
  expect(harness.upstream.requests.length).toBe(before);
  return answer;
}

function challengesOf(answer: Answer): readonly string[] {
  const value = answer.headers['www-authenticate'];
  return value === undefined ? [] : [value].flat();
}

describe.each(Object.keys(stores) as StoreKind[])('every reason on the %s store', (store) => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startSidecar({ store: stores[store](), route: { maxBody: '1KiB' } });
  });
  afterAll(() => harness.close());
  beforeEach(() => harness.issuer.setFault(null));

  it('allows a good call and gives the upstream its credential and nothing of the agent', async () => {
    const token = harness.mint();
    const proof = harness.proofFor('/api/x', token);
    const answer = await harness.call('/api/x?y=1', {
      token,
      proof,
      fields: { cookie: 'a=b', 'agent-reason': 'TICKET-1' },
    });
    expect(answer).toMatchObject({ status: 200, text: '{"ok":true}' });
    const received = harness.upstream.requests.at(-1);
    expect(received).toMatchObject({ method: 'GET', url: '/api/x?y=1' });
    expect(harness.upstream.lastField('authorization')).toEqual([`Bearer ${upstreamSecret}`]);
    for (const field of ['dpop', 'cookie', 'agent-reason']) expect(harness.upstream.lastField(field)).toEqual([]);
    expect(JSON.stringify(received)).not.toContain(token);
    expect(answer.headers['cache-control']).toBe('private, no-store');
    const record = await harness.record(answer.decision);
    expect(record).toMatchObject({
      decision: 'allow',
      reason: null,
      rule: 'reads-need-read',
      agent: { id: 'agent-7' },
      subject: { id: 'user-1' },
      stated_reason: 'TICKET-1',
      credential: 'api-key',
      status: 200,
      upstream_status: 200,
      end: 'complete',
      pop: { method: 'dpop', jkt: harness.agentKey.jkt },
      rates: { calls: expect.any(Number) },
    });
  });

  it('request_malformed: two Authorization fields, on every offered challenge', async () => {
    const token = harness.mint();
    const answer = await expectNotCalled(harness, 'request_malformed', () =>
      harness.call('/api/x', {
        token: '',
        proof: harness.proofFor('/api/x', token),
        fields: { authorization: [`DPoP ${token}`, `DPoP ${token}`] },
      }),
    );
    expect(challengesOf(answer).every((challenge) => challenge.includes('error="invalid_request"'))).toBe(true);
    expect(challengesOf(answer).length).toBeGreaterThan(0);
  });

  it('target_ambiguous: an encoded slash', async () => {
    const answer = await expectNotCalled(harness, 'target_ambiguous', () => harness.call('/api/a%2fb'));
    expect(challengesOf(answer)).toEqual([]);
  });

  it('token_missing: no credentials, a challenge without an error', async () => {
    const answer = await expectNotCalled(harness, 'token_missing', () =>
      harness.call('/api/x', { token: '', proof: null }),
    );
    const metadata = `resource_metadata="${publicOrigin}/.well-known/oauth-protected-resource/api"`;
    expect(challengesOf(answer)).toContain(`DPoP algs="ES256 EdDSA PS256", ${metadata}`);
    expect(challengesOf(answer).join()).not.toContain('error');
  });

  it('token_invalid: signed by another key', async () => {
    const token = harness.mint({ issuerKey: { ...createKey('ES256'), kid: harness.issuer.key.kid } });
    const answer = await expectNotCalled(harness, 'token_invalid', () => harness.call('/api/x', { token }));
    expect(challengesOf(answer).join()).toContain('DPoP error="invalid_token"');
  });

  it('token_invalid: a token of 100 kB', async () => {
    const sidecar = await startSidecar({ config: { limits: { headers: '256KiB' } } });
    await expectNotCalled(sidecar, 'token_invalid', () =>
      sidecar.call('/api/x', { token: 'a'.repeat(100_000), proof: 'a.b.c' }),
    );
    await expectNotCalled(sidecar, 'proof_invalid', () =>
      sidecar.call('/api/x', { proof: `${'a'.repeat(100_000)}.b.c` }),
    );
    await sidecar.close();
  });

  it('token_expired', async () => {
    const token = harness.mint({ nowMs: Date.now() - 3_600_000 });
    const answer = await expectNotCalled(harness, 'token_expired', () => harness.call('/api/x', { token }));
    expect(challengesOf(answer).join()).toContain('error="invalid_token"');
  });

  it.each([
    ['jti', (harness: Harness) => ({ jti: 'token-1', issuer: harness.issuer.issuer })],
    ['agent', () => ({ agent: 'agent-to-go' })],
    ['subject', () => ({ subject: 'user-to-go' })],
    ['jkt', (harness: Harness) => ({ jkt: harness.agentKey.jkt })],
  ] as const)('token_revoked: by %s, on the very next request, and good again when lifted', async (_kind, handleOf) => {
    const token = harness.mint({ claims: { jti: 'token-1', client_id: 'agent-to-go', sub: 'user-to-go' } });
    expect((await harness.call('/api/x', { token })).status).toBe(200);
    const revoked = await harness.admin('POST', '/v1/revocations', { ...handleOf(harness), reason: 'test' });
    expect(revoked.status).toBe(201);
    const answer = await expectNotCalled(harness, 'token_revoked', () => harness.call('/api/x', { token }));
    expect(challengesOf(answer).join()).toContain('error="invalid_token"');
    const { id } = JSON.parse(revoked.text) as { id: string };
    expect((await harness.admin('DELETE', `/v1/revocations/${id}`)).status).toBe(200);
    expect((await harness.call('/api/x', { token })).status).toBe(200);
    const actions = harness
      .auditText()
      .split('\n')
      .filter((line) => line.includes(id))
      .map((line) => JSON.parse(line) as { type: string; action: string; by: string });
    expect(actions.map(({ type, action, by }) => `${type} ${action} by ${by}`)).toEqual([
      'revocation revoked by admin',
      'revocation lifted by admin',
    ]);
  });

  it('key_mismatch: a good proof by another key', async () => {
    const token = harness.mint();
    const proof = mintProof({
      key: createKey('ES256'),
      method: 'GET',
      url: `${publicOrigin}/api/x`,
      accessToken: token,
    });
    const answer = await expectNotCalled(harness, 'key_mismatch', () => harness.call('/api/x', { token, proof }));
    expect(challengesOf(answer).join()).toContain('DPoP error="invalid_token"');
  });

  it('proof_missing: a bound token with the DPoP scheme and no proof', async () => {
    const answer = await expectNotCalled(harness, 'proof_missing', () => harness.call('/api/x', { proof: null }));
    expect(challengesOf(answer).join()).toContain('error="invalid_dpop_proof"');
  });

  it('token_invalid: a bound token as Bearer, even with a good proof beside it', async () => {
    await expectNotCalled(harness, 'token_invalid', () => harness.call('/api/x', { scheme: 'Bearer' }));
  });

  it('proof_invalid: made for another path', async () => {
    const token = harness.mint();
    const proof = harness.proofFor('/api/other', token);
    const answer = await expectNotCalled(harness, 'proof_invalid', () => harness.call('/api/x', { token, proof }));
    expect(challengesOf(answer).join()).toMatch(/DPoP error="invalid_dpop_proof".*algs="ES256 EdDSA PS256"/);
  });

  it('proof_replayed: the same request twice, and the second takes no count', async () => {
    const token = harness.mint({ claims: { client_id: 'replayer' } });
    const proof = harness.proofFor('/api/x', token);
    const first = await harness.call('/api/x', { token, proof });
    expect(first.status).toBe(200);
    await expectNotCalled(harness, 'proof_replayed', () => harness.call('/api/x', { token, proof }));
    const third = await harness.call('/api/x', { token });
    expect((await harness.record(third.decision)).rates).toEqual({ calls: 2 });
  });

  it('step_up_required: with the challenge of RFC 9470', async () => {
    const answer = await expectNotCalled(harness, 'step_up_required', () => harness.call('/api/sensitive'));
    expect(challengesOf(answer).join()).toMatch(
      /error="insufficient_user_authentication".*acr_values="urn:strong".*max_age="300"/,
    );
  });

  it('audience_mismatch', async () => {
    const token = harness.mint({ audience: 'https://other.example' });
    const answer = await expectNotCalled(harness, 'audience_mismatch', () => harness.call('/api/x', { token }));
    expect(challengesOf(answer).join()).toContain('error="invalid_token"');
  });

  it('scope_insufficient: the challenge names what would have been enough', async () => {
    const token = harness.mint({ scope: 'read' });
    const answer = await expectNotCalled(harness, 'scope_insufficient', () =>
      harness.call('/api/x', { method: 'POST', token }),
    );
    expect(challengesOf(answer).join()).toMatch(/error="insufficient_scope".*scope="write"/);
  });

  it('no_matching_rule: no challenge, because no scope would help', async () => {
    const answer = await expectNotCalled(harness, 'no_matching_rule', () =>
      harness.call('/api/x', { method: 'DELETE' }),
    );
    expect(challengesOf(answer)).toEqual([]);
  });

  it('rule_denied: with the id and message of the rule', async () => {
    const answer = await expectNotCalled(harness, 'rule_denied', () => harness.call('/api/forbidden'));
    expect(JSON.parse(answer.text)).toMatchObject({ rule: 'nobody-deletes', detail: 'Nobody gets this.' });
    const record = await harness.record(answer.decision);
    expect(record.rules.map((match) => match.id)).toEqual(['reads-need-read', 'nobody-deletes']);
  });

  it('drift_blocked: denied by a rule that judges behaviour', async () => {
    const answer = await expectNotCalled(harness, 'drift_blocked', () => harness.call('/api/unlike'));
    expect(JSON.parse(answer.text)).toMatchObject({ rule: 'unlike-itself' });
  });

  it('policy_error: an evaluation that fails denies', async () => {
    await expectNotCalled(harness, 'policy_error', () => harness.call('/api/broken'));
  });

  it('no_route', async () => {
    await expectNotCalled(harness, 'no_route', () => harness.call('/elsewhere'));
  });

  it('method_not_allowed: with the methods that are', async () => {
    const answer = await expectNotCalled(harness, 'method_not_allowed', () =>
      harness.call('/api/x', { method: 'PUT' }),
    );
    expect(answer.headers.allow).toBe('GET, HEAD, POST, DELETE');
  });

  it('body_too_large: announced, or found out on the way', async () => {
    await expectNotCalled(harness, 'body_too_large', () =>
      harness.call('/api/x', { method: 'POST', body: Buffer.alloc(2000) }),
    );
    async function* chunks() {
      for (let index = 0; index < 20; index++) yield Buffer.alloc(200);
    }
    await expectNotCalled(harness, 'body_too_large', () =>
      harness.call('/api/x', { method: 'POST', body: Readable.from(chunks()) }),
    );
  });

  it('body_malformed: one name twice, where bodies are inspected', async () => {
    const sidecar = await startSidecar({ store: stores[store](), route: { inspectBody: { json: true } } });
    const call = { method: 'POST', fields: { 'content-type': 'application/json' }, body: '{"a":1,"a":2}' };
    const answer = await expectNotCalled(sidecar, 'body_malformed', () => sidecar.call('/api/x', call));
    expect(challengesOf(answer)).toEqual([]);
    await sidecar.close();
  });

  it('target_too_long', async () => {
    await expectNotCalled(harness, 'target_too_long', () => harness.call(`/api/${'x'.repeat(9000)}`, { proof: null }));
  });

  it('headers_too_large: by count and by size', async () => {
    const many = Object.fromEntries(Array.from({ length: 120 }, (_, index) => [`x-${index}`, 'y']));
    await expectNotCalled(harness, 'headers_too_large', () => harness.call('/api/x', { fields: many }));
    const before = harness.upstream.requests.length;
    const text = await exchangeRaw(
      harness.port,
      `GET /api/x HTTP/1.1\r\nhost: x\r\nbig: ${'x'.repeat(40_000)}\r\n\r\n`,
    );
    expect(text).toMatch(/^HTTP\/1\.1 431 /);
    expect(text).toContain('"reason":"headers_too_large"');
    expect(harness.upstream.requests.length).toBe(before);
  });

  it('rate_limited: with Retry-After, after as many as the rule allows', async () => {
    const token = () => harness.mint({ claims: { client_id: 'hasty' } });
    for (let count = 1; count <= 5; count++)
      expect((await harness.call('/api/metered', { token: token() })).status).toBe(200);
    const answer = await expectNotCalled(harness, 'rate_limited', () =>
      harness.call('/api/metered', { token: token() }),
    );
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(Number(answer.headers['retry-after'])).toBeLessThanOrEqual(64);
  });

  it('issuer_unavailable: keys that were never had', async () => {
    const sidecar = await startSidecar({
      store: stores[store](),
      config: { issuer: { jwksUri: 'http://127.0.0.1:1/jwks' } },
    });
    const answer = await expectNotCalled(sidecar, 'issuer_unavailable', () => sidecar.call('/api/x'));
    expect(answer.headers['retry-after']).toBeDefined();
    expect(challengesOf(answer)).toEqual([]);
    await sidecar.close();
  });

  it('credential_unavailable: the secret is taken away, and works again when it is back', async () => {
    renameSync(harness.secretFile, `${harness.secretFile}.away`);
    await harness.sidecar.refreshSecrets();
    await expectNotCalled(harness, 'credential_unavailable', () => harness.call('/api/x'));
    writeFileSync(harness.secretFile, 'rotated-secret');
    await harness.sidecar.refreshSecrets();
    expect((await harness.call('/api/x')).status).toBe(200);
    expect(harness.upstream.lastField('authorization')).toEqual(['Bearer rotated-secret']);
    writeFileSync(harness.secretFile, upstreamSecret);
    await harness.sidecar.refreshSecrets();
  });

  it('upstream_auth_failed: the upstream refuses our credential, and its challenge stays here', async () => {
    harness.upstream.answerWith((_incoming, response) =>
      response.writeHead(401, { 'www-authenticate': 'Basic realm="inner"' }).end('inner'),
    );
    const answer = await harness.call('/api/x');
    await expectRefusal(harness, 'upstream_auth_failed', answer);
    expect(challengesOf(answer)).toEqual([]);
    expect(answer.text).not.toContain('inner');
    expect(await harness.record(answer.decision)).toMatchObject({ decision: 'allow', upstream_status: 401 });
    harness.upstream.answerWith((_incoming, response) => response.end('{"ok":true}'));
  });

  it('credential_leak_blocked: the upstream sends our credential back, and it stays here', async () => {
    harness.upstream.answerWith((incoming, response) => response.end(JSON.stringify(incoming.headers)));
    const answer = await harness.call('/api/x');
    await expectRefusal(harness, 'credential_leak_blocked', answer);
    expect(answer.text).not.toContain(upstreamSecret);
    expect(await harness.record(answer.decision)).toMatchObject({ decision: 'allow', upstream_status: 200 });
    harness.upstream.answerWith((_incoming, response) => response.end('{"ok":true}'));
  });
});

describe('reasons that need a part to fail', () => {
  it('proof_nonce_required: the next proof, with the nonce, passes', async () => {
    const harness = await startSidecar({ config: { proof: { nonce: 'required' } } });
    const answer = await expectNotCalled(harness, 'proof_nonce_required', () => harness.call('/api/x'));
    expect(challengesOf(answer).join()).toContain('DPoP error="use_dpop_nonce"');
    const nonce = String(answer.headers['dpop-nonce']);
    const token = harness.mint();
    const proof = mintProof({
      key: harness.agentKey,
      method: 'GET',
      url: `${publicOrigin}/api/x`,
      accessToken: token,
      nonce,
    });
    expect((await harness.call('/api/x', { token, proof })).status).toBe(200);
    await harness.close();
  });

  it('reason_required: absent, or not of the form that is asked for', async () => {
    const harness = await startSidecar({ config: { reason: { required: true, pattern: '[A-Z]+-[0-9]+' } } });
    await expectNotCalled(harness, 'reason_required', () => harness.call('/api/x'));
    await expectNotCalled(harness, 'reason_required', () =>
      harness.call('/api/x', { fields: { 'agent-reason': 'because' } }),
    );
    expect((await harness.call('/api/x', { fields: { 'agent-reason': 'OPS-12' } })).status).toBe(200);
    await harness.close();
  });

  it('store_unavailable: Redis is gone, then paused, and all is well when it is back', async () => {
    const redis = await startRedis();
    const harness = await startSidecar({ store: { kind: 'redis', url: redis.url, timeout: '200ms' } });
    expect((await harness.call('/api/x')).status).toBe(200);
    redis.pause();
    const answer = await expectNotCalled(harness, 'store_unavailable', () => harness.call('/api/x'));
    expect(answer.headers['retry-after']).toBeDefined();
    expect((await harness.admin('GET', '/readyz')).status).toBe(503);
    expect((await harness.admin('POST', '/v1/revocations', { agent: 'x', reason: 'y' })).status).toBe(503);
    redis.resume();
    await redis.kill();
    await expectNotCalled(harness, 'store_unavailable', () => harness.call('/api/x'));
    await redis.restart();
    // The restart emptied it: for ten seconds proofs that may have been used before are refused.
    await expect.poll(async () => (await harness.call('/api/x')).status, { timeout: 25_000 }).toBe(200);
    await harness.close();
    await redis.stop();
  }, 45_000);

  it('upstream_failed: down, or talking garbage', async () => {
    const down = await startSidecar({ route: { upstream: 'http://127.0.0.1:1' } });
    await expectRefusal(down, 'upstream_failed', await down.call('/api/x'));
    await down.close();
    const garbage = await rawServer((socket) => socket.on('data', () => socket.end('HELLO THERE\r\n\r\n')));
    const harness = await startSidecar({ route: { upstream: `http://127.0.0.1:${garbage.port}` } });
    const answer = await harness.call('/api/x');
    await expectRefusal(harness, 'upstream_failed', answer);
    expect(answer.text).not.toContain('HELLO');
    await harness.close();
    await garbage.close();
  });

  it('upstream_timeout: an upstream that never answers', async () => {
    const silent = await rawServer(() => {});
    const route = { upstream: `http://127.0.0.1:${silent.port}`, timeouts: { headers: '300ms', body: '1s' } };
    const harness = await startSidecar({ route });
    await expectRefusal(harness, 'upstream_timeout', await harness.call('/api/x'));
    await harness.close();
    await silent.close();
  });

  it('audit_unavailable: nothing passes that cannot be recorded', async () => {
    const harness = await startSidecar({ config: { audit: { sinks: [{ file: '/dev/full' }] } } });
    // The first call is answered before its record fails; from then on nothing passes.
    await harness.call('/api/x');
    await expect.poll(async () => (await harness.admin('GET', '/readyz')).status).toBe(503);
    const before = harness.upstream.requests.length;
    const answer = await harness.call('/api/x');
    expect(answer).toMatchObject({ reason: 'audit_unavailable', status: 503 });
    expect(harness.upstream.requests.length).toBe(before);
    seen.add('audit_unavailable');
    await harness.close();
  });

  it('audit failure passes requests only where configuration says so', async () => {
    const harness = await startSidecar({
      config: { audit: { sinks: [{ file: '/dev/full' }], onFailure: 'continue' } },
    });
    await harness.call('/api/x');
    await expect.poll(async () => (await harness.admin('GET', '/readyz')).status).toBe(503);
    expect((await harness.call('/api/x')).status).toBe(200);
    await harness.close();
  });

  it('request_timeout: header fields that never end', async () => {
    const harness = await startSidecar({ config: { limits: { requestHeadersTimeout: '100ms' } } });
    const text = await new RawClient(harness.port).send('GET /api/x HTTP/1.1\r\nhost: x\r\n').end();
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(text).toContain('"reason":"request_timeout"');
    seen.add('request_timeout');
    await harness.close();
  });

  it('draining: a connection kept open is refused once the delay is over', async () => {
    const harness = await startSidecar({ config: { shutdown: { delay: '0s', deadline: '5s' } } });
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      harness.upstream.answerWith((_incoming, response) => {
        release = () => response.end('{"ok":true}');
        resolve();
      });
    });
    const second = new RawClient(harness.port).send('GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n');
    await second.until((received) => received.includes('no_route'));
    const live = harness.call('/api/x');
    await held;
    // A request whose head is under way keeps its connection from being closed as idle.
    second.send('GET /elsewhere HTTP/1.1\r\n');
    // Sent before this call and to the same process: when the call is answered, those bytes have been read.
    expect((await harness.admin('GET', '/livez')).status).toBe(200);
    const drained = harness.sidecar.drain();
    await expect.poll(async () => (await harness.admin('GET', '/readyz')).status).toBe(503);
    second.send('host: x\r\n\r\n');
    expect(await second.until((received) => received.includes('draining'))).toContain('HTTP/1.1 503 ');
    seen.add('draining');
    release();
    expect((await live).status).toBe(200);
    await drained;
    await harness.close();
  });
});

describe('the closed set', () => {
  it('has been reached end to end, but for what only a bug of ours would reach', () => {
    const unreached = reasons.filter((reason) => !seen.has(reason));
    expect(unreached).toEqual(['internal_error']);
  });
});
