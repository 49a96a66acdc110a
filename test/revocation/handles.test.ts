import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AccessToken, Possession } from '../../src/exchange.ts';
import {
  agentHandle,
  createHandlesOf,
  handlesOf,
  jktHandle,
  jtiHandle,
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
  test('are its token, agent, client, subject with and without issuer, and key', () => {
    expect(new Set(handlesOf(accessToken(), possession('key-1')))).toEqual(
      new Set([
        jtiHandle(issuer, 'jti-1'),
        agentHandle('agent-7'),
        agentHandle('client-1'),
        subjectHandle('alice', null),
        subjectHandle('alice', issuer),
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
    const handles = handlesOf(accessToken({ actors }), possession(null));
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
    expect(handlesOf(bound, possession(null))).toContain(jktHandle('key-1'));
    expect(handlesOf(bound, possession('key-1')).filter((handle) => handle === jktHandle('key-1'))).toHaveLength(1);
  });

  test('hold no key where there is none', () => {
    expect(handlesOf(accessToken(), possession(null)).some((handle) => handle.startsWith('["jkt"'))).toBe(false);
  });

  test('are computed once a token and key, and never mixed up between keys or tokens', () => {
    const cachedHandlesOf = createHandlesOf();
    const token = accessToken();
    const first = cachedHandlesOf(token, possession('key-1'));
    expect(cachedHandlesOf(token, possession('key-1'))).toBe(first);
    expect(cachedHandlesOf(token, possession('key-2'))).toContain(jktHandle('key-2'));
    expect(cachedHandlesOf(token, possession('key-2'))).not.toContain(jktHandle('key-1'));
    expect(cachedHandlesOf(token, possession(null))).not.toContain(jktHandle('key-2'));
    expect(cachedHandlesOf(accessToken({ jti: 'jti-2' }), possession('key-1'))).not.toContain(
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
    ];
    expect(new Set(handles).size).toBe(handles.length);
  });

  function isSame(a: Named, b: Named): boolean {
    return a.length === b.length && a.every((item, i) => item === b[i]);
  }
});
