import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Possession } from '../../src/exchange.ts';
import type { DialectName } from '../../src/identify/dialects.ts';
import { agentHandle, handlesOf, jtiHandle, subjectHandle } from '../../src/revocation/handles.ts';
import { startDialects } from '../identify/dialect-setup.ts';
import { type IssuerTokenShape, people } from '../support/issuer-tokens.ts';

let dialects: Awaited<ReturnType<typeof startDialects>>;
const unproven: Possession = {
  method: 'none',
  jkt: null,
  x5t: null,
  proofAgeMs: 0,
  hasNonce: false,
  singleUse: null,
};

beforeAll(async () => {
  dialects = await startDialects();
});

afterAll(() => dialects.close());

describe('any link of a delegation can be revoked', () => {
  test.each<[DialectName, IssuerTokenShape, readonly string[], string]>([
    ['keycloak', 'keycloakUser', ['agent-7'], people.person],
    ['entra', 'entraOnBehalfOf', [people.agent], people.person],
    ['entra', 'entraAutonomous', [people.agent], people.agent],
    [
      'auth0',
      'auth0OnBehalfOf',
      ['agt_8HkE3vT5oWJp', 'client-of-agent', 'web-client'],
      'auth0|5f7c8ec7c33c6c004bbafe82',
    ],
    ['okta', 'oktaOnBehalfOf', ['wlp8x5q7mvH86KvFJ0g7', '0oa1b2c3d4E5F6G7h8i9'], 'alice@example.com'],
    ['hydra', 'hydraClient', ['agent-7'], 'agent-7'],
    ['rfc9068', 'rfc9068', ['agent-7'], people.person],
  ])('in the dialect %s: %s', async (dialect, shape, agents, subject) => {
    const token = await dialects.accepted(dialect, dialects.mint(shape));
    const handles = handlesOf(token, unproven, []);
    for (const agent of agents) expect(handles).toContain(agentHandle(agent));
    expect(handles).toContain(subjectHandle(subject, null));
    expect(handles).toContain(subjectHandle(subject, dialects.issuer));
    expect(handles).toContain(jtiHandle(dialects.issuer, token.jti));
  });

  test('to the innermost of eight actors', async () => {
    const chainOf = (depth: number): object | undefined =>
      depth === 0 ? undefined : { sub: `actor-${depth}`, act: chainOf(depth - 1) };
    const token = await dialects.accepted('rfc9068', dialects.mint('rfc9068', { claims: { act: chainOf(8) } }));
    const handles = handlesOf(token, unproven, []);
    for (let depth = 1; depth <= 8; depth++) expect(handles).toContain(agentHandle(`actor-${depth}`));
  });

  test('of a token without an id by the digest of what is signed', async () => {
    const token = await dialects.accepted('auth0', dialects.mint('auth0Client'));
    expect(handlesOf(token, unproven, [])).toContain(jtiHandle(dialects.issuer, token.jti));
    expect(token.jti).toMatch(/^sha256:/);
  });
});
