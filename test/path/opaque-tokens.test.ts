import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createKey } from '../support/keys.ts';
import {
  gate,
  type OpaqueAuthorizationServer,
  startOpaqueAuthorizationServer,
} from '../support/opaque-authorization-server.ts';
import { type Harness, publicOrigin, startSidecar, upstreamSecret } from '../support/sidecar.ts';
import { mintProof } from '../support/tokens.ts';

let issuer: OpaqueAuthorizationServer;
let harness: Harness;
const stranger = createKey('ES256');

beforeAll(async () => {
  issuer = await startOpaqueAuthorizationServer();
});

afterEach(() => harness.close());
afterAll(() => issuer.close());

/** The real authorization server in place of the usual one. */
async function start(introspection: object = {}): Promise<void> {
  const clientSecretFile = join(mkdtempSync(join(tmpdir(), 'postern-gate-')), 'secret');
  writeFileSync(clientSecretFile, gate.secret);
  const { introspectionUrl: url } = issuer;
  harness = await startSidecar({
    config: {
      issuer: {
        issuer: issuer.issuer,
        jwksUri: issuer.jwksUri,
        introspection: { url, clientId: gate.id, clientSecretFile, ...introspection },
      },
    },
  });
}

function call(token: string, more: Partial<Parameters<Harness['call']>[1]> = {}) {
  return harness.call('/api/items', { token, ...more });
}

describe('opaque tokens of oidc-provider', () => {
  it.each([{ accept: 'json' }, { accept: 'jwt' }, { auth: 'post', cache: '0s' }])(
    'pass with their proof, introspected with %j',
    async (introspection) => {
      await start(introspection);
      const token = await issuer.issue(publicOrigin, harness.agentKey);
      expect(token).not.toContain('.');
      const answer = await call(token);
      expect([answer.status, answer.reason]).toEqual([200, null]);
      const record = await harness.record(answer.decision);
      expect(record).toMatchObject({
        decision: 'allow',
        agent: { id: 'agent-7', issuer: issuer.issuer },
        subject: { id: 'agent-7', type: 'agent', human: false },
        token: { source: 'introspection', jti: expect.stringMatching(/^sha256:/) },
        pop: { method: 'dpop', jkt: harness.agentKey.jkt },
      });
      for (const hidden of [token, gate.secret, upstreamSecret]) expect(harness.auditText()).not.toContain(hidden);
    },
  );

  it('are bound to their key, which the issuer does not check', async () => {
    await start();
    const token = await issuer.issue(publicOrigin, harness.agentKey);
    const url = `${publicOrigin}/api/items`;
    const stolen = mintProof({ key: stranger, method: 'GET', url, accessToken: token });
    expect((await call(token, { proof: stolen })).reason).toBe('key_mismatch');
    expect((await call(token, { scheme: 'Bearer', proof: null })).reason).toBe('token_invalid');
    expect(harness.upstream.requests).toHaveLength(0);
  });

  it('without a binding are refused where bearer is not named', async () => {
    await start();
    const token = await issuer.issue(publicOrigin, null);
    expect((await call(token, { scheme: 'Bearer', proof: null })).reason).toBe('token_invalid');
  });

  it('for another audience are refused', async () => {
    await start();
    const token = await issuer.issue('https://other.example.com', harness.agentKey);
    expect((await call(token)).reason).toBe('audience_mismatch');
  });

  it('are revoked by the id in the audit record, cached or not', async () => {
    await start();
    const token = await issuer.issue(publicOrigin, harness.agentKey);
    const { decision } = await call(token);
    const { token: about } = await harness.record(decision);
    const revoked = await harness.admin('POST', '/v1/revocations', {
      jti: about?.jti,
      issuer: issuer.issuer,
      reason: 'found in a log',
    });
    expect(revoked.status).toBe(201);
    expect((await call(token)).reason).toBe('token_revoked');
  });

  it('that their issuer revoked are refused as soon as the answer is too old', async () => {
    await start({ cache: '0s' });
    const token = await issuer.issue(publicOrigin, harness.agentKey);
    expect((await call(token)).status).toBe(200);
    await issuer.revoke(token);
    expect((await call(token)).reason).toBe('token_invalid');
  });

  it('that nobody issued are refused, and JWTs dressed up as opaque ones too', async () => {
    await start();
    for (const token of ['made-up', 'a.b', 'eyJhbGciOiJub25lIn0.e30.x.y', 'eyJhbGciOiJub25lIn0.e30.']) {
      expect((await call(token)).reason).toBe('token_invalid');
    }
  });

  it('are answered with 503 while the issuer is away, and the log says why', async () => {
    await start({ url: 'http://127.0.0.1:1/introspect' });
    const answer = await call('some-token');
    expect([answer.status, answer.reason, answer.headers['retry-after']]).toEqual([503, 'issuer_unavailable', '1']);
    expect(answer.headers['www-authenticate']).toBeUndefined();
    expect(harness.log.join('')).toContain('http://127.0.0.1:1/introspect could not be asked');
  });

  it('are refused where nobody is to be asked', async () => {
    harness = await startSidecar();
    const token = await issuer.issue(publicOrigin, harness.agentKey);
    expect((await call(token)).reason).toBe('token_invalid');
  });
});
