import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isDeny } from '../../src/decision.ts';
import type { SubjectType } from '../../src/exchange.ts';
import type { DialectName } from '../../src/identify/dialects.ts';
import type { IssuerTokenShape } from '../support/issuer-tokens.ts';
import { startDialects } from './dialect-setup.ts';

let dialects: Awaited<ReturnType<typeof startDialects>>;
type Claims = Readonly<Record<string, unknown>>;

beforeAll(async () => {
  dialects = await startDialects();
});

afterAll(() => dialects.close());

async function subjectOf(dialect: DialectName, shape: IssuerTokenShape, claims: Claims): Promise<SubjectType> {
  return (await dialects.accepted(dialect, dialects.mint(shape, { claims }))).subjectType;
}

describe('the subject', () => {
  it.each<[DialectName, IssuerTokenShape, Claims, SubjectType, string]>([
    ['rfc9068', 'rfc9068', {}, 'user', 'logged in'],
    ['rfc9068', 'rfc9068', { auth_time: undefined }, 'unknown', 'without a sign'],
    ['rfc9068', 'rfc9068', { sub: 'agent-7' }, 'agent', 'the client itself, whatever else it says'],
    ['rfc9068', 'rfc9068', { auth_time: undefined, act: { sub: 'b' } }, 'unknown', 'who could be another agent'],
    ['rfc9068', 'rfc9068', { sub: 'b', act: { sub: 'b' } }, 'agent', 'acting for itself'],
    ['rfc9068', 'rfc9068', { sub: 'c', act: { sub: 'b', act: { sub: 'c' } } }, 'agent', 'an actor before'],
    ['rfc9068', 'rfc9068', { sub_profile: 'employee user' }, 'user', 'with a profile of a user'],
    ['rfc9068', 'rfc9068', { sub_profile: 'superuser' }, 'unknown', 'with a profile that only holds the letters'],
    ['rfc9068', 'rfc9068', { sub_profile: 'user ai_agent' }, 'agent', 'with a profile of both'],
    ['rfc9068', 'rfc9068', { sub_profile: 'service user' }, 'service', 'with a profile of a service'],
    ['rfc9068', 'rfc9068', { sub_profile: ['user'] }, 'unknown', 'with a profile that is no text'],
    ['keycloak', 'keycloakUser', {}, 'user', 'logged in'],
    ['keycloak', 'keycloakUser', { auth_time: 0 }, 'unknown', 'with no time of login'],
    ['keycloak', 'keycloakClient', {}, 'agent', 'with client credentials'],
    ['keycloak', 'keycloakClient', { auth_time: 1_700_000_000 }, 'agent', 'with client credentials, and a time'],
    ['keycloak', 'keycloakClient', { preferred_username: undefined }, 'agent', 'known by its host only'],
    [
      'keycloak',
      'keycloakUser',
      { preferred_username: 'Service-Account-Agent-7' },
      'agent',
      'named as a service account',
    ],
    ['entra', 'entraAutonomous', {}, 'agent', 'an agent on its own'],
    ['entra', 'entraOnBehalfOf', {}, 'user', 'a person'],
    ['entra', 'entraAgentUser', {}, 'agent', 'an agent’s own user account'],
    ['auth0', 'auth0Client', {}, 'agent', 'with client credentials'],
    ['auth0', 'auth0Client', { sub: 'my-bot' }, 'agent', 'with client credentials and an external id'],
    ['auth0', 'auth0Client', { gty: undefined, sub: 'other@clients' }, 'agent', 'a client by its name'],
    ['auth0', 'auth0OnBehalfOf', {}, 'user', 'a person for whom an agent acts'],
    ['auth0', 'auth0OnBehalfOf', { sub: 'agt_1' }, 'agent', 'an agent for whom an agent acts'],
    ['auth0', 'auth0OnBehalfOf', { sub_profile: 'ai_agent' }, 'agent', 'an agent by its profile'],
    ['auth0', 'auth0OnBehalfOf', { act: undefined }, 'unknown', 'without a sign'],
    ['okta', 'oktaOnBehalfOf', {}, 'user', 'a person for whom an agent acts'],
    ['okta', 'oktaOnBehalfOf', { auth_time: undefined }, 'user', 'a person by the actor alone'],
    ['okta', 'oktaOnBehalfOf', { sub: '0oaZZZZZZZZZZZZZZZZZ' }, 'agent', 'an application for whom an agent acts'],
    ['okta', 'oktaClient', {}, 'agent', 'with client credentials'],
    ['hydra', 'hydraClient', {}, 'agent', 'with client credentials'],
    ['hydra', 'hydraUser', {}, 'unknown', 'without a sign'],
    ['hydra', 'hydraUser', { sub_profile: 'user' }, 'user', 'with a profile of a user'],
  ])('%s, %s %j is %s: %s', async (dialect, shape, claims, expected) => {
    expect(await subjectOf(dialect, shape, claims)).toBe(expected);
  });
});

