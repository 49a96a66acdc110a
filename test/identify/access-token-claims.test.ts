import { describe, expect, it } from 'vitest';
import { readAccessTokenClaims } from '../../src/identify/access-token-claims.ts';
import { strictDialect } from '../../src/identify/dialects.ts';
import { createKey } from '../support/keys.ts';

const audience = 'https://api.example.com';
const issuer = 'https://login.example.com';
const agentKey = createKey('ES256');
const origin = { dialect: strictDialect, source: 'jwt', digest: 'digest' } as const;
const good = {
  iss: issuer,
  sub: 'user-1',
  client_id: 'agent-7',
  aud: audience,
  iat: 1_790_000_000,
  exp: 1_790_000_300,
  jti: 'token-1',
  cnf: { jkt: agentKey.jkt },
};

function accepted(changes: Record<string, unknown>) {
  const result = readAccessTokenClaims({ ...good, ...changes }, origin);
  if (typeof result === 'string') expect.unreachable(`refused: ${result}`);
  return result;
}

function refused(changes: Record<string, unknown>, word: string) {
  expect(readAccessTokenClaims({ ...good, ...changes }, origin)).toEqual(expect.stringContaining(word));
}

describe('claims (RFC 9068 §2.2, §4)', () => {
  it.each(['sub', 'client_id', 'jti'])('refuses a token without %s', (name) => {
    for (const value of [undefined, '', 1, null]) refused({ [name]: value }, name);
  });

  it.each(['iat', 'exp'])('refuses a token whose %s is not a number', (name) => {
    for (const value of [undefined, '1', null, 1e300]) refused({ [name]: value }, name);
  });

  it.each([['nbf'], ['auth_time'], ['acr'], ['scope']])('refuses a %s of another type', (name) => {
    for (const value of [null, [], {}, true]) refused({ [name]: value }, name);
  });

  it('refuses an aud that is not a string or a list of strings', () => {
    for (const aud of [undefined, '', [], [audience, 1], {}, null, Array(65).fill(audience)]) {
      refused({ aud }, 'aud');
    }
    expect(accepted({ aud: ['other', audience] }).audience).toEqual(['other', audience]);
  });
});

describe('confirmation (RFC 7800, RFC 9449 §6.1, RFC 8705 §3.1)', () => {
  const withCnf = (cnf: unknown) => ({ cnf });

  it('refuses a cnf that names no method known here, and never takes it for a bearer token', () => {
    for (const cnf of [{}, { kid: 'x' }, { jwk: agentKey.publicJwk }, { 'kc-jkt-type': 'DPoP' }]) {
      refused(withCnf(cnf), 'cnf');
    }
  });

  it('refuses a cnf that is no object, and thumbprints that are none', () => {
    for (const cnf of [null, 'x', [], [{ jkt: agentKey.jkt }], 1, true]) refused(withCnf(cnf), 'cnf');
    const { jkt } = agentKey;
    for (const bad of ['', 1, null, [jkt], `${jkt}=`, jkt.slice(1), `${jkt}A`, `+${jkt.slice(1)}`]) {
      refused(withCnf({ jkt: bad }), 'cnf.jkt');
      refused(withCnf({ 'x5t#S256': bad }), 'cnf.x5t#S256');
      refused(withCnf({ jkt, 'x5t#S256': bad }), 'cnf.x5t#S256');
    }
  });

  it('passes over members that are no method, and refuses methods that it would have to drop', () => {
    const { jkt } = agentKey;
    const token = accepted(withCnf({ jkt, 'kc-jkt-type': 'DPoP' }));
    expect(token.confirmation).toEqual({ jkt, x5t: null });
    for (const name of ['jwk', 'jwe', 'jku', 'kid', 'osc']) refused(withCnf({ jkt, [name]: 'x' }), 'cnf');
  });

  it('sees no confirmation in the cnf of an actor', () => {
    const token = accepted({ cnf: undefined, act: { sub: 'agent-8', cnf: { jkt: agentKey.jkt } } });
    expect(token.confirmation).toEqual({ jkt: null, x5t: null });
  });
});

describe('delegation (RFC 8693 §4.1)', () => {
  const chainOf = (depth: number): unknown =>
    depth === 0 ? undefined : { sub: `actor-${depth}`, act: chainOf(depth - 1) };

  it('names the outermost actor as the agent, and keeps the chain in order', () => {
    const act = { sub: 'inner', iss: 'https://login.test', sub_profile: 'service' };
    const token = accepted({ act: { sub: 'outer', sub_profile: 'ai_agent', act } });
    expect(token.agent).toEqual({ id: 'outer', issuer: issuer });
    expect(token.actors).toEqual([
      { iss: issuer, sub: 'outer', profile: 'ai_agent', verified: true },
      { iss: 'https://login.test', sub: 'inner', profile: 'service', verified: false },
    ]);
  });

  it('takes the issuer of an actor from the actor', () => {
    const token = accepted({ act: { sub: 'outer', iss: 'https://login.test' } });
    expect(token.agent).toEqual({ id: 'outer', issuer: 'https://login.test' });
  });

  it('takes eight actors and refuses nine, cutting nothing off', () => {
    expect(accepted({ act: chainOf(8) }).actors).toHaveLength(8);
    refused({ act: chainOf(9) }, 'too deep');
  });

  it('refuses a malformed chain', () => {
    for (const act of [null, 'x', [], {}, { sub: '' }, { sub: 1 }, { iss: 'x' }]) {
      refused({ act }, 'act');
      refused({ act: { sub: 'outer', act } }, 'act');
    }
    refused({ act: { sub: 'x', iss: 1 } }, 'act.iss');
    refused({ act: { sub: 'x', sub_profile: ['a'] } }, 'act.sub_profile');
  });
});
