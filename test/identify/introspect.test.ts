import { Buffer } from 'node:buffer';
import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKey } from '../support/keys.ts';
import { mintAccessToken, sha256 } from '../support/tokens.ts';
import { audience, type IntrospectSettings, type OpaqueTokens, secret, startOpaqueTokens } from './introspect-setup.ts';

const raw = 'opaque_Zx8-4.9~A+b/c==';
const { jkt } = createKey('ES256');
let opaque: OpaqueTokens;

beforeEach(async () => {
  opaque = await startOpaqueTokens();
});

afterEach(() => opaque.close());

/** In place of the usual one. */
async function restart(settings: IntrospectSettings): Promise<void> {
  await opaque.close();
  opaque = await startOpaqueTokens(settings);
}

const says = (changes: Record<string, unknown>) => opaque.server.setAnswer(raw, opaque.answer(changes));
const asked = () => opaque.server.questions.length;

describe('the question (RFC 7662 §2.1)', () => {
  it('is a form, authenticated by HTTP Basic with both parts form-encoded (RFC 6749 §2.3.1)', async () => {
    says({});
    await opaque.accepted(raw);
    const [question] = opaque.server.questions;
    expect(question).toMatchObject({ method: 'POST', url: '/introspect' });
    expect(question?.headers).toMatchObject({
      'content-type': 'application/x-www-form-urlencoded',
      accept: 'application/json',
    });
    const basic = Buffer.from(question?.headers.authorization?.slice('Basic '.length) ?? '', 'base64').toString();
    expect(basic).toBe('postern+gate:s3cret%3A+with+%25+and+spaces');
    expect(Object.fromEntries(question?.form ?? [])).toEqual({ token: raw, token_type_hint: 'access_token' });
  });

  it('may carry the credentials in the form instead', async () => {
    await restart({ auth: 'post' });
    says({});
    await opaque.accepted(raw);
    const [question] = opaque.server.questions;
    expect(question?.headers.authorization).toBeUndefined();
    expect(question?.form.get('client_id')).toBe('postern gate');
    expect(question?.form.get('client_secret')).toBe(secret);
  });

  it('uses a new secret as soon as there is one, and is not asked without any', async () => {
    says({});
    writeFileSync(opaque.secretFile, 'another\n');
    await opaque.accepted(raw);
    const { authorization = '' } = opaque.server.questions[0]?.headers ?? {};
    expect(Buffer.from(authorization.slice(6), 'base64').toString()).toBe('postern+gate:another');
  });

  it('is never about a JWT: whatever has three parts is verified here or refused', async () => {
    const jwt = opaque.keys.mint({ audience, nowMs: opaque.clock() });
    expect((await opaque.accepted(jwt)).accessToken.source).toBe('jwt');
    const forged = mintAccessToken({
      issuer: opaque.keys.issuer,
      issuerKey: createKey('ES256'),
      audience,
      nowMs: opaque.clock(),
    });
    await opaque.refused(forged, 'key that the issuer does not publish');
    for (const bad of ['a.b.c', '..', 'a..c', `${jwt.slice(0, -4)}=`]) await opaque.refused(bad, 'well-formed');
    expect(asked()).toBe(0);
  });

  it('is not asked about a token that is too large', async () => {
    await opaque.refused('x'.repeat(12_289), 'too large');
    expect(asked()).toBe(0);
  });
});

