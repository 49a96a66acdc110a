import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CustomDialect, DialectName } from '../../src/identify/dialects.ts';
import { dialectProblems } from '../../src/identify/dialects.ts';
import { type IssuerTokenShape, people } from '../support/issuer-tokens.ts';
import { createKey } from '../support/keys.ts';
import { signJws } from '../support/tokens.ts';
import { audience, startDialects } from './dialect-setup.ts';

let dialects: Awaited<ReturnType<typeof startDialects>>;
const { person, agent } = people;
const { jkt } = createKey('ES256');

beforeAll(async () => {
  dialects = await startDialects();
});

afterAll(() => dialects.close());

describe('tokens as each issuer mints them', () => {
  it.each<[DialectName, IssuerTokenShape, object]>([
    [
      'keycloak',
      'keycloakUser',
      {
        subject: person,
        clientId: 'agent-7',
        agent: { id: 'agent-7' },
        scopes: ['openid', 'email', 'repo:read'],
        roles: ['default-roles-main', 'offline_access', 'reader'],
      },
    ],
    ['keycloak', 'keycloakClient', { agent: { id: 'agent-7' }, scopes: ['profile', 'email'], roles: ['reader'] }],
    [
      'entra',
      'entraAutonomous',
      {
        subject: agent,
        agent: { id: agent },
        scopes: [],
        roles: ['Items.Read.All'],
        jti: 'm5RaaRnoFUyp2TbSCAAAAA',
        actors: [],
      },
    ],
    [
      'entra',
      'entraOnBehalfOf',
      { subject: person, agent: { id: agent }, scopes: ['Items.Read', 'Items.Write'], roles: [], actors: [] },
    ],
    ['auth0', 'auth0Client', { agent: { id: 'agent-7' }, scopes: ['repo:read'], roles: ['repo:read'] }],
    [
      'auth0',
      'auth0OnBehalfOf',
      {
        subject: 'auth0|5f7c8ec7c33c6c004bbafe82',
        clientId: 'client-of-agent',
        agent: { id: 'agt_8HkE3vT5oWJp' },
        roles: ['repo:read', 'repo:write'],
      },
    ],
    [
      'okta',
      'oktaOnBehalfOf',
      {
        subject: 'alice@example.com',
        clientId: '0oa1b2c3d4E5F6G7h8i9',
        agent: { id: 'wlp8x5q7mvH86KvFJ0g7' },
        scopes: ['openid', 'repo:read'],
      },
    ],
    ['okta', 'oktaClient', { subject: '0oa1b2c3d4E5F6G7h8i9', agent: { id: '0oa1b2c3d4E5F6G7h8i9' } }],
    [
      'hydra',
      'hydraClient',
      { subject: 'agent-7', agent: { id: 'agent-7' }, scopes: ['repo:read', 'offline'], roles: ['reader'] },
    ],
    ['rfc9068', 'rfc9068', { subject: person, agent: { id: 'agent-7' }, scopes: ['repo:read'], roles: ['reader'] }],
  ])('%s: %s', async (dialect, shape, expected) => {
    const token = await dialects.accepted(dialect, dialects.mint(shape));
    expect(token).toMatchObject({ issuer: dialects.issuer, audience: [audience], source: 'jwt', ...expected });
  });

  it.each<[IssuerTokenShape]>([
    ['keycloakUser'],
    ['entraOnBehalfOf'],
    ['auth0Client'],
    ['oktaClient'],
    ['hydraClient'],
  ])('are refused as RFC 9068 tokens: %s', async (shape) => {
    await dialects.refused('rfc9068', dialects.mint(shape), 'typ');
  });

  it.each<[DialectName, IssuerTokenShape]>([
    ['keycloak', 'keycloakUser'],
    ['entra', 'entraOnBehalfOf'],
    ['auth0', 'auth0Client'],
    ['okta', 'oktaOnBehalfOf'],
    ['hydra', 'hydraClient'],
  ])('of %s are refused without their client', async (dialect, shape) => {
    const claims = { azp: undefined, appid: undefined, cid: undefined, client_id: undefined };
    await dialects.refused(dialect, dialects.mint(shape, { claims }), 'token has no');
  });

  it.each<[DialectName, IssuerTokenShape]>([
    ['entra', 'entraOnBehalfOf'],
    ['auth0', 'auth0Client'],
    ['okta', 'oktaOnBehalfOf'],
    ['hydra', 'hydraClient'],
  ])('of %s are refused without a subject', async (dialect, shape) => {
    await dialects.refused(dialect, dialects.mint(shape, { claims: { sub: undefined, oid: undefined } }), 'sub');
  });

  it.each<[DialectName, IssuerTokenShape]>([
    ['entra', 'entraOnBehalfOf'],
    ['okta', 'oktaOnBehalfOf'],
    ['hydra', 'hydraClient'],
    ['keycloak', 'keycloakUser'],
  ])('of %s are refused without an id', async (dialect, shape) => {
    await dialects.refused(dialect, dialects.mint(shape, { claims: { jti: undefined, uti: undefined } }), 'jti');
  });
});

