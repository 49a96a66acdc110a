import { afterEach, describe, expect, it } from 'vitest';
import { type IssuerTokenShape, mintLike, people } from '../support/issuer-tokens.ts';
import { type Harness, publicOrigin, startSidecar } from '../support/sidecar.ts';

const rules = `
rules:
  - id: readers-with-a-human
    when: subject.human && ("reader" in token.roles || "repo:read" in token.scopes)
    effect: allow
  - id: nobody-behind-planner
    when: act.chain.exists(link, !link.verified && link.sub == "planner")
    effect: deny
`;
let harness: Harness;

afterEach(() => harness.close());

async function start(dialect: string): Promise<void> {
  harness = await startSidecar({ rules, config: { issuer: { dialect } } });
}

function token(shape: IssuerTokenShape, claims: Readonly<Record<string, unknown>> = {}): string {
  const { issuer, agentKey } = harness;
  const bound = { cnf: { jkt: agentKey.jkt, 'kc-jkt-type': 'DPoP' }, ...claims };
  const options = { issuer: issuer.issuer, issuerKey: issuer.key, audience: publicOrigin, nowMs: Date.now() };
  return mintLike(shape, { ...options, claims: bound });
}

describe('a dialect in the configuration', () => {
  it('takes a person’s token of Keycloak, with roles for rules and the subject in the record', async () => {
    await start('keycloak');
    const answer = await harness.call('/api/items', { token: token('keycloakUser', { typ: 'DPoP' }) });
    expect([answer.status, answer.reason]).toEqual([200, null]);
    expect(await harness.record(answer.decision)).toMatchObject({
      agent: { id: 'agent-7' },
      subject: { id: people.person, type: 'user', human: true },
      token: { source: 'jwt' },
    });
  });

  it('tells a service account from a person', async () => {
    await start('keycloak');
    const answer = await harness.call('/api/items', { token: token('keycloakClient') });
    expect(answer.reason).toBe('no_matching_rule');
    expect(await harness.record(answer.decision)).toMatchObject({ subject: { type: 'agent', human: false } });
  });

  it('takes no ID token', async () => {
    await start('keycloak');
    const answer = await harness.call('/api/items', { token: token('keycloakUser', { typ: 'ID', at_hash: 'x' }) });
    expect([answer.status, answer.reason]).toEqual([401, 'token_invalid']);
    expect(harness.upstream.requests).toHaveLength(0);
  });

  it('lets any link of Auth0’s chain be revoked, and rules see which link is verified', async () => {
    await start('auth0');
    const raw = token('auth0OnBehalfOf');
    expect((await harness.call('/api/items', { token: raw })).status).toBe(200);
    const behind = { sub: 'agt_1', act: { sub: 'planner' } };
    expect((await harness.call('/api/items', { token: token('auth0OnBehalfOf', { act: behind }) })).reason).toBe(
      'rule_denied',
    );
    const revoked = await harness.admin('POST', '/v1/revocations', { agent: 'web-client', reason: 'compromised' });
    expect(revoked.status).toBe(201);
    expect((await harness.call('/api/items', { token: raw })).reason).toBe('token_revoked');
  });
});
