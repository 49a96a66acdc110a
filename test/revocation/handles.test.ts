import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AccessToken, Possession } from '../../src/exchange.ts';
import {
  agentHandle,
  createHandlesOf,
  delegationHandle,
  handlesOf,
  issuerHandle,
  jktHandle,
  jtiHandle,
  ownerHandle,
  subjectHandle,
} from '../../src/revocation/handles.ts';

const issuer = 'https://login.example.com';

function accessToken(more: Partial<AccessToken> = {}): AccessToken {
  return {
    issuer,
    subject: 'alice',
    audience: ['https://api.example.com'],
    clientId: 'client-1',
    scopes: [],
    roles: [],
    jti: 'jti-1',
    issuedAtMs: 0,
    expiresAtMs: 1,
    authTimeMs: null,
    acr: null,
    claims: {},
    confirmation: { jkt: null, x5t: null },
    agent: { id: 'agent-7', issuer },
    actors: [],
    subjectType: 'unknown',
    source: 'jwt',
    ...more,
  };
}

function possession(jkt: string | null): Possession {
  return { method: jkt === null ? 'none' : 'dpop', jkt, x5t: null, proofAgeMs: 0, hasNonce: false, singleUse: null };
}

describe('the handles of a request', () => {
  test('are its token and issuer, agent, client, subject with and without issuer, and key', () => {
    expect(new Set(handlesOf(accessToken(), possession('key-1'), []))).toEqual(
      new Set([
        jtiHandle(issuer, 'jti-1'),
        agentHandle('agent-7'),
        agentHandle('client-1'),
        subjectHandle('alice', null),
        subjectHandle('alice', issuer),
        issuerHandle(issuer),
        jktHandle('key-1'),
      ]),
    );
  });

  test('hold the client and every actor of the chain as agents, and none twice', () => {
    const actors = ['agent-7', 'agent-8', 'agent-9', 'agent-8'].map((sub, index) => ({
      iss: issuer,
      sub,
      profile: '',
      verified: index === 0,
    }));
    const handles = handlesOf(accessToken({ actors }), possession(null), []);
    expect(handles.filter((handle) => handle.startsWith('["agent"'))).toEqual([
      agentHandle('agent-7'),
      agentHandle('client-1'),
      agentHandle('agent-8'),
      agentHandle('agent-9'),
    ]);
    expect(new Set(handles).size).toBe(handles.length);
  });

  test('hold the key that the token names, even when another way of possession was proved', () => {
    const bound = accessToken({ confirmation: { jkt: 'key-1', x5t: 'cert-1' } });
    expect(handlesOf(bound, possession(null), [])).toContain(jktHandle('key-1'));
    expect(handlesOf(bound, possession('key-1'), []).filter((handle) => handle === jktHandle('key-1'))).toHaveLength(1);
  });

  test('hold every owner, and follow a change of them', () => {
    const cachedHandlesOf = createHandlesOf();
    const token = accessToken();
    const owned = (owners: readonly string[]) => cachedHandlesOf(token, possession(null), owners);
    expect(owned(['alice', 'bob'])).toEqual(expect.arrayContaining([ownerHandle('alice'), ownerHandle('bob')]));
    expect(owned(['bob'])).not.toContain(ownerHandle('alice'));
    expect(owned([]).some((handle) => handle.startsWith('["owner"'))).toBe(false);
  });

  test('hold what the token was issued under: delegation, mission, transaction and login', () => {
    const claims = { delegation_id: 'd-1', mission: { id: 'm-1' }, txn: 't-1', sid: 's-1' };
    const handles = handlesOf(accessToken({ claims }), possession(null), []);
    for (const id of ['d-1', 'm-1', 't-1', 's-1']) expect(handles).toContain(delegationHandle(id));
    const odd = { delegation_id: 7, mission: 'm-1', txn: '', sid: null };
    const none = handlesOf(accessToken({ claims: odd }), possession(null), []);
    expect(none.some((handle) => handle.startsWith('["delegation"'))).toBe(false);
  });

  test('hold the addresses and numbers by which others name the subject', () => {
    const claims = { email: 'Alice@Example.com', phone_number: '+12065550100' };
    const handles = handlesOf(accessToken({ subject: 'Al@Example.com', claims }), possession(null), []);
    for (const name of ['Al@Example.com', 'al@example.com', 'ALICE@example.com', '+12065550100']) {
      expect(handles).toContain(subjectHandle(name, null));
      // A transmitter that speaks for one issuer only names its subjects by address too.
      expect(handles).toContain(subjectHandle(name, issuer));
      expect(handles).not.toContain(subjectHandle(name, 'https://other.example'));
    }
  });

  test('are the same however the address of an owner or a subject is written, and only of an address', () => {
    expect(handlesOf(accessToken(), possession(null), ['Ann@Example.com'])).toContain(ownerHandle('ann@example.COM'));
    expect(subjectHandle('Ann@Example.com', issuer)).toBe(subjectHandle('ann@example.com', issuer));
    expect(ownerHandle('Ann')).not.toBe(ownerHandle('ann'));
    expect(subjectHandle('Ann', null)).not.toBe(subjectHandle('ann', null));
    expect(agentHandle('Agent@7')).not.toBe(agentHandle('agent@7'));
  });

  test('hold no key where there is none', () => {
    expect(handlesOf(accessToken(), possession(null), []).some((handle) => handle.startsWith('["jkt"'))).toBe(false);
  });

  test('are computed once a token and key, and never mixed up between keys or tokens', () => {
    const cachedHandlesOf = createHandlesOf();
    const token = accessToken();
    const first = cachedHandlesOf(token, possession('key-1'), []);
    expect(cachedHandlesOf(token, possession('key-1'), [])).toBe(first);
    expect(cachedHandlesOf(token, possession('key-2'), [])).toContain(jktHandle('key-2'));
    expect(cachedHandlesOf(token, possession('key-2'), [])).not.toContain(jktHandle('key-1'));
    expect(cachedHandlesOf(token, possession(null), [])).not.toContain(jktHandle('key-2'));
    expect(cachedHandlesOf(accessToken({ jti: 'jti-2' }), possession('key-1'), [])).not.toContain(
      jtiHandle(issuer, 'jti-1'),
    );
    expect(Object.isFrozen(first)).toBe(true);
  });
});

