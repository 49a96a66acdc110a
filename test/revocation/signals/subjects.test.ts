import { describe, expect, it } from 'vitest';
import { createMapSubject, type SubjectMapping } from '../../../src/revocation/signals/subjects.ts';

const login = 'https://login.example.com';
const other = 'https://other.example.com';
const usual: SubjectMapping = {
  users: ['iss_sub', 'opaque', 'email', 'account', 'phone_number', 'did', 'uri'],
  agents: [],
  speaksFor: null,
  tokenIssuers: new Set([login, other]),
};
const map = createMapSubject(usual);
const user = (value: string, issuer: string | null = null) => ({ kind: 'subject', value, issuer });

describe('a simple subject', () => {
  it.each([
    [{ format: 'iss_sub', iss: login, sub: 'user-1' }, user('user-1', login)],
    [{ format: 'iss_sub', iss: 'https://idp.example.com', sub: 'user-1' }, user('user-1')],
    [{ format: 'opaque', id: '11112222' }, user('11112222')],
    [{ format: 'email', email: 'Ann@Example.com' }, user('ann@example.com')],
    [{ format: 'account', uri: 'acct:ann@example.com' }, user('ann@example.com')],
    [{ format: 'phone_number', phone_number: '+12065550100' }, user('+12065550100')],
    [{ format: 'did', url: 'did:example:123456' }, user('did:example:123456')],
    [{ format: 'uri', uri: 'https://user.example.com/' }, user('https://user.example.com/')],
    [{ subject_type: 'iss-sub', iss: login, sub: 'user-1' }, user('user-1', login)],
    [
      { format: 'jwt_id', iss: login, jti: 'B70BA622' },
      { kind: 'jti', value: 'B70BA622', issuer: login },
    ],
  ])('%j is mapped', (subject, target) => {
    expect(map(subject)).toEqual([target]);
  });

  it.each([
    undefined,
    null,
    'user-1',
    {},
    [],
    { format: 'iss_sub', iss: login },
    { format: 'iss_sub', iss: login, sub: '' },
    { format: 'opaque', id: 7 },
    { format: 'saml_assertion_id', issuer: login, assertion_id: '8e8dc5119a97' },
    { format: 'constructor', id: 'x' },
    { format: 'opaque', id: 'x'.repeat(4097) },
  ])('%j is unknown', (subject) => {
    expect(map(subject)).toBe('unknown');
  });

  it('names whom its format is said to name', () => {
    const mapped = createMapSubject({ ...usual, users: ['iss_sub'], agents: ['opaque'] });
    expect(mapped({ format: 'opaque', id: 'agent-7' })).toEqual([{ kind: 'agent', value: 'agent-7', issuer: null }]);
    expect(mapped({ format: 'email', email: 'ann@example.com' })).toBe('unknown');
    const both = createMapSubject({ ...usual, agents: ['opaque'] });
    expect(both({ format: 'opaque', id: 'x' })).toEqual([user('x'), { kind: 'agent', value: 'x', issuer: null }]);
  });

  it('is of the issuers that the transmitter speaks for, and of no other', () => {
    const mapped = createMapSubject({ ...usual, speaksFor: [login] });
    expect(mapped({ format: 'iss_sub', iss: login, sub: 'u' })).toEqual([user('u', login)]);
    expect(mapped({ format: 'iss_sub', iss: 'https://idp.example.com', sub: 'u' })).toEqual([user('u', login)]);
    expect(mapped({ format: 'opaque', id: 'u' })).toEqual([user('u', login)]);
    expect(mapped({ format: 'iss_sub', iss: other, sub: 'u' })).toBe('foreign');
    expect(mapped({ format: 'jwt_id', iss: other, jti: 'j' })).toBe('foreign');
    const part = { format: 'iss_sub', iss: other, sub: 'x' };
    expect(mapped({ format: 'complex', user: part })).toBe('foreign');
    expect(mapped({ format: 'complex', application: part })).toBe('foreign');
    expect(mapped({ format: 'complex', session: part })).toBe('foreign');
  });
});

describe('a subject with aliases', () => {
  it('is everybody that it is known as', () => {
    const identifiers = [
      { format: 'iss_sub', iss: login, sub: 'user-1' },
      { format: 'email', email: 'ann@example.com' },
      { format: 'unheard-of' },
    ];
    expect(map({ format: 'aliases', identifiers })).toEqual([user('user-1', login), user('ann@example.com')]);
  });

  it.each([
    { format: 'aliases' },
    { format: 'aliases', identifiers: [] },
    { format: 'aliases', identifiers: [{ format: 'aliases', identifiers: [{ format: 'opaque', id: 'x' }] }] },
    { format: 'aliases', identifiers: Array.from({ length: 17 }, () => ({ format: 'opaque', id: 'x' })) },
  ])('is unknown where it is %j', (subject) => {
    expect(map(subject)).toBe('unknown');
  });
});

describe('a complex subject', () => {
  const session = { format: 'opaque', id: 'session-9' };
  const application = { format: 'opaque', id: 'agent-7' };
  const named = { format: 'iss_sub', iss: login, sub: 'user-1' };
  it.each([
    ['its user', { format: 'complex', user: named, session, application }, user('user-1', login)],
    ['its user without a format', { user: named }, user('user-1', login)],
    ['its application', { format: 'complex', application, session }, { kind: 'agent', value: 'agent-7', issuer: null }],
    ['its client', { format: 'complex', client: { client_id: 'a' } }, { kind: 'agent', value: 'a', issuer: null }],
    [
      'its session where nothing can be made of its user',
      { format: 'complex', user: { format: 'unheard-of' }, session },
      { kind: 'delegation', value: 'session-9', issuer: null },
    ],
    ['its session', { format: 'complex', session }, { kind: 'delegation', value: 'session-9', issuer: null }],
  ])('is %s', (_name, subject, target) => {
    expect(map(subject)).toEqual([target]);
  });

  it.each([
    { format: 'complex', user: { format: 'unheard-of', id: 'x' }, application },
    { format: 'complex', tenant: { format: 'opaque', id: 'tenant-1' } },
    { format: 'complex', device: { format: 'opaque', id: 'device-1' } },
    { format: 'complex', application: { format: 'opaque' } },
    { format: 'complex' },
  ])('%j is unknown', (subject) => {
    expect(map(subject)).toBe('unknown');
  });
});