describe('Keycloak', () => {
  it('may annotate the confirmation of a bound token', async () => {
    const claims = { typ: 'DPoP', cnf: { jkt, 'kc-jkt-type': 'DPoP' } };
    const token = await dialects.accepted('keycloak', dialects.mint('keycloakUser', { claims }));
    expect(token.confirmation).toEqual({ jkt, x5t: null });
  });

  it('tells its kinds of token apart in the claims, and only access tokens are taken', async () => {
    for (const typ of ['ID', 'Refresh', 'Offline', 'Logout', '', undefined, 1, ['Bearer']]) {
      for (const header of [{ typ: 'JWT' }, { typ: 'at+jwt' }]) {
        await dialects.refused('keycloak', dialects.mint('keycloakUser', { header, claims: { typ } }), 'another kind');
      }
    }
    await dialects.refused('keycloak', dialects.mint('keycloakUser', { claims: { typ: 'DPoP' } }), 'bound to no key');
  });

  it('may leave the subject out of a lightweight token, which then is nobody’s', async () => {
    const token = await dialects.accepted(
      'keycloak',
      dialects.mint('keycloakUser', { claims: { sub: undefined, preferred_username: undefined } }),
    );
    expect(token).toMatchObject({ subject: 'agent-7', subjectType: 'unknown' });
  });
});

describe('Entra', () => {
  it('means no scope by a slash', async () => {
    const scoped = dialects.mint('entraAutonomous', { claims: { scp: '/ Items.Read' } });
    expect((await dialects.accepted('entra', scoped)).scopes).toEqual(['Items.Read']);
  });

  it('has one issuer for each of its versions, and neither stands for the other', async () => {
    const versions = ['https://sts.windows.net/tenant/', 'https://login.microsoftonline.com/tenant/v2.0'];
    for (const iss of [...versions, `${dialects.issuer}/`]) {
      await dialects.refused('entra', dialects.mint('entraOnBehalfOf', { claims: { iss } }), 'iss');
    }
  });
});

describe('Auth0', () => {
  it('gives no id, so what is signed stands for the token however its signature is written', async () => {
    const raw = dialects.mint('auth0Client');
    const token = await dialects.accepted('auth0', raw);
    expect(token.jti).toMatch(/^sha256:[\w-]{43}$/);
    const rewritten = otherSignature(raw);
    expect(rewritten).not.toBe(raw);
    expect((await dialects.accepted('auth0', rewritten)).jti).toBe(token.jti);
    expect((await dialects.accepted('auth0', dialects.mint('auth0Client', { claims: { n: 1 } }))).jti).not.toBe(
      token.jti,
    );
  });
});