describe('a handle', () => {
  const part = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 6 }),
    fc.string({
      unit: fc.constantFrom('"', ',', '[', ']', '\\', ':', ' ', '\u0000', '\ud800', '\ufffd', 'a'),
      maxLength: 8,
    }),
  );
  const named = fc.oneof(
    fc.tuple(fc.constant('jti' as const), part, part),
    fc.tuple(fc.constant('agent' as const), part),
    fc.tuple(fc.constant('subject' as const), part, fc.option(part)),
    fc.tuple(fc.constant('jkt' as const), part),
    fc.tuple(fc.constant('owner' as const), part),
    fc.tuple(fc.constant('issuer' as const), part),
    fc.tuple(fc.constant('delegation' as const), part),
  );
  type Named = typeof named extends fc.Arbitrary<infer T> ? T : never;

  function handle(one: Named): string {
    switch (one[0]) {
      case 'jti':
        return jtiHandle(one[1], one[2]);
      case 'agent':
        return agentHandle(one[1]);
      case 'subject':
        return subjectHandle(one[1], one[2]);
      case 'jkt':
        return jktHandle(one[1]);
      case 'owner':
        return ownerHandle(one[1]);
      case 'issuer':
        return issuerHandle(one[1]);
      case 'delegation':
        return delegationHandle(one[1]);
    }
  }

  test('stands for one thing only, whatever characters its parts hold', () => {
    fc.assert(
      fc.property(named, named, (a, b) => {
        expect(handle(a) === handle(b)).toBe(isSame(a, b));
        expect(handle(a)).toBe(handle(a));
        // A store sends handles as UTF-8, which must not fold two of them into one.
        expect(Buffer.from(handle(a), 'utf8').toString('utf8')).toBe(handle(a));
      }),
      { numRuns: 2000 },
    );
  });

  test('keeps apart what a separator would confuse', () => {
    const handles = [
      jtiHandle('a', 'b,c'),
      jtiHandle('a,b', 'c'),
      jtiHandle('a","b', 'c'),
      subjectHandle('a","b', null),
      subjectHandle('a', 'b'),
      subjectHandle('a', ''),
      subjectHandle('a', null),
      agentHandle('a'),
      jktHandle('a'),
      ownerHandle('a'),
      issuerHandle('a'),
      delegationHandle('a'),
    ];
    expect(new Set(handles).size).toBe(handles.length);
  });

  function isSame(a: Named, b: Named): boolean {
    return a.length === b.length && a.every((item, i) => written(a, item, i) === written(b, b[i], i));
  }

  function written([kind]: Named, item: string | null | undefined, at: number): string | null | undefined {
    const isName = at === 1 && (kind === 'subject' || kind === 'owner');
    return isName && item?.includes('@') === true ? item.toLowerCase() : item;
  }
});