describe('Entra’s facets', () => {
  it.each<[Claims, SubjectType]>([
    [{ xms_sub_fct: '13' }, 'agent'],
    [{ xms_sub_fct: '3 13 9' }, 'agent'],
    [{ xms_sub_fct: '013' }, 'agent'],
    [{ xms_sub_fct: ' 13  3' }, 'agent'],
    // Facet 1 or 3 is not 13, nor is 131, 113 or 1 3.
    [{ xms_sub_fct: '1 3' }, 'user'],
    [{ xms_sub_fct: '131 113 313' }, 'user'],
    // Even and unknown ones are told to be tolerated.
    [{ xms_sub_fct: '10 12 99 1000001' }, 'user'],
    [{ xms_sub_fct: 'x13 13x -13 1.3e1 0x0d' }, 'user'],
    [{ xms_sub_fct: '' }, 'user'],
    [{ xms_sub_fct: undefined }, 'user'],
    // Not as documented: nothing is believed.
    [{ xms_sub_fct: [1] }, 'unknown'],
    [{ xms_sub_fct: 1 }, 'unknown'],
    [{ xms_sub_fct: null }, 'unknown'],
    [{ idtyp: undefined }, 'unknown'],
    [{ idtyp: 'User' }, 'unknown'],
    [{ idtyp: ['user'] }, 'unknown'],
    [{ idtyp: 'app' }, 'service'],
    [{ idtyp: 'app', xms_sub_fct: '3 11' }, 'agent'],
    [{ idtyp: 'user', xms_sub_fct: '11' }, 'agent'],
    // Signs of other issuers are none of Entra's.
    [{ idtyp: undefined, sub_profile: 'user', auth_time: 1_700_000_000 }, 'unknown'],
    // The actor's facets say nothing about the subject.
    [{ xms_act_fct: '11 13' }, 'user'],
  ])('%j are numbers between spaces: %s', async (claims, expected) => {
    expect(await subjectOf('entra', 'entraOnBehalfOf', claims)).toBe(expected);
  });
});

describe('the chain of actors', () => {
  const loose: readonly [DialectName, IssuerTokenShape][] = [
    ['rfc9068', 'rfc9068'],
    ['keycloak', 'keycloakUser'],
    ['auth0', 'auth0OnBehalfOf'],
    ['okta', 'oktaOnBehalfOf'],
    ['hydra', 'hydraUser'],
  ];
  const chainOf = (depth: number): object | undefined =>
    depth === 0 ? undefined : { sub: `actor-${depth}`, act: chainOf(depth - 1) };

  it('of Auth0 is the agent, and the client where it began', async () => {
    const { actors, agent } = await dialects.accepted('auth0', dialects.mint('auth0OnBehalfOf'));
    const iss = dialects.issuer;
    expect(actors).toEqual([
      { iss, sub: 'agt_8HkE3vT5oWJp', profile: '', verified: true },
      { iss, sub: 'web-client', profile: '', verified: false },
    ]);
    expect(agent).toEqual({ id: 'agt_8HkE3vT5oWJp', issuer: iss });
  });

  it('of Okta is the agent', async () => {
    const { actors, agent, subject } = await dialects.accepted('okta', dialects.mint('oktaOnBehalfOf'));
    expect(actors).toMatchObject([{ sub: 'wlp8x5q7mvH86KvFJ0g7', verified: true }]);
    expect([agent.id, subject]).toEqual(['wlp8x5q7mvH86KvFJ0g7', 'alice@example.com']);
  });

  it.each(loose)(
    'has the outermost first in every dialect, and only that one is verified: %s',
    async (dialect, shape) => {
      const act = {
        sub: 'outer',
        iss: 'https://actors.example.com',
        sub_profile: 'ai_agent',
        act: { sub: 'middle', act: { sub: 'inner', sub_profile: 'service' } },
      };
      const token = await dialects.accepted(dialect, dialects.mint(shape, { claims: { act } }));
      expect(token.actors).toEqual([
        { iss: 'https://actors.example.com', sub: 'outer', profile: 'ai_agent', verified: true },
        { iss: dialects.issuer, sub: 'middle', profile: '', verified: false },
        { iss: dialects.issuer, sub: 'inner', profile: 'service', verified: false },
      ]);
      expect(token.agent).toEqual({ id: 'outer', issuer: 'https://actors.example.com' });
    },
  );

  it.each(loose)('takes eight and refuses nine, cutting nothing off: %s', async (dialect, shape) => {
    const eight = await dialects.accepted(dialect, dialects.mint(shape, { claims: { act: chainOf(8) } }));
    expect(eight.actors.map(({ sub }) => sub)).toEqual([8, 7, 6, 5, 4, 3, 2, 1].map((n) => `actor-${n}`));
    await dialects.refused(dialect, dialects.mint(shape, { claims: { act: chainOf(9) } }), 'too deep');
    // Deeper than JSON is read at all.
    expect(isDeny(await dialects.verify(dialect, dialects.mint(shape, { claims: { act: chainOf(100) } })))).toBe(true);
  });
});