describe('a custom dialect', () => {
  const custom: CustomDialect = {
    typ: ['application/X-AT+JWT', ''],
    agent: ['bot.id', 'bot_name'],
    subject: 'who',
    scope: 'https://example.com/scopes',
    roles: ['groups', 'realm_access.roles'],
  };
  const claims = { bot: { id: 'bot-1' }, who: 'alice', 'https://example.com/scopes': ['a', 'b c'], groups: 'ops' };

  it('says where everything is', async () => {
    for (const typ of ['x-at+jwt', 'application/x-at+jwt', undefined]) {
      const raw = dialects.mint('hydraUser', { header: { typ }, claims });
      expect(await dialects.accepted(custom, raw)).toMatchObject({
        subject: 'alice',
        clientId: 'agent-7',
        agent: { id: 'bot-1' },
        scopes: ['a', 'b c'],
        roles: ['ops'],
      });
    }
  });

  it('takes the first claim that is there, and refuses one of another type', async () => {
    const header = { typ: 'x-at+jwt' };
    const second = dialects.mint('hydraUser', { header, claims: { ...claims, bot: undefined, bot_name: 'bot-2' } });
    expect((await dialects.accepted(custom, second)).agent.id).toBe('bot-2');
    for (const bad of [
      { bot: { id: 1 }, bot_name: 'x' },
      { bot: {} },
      { who: undefined },
      { who: ['alice'] },
      { groups: 1 },
      { groups: ['a', 1] },
      { 'https://example.com/scopes': [1] },
    ]) {
      await dialects.refused(custom, dialects.mint('hydraUser', { header, claims: { ...claims, ...bad } }), 'token');
    }
  });

  it('reaches nothing that the token does not hold itself', async () => {
    const header = { typ: 'x-at+jwt' };
    const raw = dialects.mint('hydraUser', { header, claims });
    for (const path of ['constructor.name', 'who.length', 'toString', '__proto__']) {
      await dialects.refused({ ...custom, agent: path }, raw, 'token has no');
    }
  });

  it('refuses a typ that it does not name, and one that is no text', async () => {
    for (const typ of ['JWT', 'at+jwt', 1, ['x-at+jwt'], null]) {
      await dialects.refused(custom, dialects.mint('hydraUser', { header: { typ }, claims }), 'typ');
    }
  });

  it('cannot name the typ of another kind of JWT', async () => {
    const wrong = { ...custom, typ: ['JWT', 'application/Logout+JWT'] };
    expect(dialectProblems([{ dialect: 'okta' }, { dialect: wrong }])).toMatchObject([
      { path: ['issuers', 1, 'dialect', 'typ', 1] },
    ]);
    expect(dialectProblems([{ dialect: custom }])).toEqual([]);
    const raw = dialects.mint('hydraUser', { header: { typ: 'logout+jwt' }, claims });
    await dialects.refused(wrong, raw, 'another kind');
  });
});

describe('roles and authorization details', () => {
  it('may be SCIM values (RFC 9068 §2.2.3.1)', async () => {
    const roles = [{ value: 'reader', display: 'Reader' }, 'writer'];
    expect((await dialects.accepted('rfc9068', dialects.mint('rfc9068', { claims: { roles } }))).roles).toEqual([
      'reader',
      'writer',
    ]);
    for (const bad of [1, [{}], [null], [['a']], Array(1025).fill('a')]) {
      await dialects.refused('rfc9068', dialects.mint('rfc9068', { claims: { roles: bad } }), 'roles');
    }
  });

  it('of a malformed kind make the token invalid (RFC 9396 §2)', async () => {
    const bad = [null, {}, 'x', ['x'], [{}], [{ type: 1 }], [{ type: '' }], [{ type: 'a' }, null], [[{ type: 'a' }]]];
    for (const details of bad) {
      const raw = dialects.mint('rfc9068', { claims: { authorization_details: details } });
      await dialects.refused('rfc9068', raw, 'authorization_details');
    }
    const good = [{ type: 'payment', limit: 5 }];
    const token = await dialects.accepted(
      'rfc9068',
      dialects.mint('rfc9068', { claims: { authorization_details: good } }),
    );
    expect(token.claims.authorization_details).toEqual(good);
  });
});

/** The other ECDSA signature over the same text that anybody can make from the first: (r, n - s). */
function otherSignature(raw: string): string {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const [header, payload, signature = ''] = raw.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  const s = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`);
  const other = Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')]);
  return `${header}.${payload}.${other.toString('base64url')}`;
}

describe('keys', () => {
  it('decide in every dialect', async () => {
    const forger = createKey('ES256');
    const [header = '', payload = ''] = dialects.mint('oktaClient').split('.');
    const decoded = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
    const forged = signJws({ header: decoded(header), payload: decoded(payload), key: forger });
    await dialects.refused('okta', forged, 'signature');
  });
});