describe('the answer (RFC 7662 §2.2)', () => {
  it('becomes what the rest of Postern works with', async () => {
    says({
      cnf: { jkt },
      token_type: 'dpop',
      act: { sub: 'planner', act: { sub: 'web' } },
      authorization_details: [{ type: 'payment' }],
      acr: 'mfa',
      auth_time: opaque.clock() / 1000 - 5,
    });
    const { accessToken, sha256: digest } = await opaque.accepted(raw);
    expect(digest).toBe(sha256(raw));
    expect(accessToken).toMatchObject({
      issuer: opaque.keys.issuer,
      subject: 'user-1',
      clientId: 'agent-7',
      audience: [audience],
      scopes: ['repo:read', 'repo:write'],
      jti: 'token-1',
      confirmation: { jkt, x5t: null },
      agent: { id: 'planner' },
      actors: [
        { sub: 'planner', verified: true },
        { sub: 'web', verified: false },
      ],
      subjectType: 'user',
      source: 'introspection',
      expiresAtMs: opaque.clock() + 600_000,
    });
    expect(Object.isFrozen(accessToken)).toBe(true);
  });

  it('without iss, sub or jti is of this issuer, the client’s own, and known by the token’s digest', async () => {
    says({ iss: undefined, sub: undefined, jti: undefined });
    expect((await opaque.accepted(raw)).accessToken).toMatchObject({
      issuer: opaque.keys.issuer,
      subject: 'agent-7',
      subjectType: 'agent',
      jti: `sha256:${sha256(raw)}`,
    });
  });

  it('that is not active is a refusal', async () => {
    await opaque.refused(raw, 'not active');
    says({ active: false });
    opaque.clock.advance(5000);
    await opaque.refused(raw, 'not active');
  });

  it.each([['true'], [1], [null], [undefined], [{}], [[true]]])(
    'whose active is %j is no answer at all',
    async (active) => {
      says({ active });
      await opaque.refused(raw, 'no answer', 'issuer_unavailable');
    },
  );

  it.each([
    ['of another issuer', { iss: 'https://evil.example.com' }, 'another issuer'],
    ['with an iss that is no text', { iss: 1 }, 'another issuer'],
    ['without a client', { client_id: undefined }, 'client_id'],
    ['without an audience', { aud: undefined }, 'aud'],
    ['without an expiry', { exp: undefined }, 'exp'],
    ['with an expiry that is no number', { exp: '1' }, 'exp'],
    ['without a time of issue', { iat: undefined }, 'iat'],
    ['with a list of scopes', { scope: ['a'] }, 'scope'],
    ['with a confirmation unknown here', { cnf: {} }, 'cnf'],
    ['with a malformed chain', { act: {} }, 'act'],
    ['with malformed authorization details', { authorization_details: [{}] }, 'authorization_details'],
    ['of a refresh token, as Ory tells it', { token_use: 'refresh_token' }, 'no access token'],
    ['of a refresh token, told by no type', { token_type: undefined }, 'does not say'],
    ['of an unknown type', { token_type: 'N_A' }, 'unknown type'],
    ['of a type that is no text', { token_type: ['Bearer'] }, 'unknown type'],
    ['bound by a key, as Bearer', { cnf: { jkt } }, 'contradict'],
    ['bound by no key, as DPoP', { token_type: 'DPoP' }, 'contradict'],
  ])('%s is a refusal', async (_, changes, word) => {
    says(changes);
    await opaque.refused(raw, word);
  });

  it('may tell an access token by Ory’s token_use', async () => {
    says({ token_type: undefined, token_use: 'access_token' });
    await opaque.accepted(raw);
  });

  it('may tell an access token by Keycloak’s typ, and no other token', async () => {
    await restart({ dialect: 'keycloak' });
    says({ token_type: undefined, typ: 'Bearer', azp: 'agent-7', realm_access: { roles: ['reader'] } });
    expect((await opaque.accepted(raw)).accessToken.roles).toEqual(['reader']);
    opaque.server.setAnswer('refresh', opaque.answer({ typ: 'Refresh' }));
    await opaque.refused('refresh', 'no access token');
  });

  it('is checked for times here too', async () => {
    const now = opaque.clock() / 1000;
    says({ exp: now - 31 });
    await opaque.refused(raw, 'exp', 'token_expired');
    opaque.server.setAnswer('later', opaque.answer({ nbf: now + 31 }));
    await opaque.refused('later', 'future');
    opaque.server.setAnswer('future', opaque.answer({ iat: now + 31 }));
    await opaque.refused('future', 'future');
  });

  it('is refused where it lives longer than its issuer may make it live', async () => {
    await restart({ lifetimeMaxMs: 600_000 });
    says({});
    await opaque.accepted(raw);
    opaque.server.setAnswer('longer', opaque.answer({ exp: opaque.clock() / 1000 + 601 }));
    await opaque.refused('longer', 'tokenMaxLifetime');
  });

  it('may have members that mean something to others', async () => {
    says({ effect: 'deny', reason: 'x', active_until: 1 });
    await opaque.accepted(raw);
    opaque.server.setAnswer('inactive', { active: false, effect: 'deny' });
    await opaque.refused('inactive', 'not active');
  });

  it('with one name twice is no answer', async () => {
    opaque.server.setAnswer(raw, '{"active":false,"active":true}');
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
    opaque.server.setAnswer('list', '[{"active":true}]');
    await opaque.refused('list', 'no answer', 'issuer_unavailable');
  });
});

describe('the signed answer (RFC 9701 §5)', () => {
  const signing = (
    changes: { header?: object; payload?: object; answer?: object; key?: typeof opaque.keys.key } = {},
  ) =>
    opaque.server.signAnswers((answer) => ({
      key: changes.key ?? opaque.keys.key,
      header: { typ: 'token-introspection+jwt', alg: 'ES256', kid: opaque.keys.key.kid, ...changes.header },
      payload: {
        iss: opaque.keys.issuer,
        aud: 'postern gate',
        iat: Math.floor(opaque.clock() / 1000),
        token_introspection: answer,
        ...changes.payload,
      },
    }));

  beforeEach(() => restart({ accept: 'jwt' }));

  it('is asked for, verified and believed', async () => {
    signing();
    says({});
    expect((await opaque.accepted(raw)).accessToken).toMatchObject({ subject: 'user-1', source: 'introspection' });
    expect(opaque.server.questions[0]?.headers.accept).toBe('application/token-introspection+jwt');
    await opaque.refused('other', 'not active');
  });

  it.each([
    ['of another typ', { header: { typ: 'JWT' } }],
    ['typed as an access token', { header: { typ: 'at+jwt' } }],
    ['without a typ', { header: { typ: undefined } }],
    ['with an alg that is not allowed', { header: { alg: 'none' } }],
    ['with an extension', { header: { crit: ['b64'] } }],
    ['of another issuer', { payload: { iss: 'https://evil.example.com' } }],
    ['for another resource server', { payload: { aud: 'somebody' } }],
    ['for nobody', { payload: { aud: undefined } }],
    ['made too long ago', { payload: { iat: 1_789_999_968 } }],
    ['made in the future', { payload: { iat: 1_790_000_031 } }],
    ['without a time', { payload: { iat: undefined } }],
    ['without an answer', { payload: { token_introspection: undefined } }],
    ['with the answer beside its place', { payload: { token_introspection: 'x', active: true } }],
  ])('%s is no answer', async (_, changes) => {
    signing(changes);
    says({});
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
  });

  it('by another key is no answer', async () => {
    signing({ key: { ...createKey('ES256'), kid: opaque.keys.key.kid } });
    says({});
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
    expect(opaque.introspect.problem()).toContain('signature');
  });

  it('waits for keys that are out of reach, and remembers no refusal', async () => {
    opaque.keys.setFault(500);
    signing();
    says({});
    await opaque.refused(raw, 'keys', 'issuer_unavailable');
    opaque.keys.setFault(null);
    opaque.clock.advance(30_000);
    await opaque.accepted(raw);
  });

  it('is not replaced by a plain one', async () => {
    says({});
    await opaque.refused(raw, 'no answer', 'issuer_unavailable');
  });
});
