import { Buffer } from 'node:buffer';
import { deflateSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AccessToken } from '../../src/exchange.ts';
import { createKeySets, type KeySets } from '../../src/identify/key-sets.ts';
import { createStatusLists, type StatusListEvent, type StatusLists } from '../../src/identify/status-lists.ts';
import { createTestClock, type TestClock } from '../support/clock.ts';
import { type JwksServer, startJwksServer } from '../support/jwks-server.ts';
import { createKey } from '../support/keys.ts';
import { mintStatusList, type StatusListServer, startStatusListServer } from '../support/status-list-server.ts';

let clock: TestClock;
let issuer: JwksServer;
let server: StatusListServer;
let keySets: KeySets;
let lists: StatusLists;
let events: StatusListEvent[];

beforeEach(async () => {
  clock = createTestClock();
  [issuer, server] = await Promise.all([startJwksServer(), startStatusListServer()]);
  events = [];
  const common = { issuer: issuer.issuer, algorithms: ['ES256'] };
  keySets = createKeySets({ issuers: [{ ...common, keysMaxAge: 6e5, keysMaxStale: 36e5 }], clock });
  lists = start();
});

afterEach(async () => {
  await Promise.all([lists.close(), keySets.close(), issuer.close(), server.close()]);
});

function start(statusList: object = {}): StatusLists {
  return createStatusLists({
    issuers: [
      {
        issuer: issuer.issuer,
        algorithms: ['ES256'],
        clockSkew: 30_000,
        statusList: {
          check: 'auto',
          origins: [server.origin],
          maxAge: 300_000,
          maxInflated: 65_536,
          timeout: 300,
          ...statusList,
        },
      },
    ],
    keySets,
    clock,
    onChange: (event) => events.push(event),
  });
}

const publish = (statuses: readonly number[], more: object = {}, name = 'a') =>
  server.publish(name, { statuses, nowMs: clock(), key: issuer.key, ...more });

/** What a verified token with this status claim is refused with; null where it is good. */
async function ask(status: unknown, from: StatusLists = lists, source: 'jwt' | 'introspection' = 'jwt') {
  const claims = status === undefined ? {} : { status };
  const refusal = await from.check({ issuer: issuer.issuer, claims, source } as unknown as AccessToken);
  return refusal?.reason ?? null;
}

const at = (idx: unknown, uri: unknown = server.uri('a')) => ({ status_list: { idx, uri } });

describe('the status of a token', () => {
  it('is good, invalid, suspended, or something else that is not good', async () => {
    publish([0, 1, 2, 3], { bits: 2 });
    expect(await Promise.all([0, 1, 2, 3].map((index) => ask(at(index))))).toEqual([
      null,
      'token_revoked',
      'token_revoked',
      'token_revoked',
    ]);
    expect(server.requests('a')).toBe(1);
  });

  it('comes without waiting while the list is held', async () => {
    publish([0, 1]);
    await ask(at(0));
    const token = { issuer: issuer.issuer, claims: { status: at(0) }, source: 'jwt' } as unknown as AccessToken;
    expect(lists.check(token)).toBeNull();
    expect(server.requests('a')).toBe(1);
  });

  it('is not asked for where the token names no list, and the issuer need not', async () => {
    expect(await ask(undefined)).toBeNull();
    expect(await ask({ other_mechanism: {} })).toBeNull();
  });

  it('must be named where the issuer is required to', async () => {
    const strict = start({ check: 'required' });
    expect(await ask(undefined, strict)).toBe('token_invalid');
    expect(await ask({ other_mechanism: {} }, strict)).toBe('token_invalid');
    expect(await ask(undefined, strict, 'introspection')).toBeNull();
    await strict.close();
  });

  it('is not asked for where that is off', async () => {
    const off = start({ check: 'off' });
    expect(await ask(at(0, 'http://127.0.0.1:1/'), off)).toBeNull();
    await off.close();
  });

  it.each([-1, 0.5, '0', 2 ** 53, undefined, null])('is refused with an index of %j', async (index) => {
    publish([0]);
    expect(await ask(at(index))).toBe('token_invalid');
    expect(server.requests('a')).toBe(0);
  });

  it.each(['ACTIVE', null, 7])('is not asked for where status is another claim: %j', async (status) => {
    expect(await ask(status)).toBeNull();
    const strict = start({ check: 'required' });
    expect(await ask(status, strict)).toBe('token_invalid');
    await strict.close();
  });

  it.each([{ status_list: 'x' }, { status_list: null }, { status_list: [] }])(
    'is refused where it is written as %j',
    async (status) => expect(await ask(status)).toBe('token_invalid'),
  );

  it('is refused beyond the end of the list', async () => {
    publish([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(await ask(at(7))).toBeNull();
    expect(await ask(at(8))).toBe('token_invalid');
  });
});

describe('where lists may be', () => {
  it.each([
    'http://169.254.169.254/latest/meta-data',
    'http://localhost/list',
    'file:///etc/passwd',
    'ftp://127.0.0.1/list',
    'not a url',
    '',
    7,
  ])('refuses %s without calling it', async (uri) => {
    expect(await ask(at(0, uri))).toBe('token_invalid');
    expect(events).toEqual([]);
  });

  it('refuses credentials, fragments and what is too long at a good origin', async () => {
    for (const uri of [
      server.uri('a').replace('//', '//user@'),
      `${server.uri('a')}#x`,
      `${server.uri('a')}?${'x'.repeat(2048)}`,
    ]) {
      expect(await ask(at(0, uri))).toBe('token_invalid');
    }
    expect(events).toEqual([]);
  });

  it("takes the issuer's own origin without being told", async () => {
    const strict = start({ origins: [] });
    expect(await ask(at(0, `${issuer.origin}/list`), strict)).toBe('issuer_unavailable');
    expect(issuer.requests.get('/list')).toBe(1);
    expect(await ask(at(0), strict)).toBe('token_invalid');
    expect(server.requests('a')).toBe(0);
    await strict.close();
  });
});

describe('a list that cannot be trusted', () => {
  const stranger = createKey('ES256');
  it.each([
    ['signed by a stranger', { key: stranger }],
    ['of another type', { header: { typ: 'JWT' } }],
    ['of the type of access tokens', { header: { typ: 'at+jwt' } }],
    ['unsigned', { header: { alg: 'none' } }],
    ['of another address', { claims: { sub: 'https://login.example.com/other' } }],
    ['expired', { claims: { exp: 1_790_000_000 } }],
    ['of the future', { claims: { iat: 1_790_000_100 } }],
    ['a bomb', { lst: deflateSync(Buffer.alloc(16 * 1024 * 1024)).toString('base64url') }],
  ])('refuses requests: %s', async (_name, more) => {
    publish([0], more);
    expect(await ask(at(0))).toBe('issuer_unavailable');
    expect(events).toMatchObject([{ outcome: 'failed', issuer: issuer.issuer }]);
    expect(events[0]?.error).toBeUndefined();
  });

  it('refuses requests: signed by a stranger under a kid that is known', async () => {
    publish([0], { key: stranger, header: { kid: issuer.key.kid } });
    expect(await ask(at(0))).toBe('issuer_unavailable');
  });

  it('refuses requests where it is an access token', async () => {
    server.publishText('a', issuer.mint({ audience: 'https://x.example', nowMs: clock() }));
    expect(await ask(at(0))).toBe('issuer_unavailable');
  });
});

describe('a list that is held', () => {
  it('is got again when three quarters of its ttl have passed, while requests go on', async () => {
    publish([0]);
    expect(await ask(at(0))).toBeNull();
    publish([1]);
    clock.advance(44_000);
    expect(await ask(at(0))).toBeNull();
    expect(server.requests('a')).toBe(1);
    clock.advance(1000);
    expect(await ask(at(0))).toBeNull();
    await expect.poll(() => ask(at(0))).toBe('token_revoked');
    expect(server.requests('a')).toBe(2);
  });

  it('is not used once its ttl has passed, whatever it said', async () => {
    publish([0]);
    expect(await ask(at(0))).toBeNull();
    publish([1]);
    clock.advance(60_000);
    expect(await ask(at(0))).toBe('token_revoked');
  });

  it('is got once for all who wait for it', async () => {
    publish([0, 1]);
    const release = server.hold();
    const asking = [0, 1, 0, 1].map((index) => ask(at(index)));
    await expect.poll(() => server.requests('a')).toBe(1);
    release();
    expect(await Promise.all(asking)).toEqual([null, 'token_revoked', null, 'token_revoked']);
    expect(server.requests('a')).toBe(1);
  });

  it('outlives an outage to its end, and no longer', async () => {
    publish([0]);
    await ask(at(0));
    server.setFault('reset');
    clock.advance(59_000);
    expect(await ask(at(0))).toBeNull();
    await expect.poll(() => events.length).toBe(2);
    clock.advance(1000);
    expect(await ask(at(0))).toBe('issuer_unavailable');
  });

  it('is left alone after a failure for longer and longer, then got again', async () => {
    server.setFault(503);
    const retryAfter = async () => {
      const token = { issuer: issuer.issuer, claims: { status: at(0) }, source: 'jwt' } as unknown as AccessToken;
      return (await lists.check(token))?.retryAfterSeconds;
    };
    expect(await retryAfter()).toBe(1);
    expect(await retryAfter()).toBe(1);
    expect(server.requests('a')).toBe(1);
    clock.advance(1000);
    expect(await retryAfter()).toBe(2);
    expect(server.requests('a')).toBe(2);
    server.setFault(null);
    publish([0]);
    clock.advance(2000);
    expect(await ask(at(0))).toBeNull();
  });

  it.each(['hang', 404, 302, 'application/jwt', 'text/html'] as const)(
    'is not had from an answer of %s',
    async (fault) => {
      publish([0]);
      server.setFault(fault);
      expect(await ask(at(0))).toBe('issuer_unavailable');
    },
  );

  it('is verified with keys that the issuer has rotated to', async () => {
    const next = createKey('ES256');
    publish([0]);
    await ask(at(0));
    issuer.setKeys([next]);
    server.publishText('a', mintStatusList(server.uri('a'), { statuses: [1], nowMs: clock() + 60_000, key: next }));
    clock.advance(60_000);
    expect(await ask(at(0))).toBe('token_revoked');
  });
});
