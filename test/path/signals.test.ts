/** Security events of a real transmitter, from the wire to the next call, with both stores. */

import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serverCertificate } from '../support/certificates.ts';
import { createTestClock, type TestClock } from '../support/clock.ts';
import { createKey } from '../support/keys.ts';
import { RawClient } from '../support/raw-http.ts';
import { startRedis } from '../support/redis-server.ts';
import { type Harness, type StoreKind, startSidecar, stores } from '../support/sidecar.ts';
import {
  caep,
  pollToken,
  pushToken,
  receiverAudience,
  risc,
  type SetOptions,
  type SsfTransmitter,
  ssf,
  startSsfTransmitter,
} from '../support/ssf-transmitter.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-signals-'));
const files = { push: join(folder, 'push'), poll: join(folder, 'poll') };
writeFileSync(files.push, `${pushToken}\n`);
writeFileSync(files.poll, `${pollToken}\n`);

let transmitter: SsfTransmitter;
let harnesses: Harness[];
let clock: TestClock;

beforeEach(async () => {
  transmitter = await startSsfTransmitter();
  harnesses = [];
  // The mirror and jose go by the real time, so the test's begins there.
  clock = createTestClock(Math.floor(Date.now() / 1000) * 1000);
});

afterEach(async () => {
  await Promise.all(harnesses.map((harness) => harness.close()));
  await transmitter.close();
});

type Way = 'push' | 'poll';

async function start(way: Way, store: object = stores.memory(), more: object = {}, tls?: object): Promise<Harness> {
  const harness = await startSidecar({
    clock,
    store,
    config: {
      signals: {
        address: '127.0.0.1:0',
        ...(tls === undefined ? {} : { tls }),
        transmitters: [
          {
            name: 'idp',
            issuer: transmitter.issuer,
            audience: receiverAudience,
            ...(way === 'push'
              ? { push: { tokenFile: files.push } }
              : { poll: { endpoint: transmitter.pollEndpoint, tokenFile: files.poll, interval: '100ms' } }),
            ...more,
          },
        ],
      },
    },
  });
  harnesses.push(harness);
  return harness;
}

const mint = (options: SetOptions) => transmitter.mint({ nowMs: clock(), ...options });
const push = async (harness: Harness, options: SetOptions) =>
  transmitter.push(`${harness.sidecar.signalsOrigin}/v1/signals/idp`, await mint(options));

const reasonOf = async (harness: Harness, token: string) => (await harness.call('/api/items', { token })).reason;
const user = (harness: Harness, sub = 'user-1') => ({ format: 'iss_sub', iss: harness.issuer.issuer, sub });
const sessionRevoked = { [`${caep}session-revoked`]: {} };

async function metric(harness: Harness, name: string): Promise<number | undefined> {
  const { text } = await harness.admin('GET', '/metrics');
  const line = text.split('\n').find((one) => one.startsWith(name));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ')));
}

const signals = (event: string, outcome: string) =>
  `postern_signals_total{transmitter="idp",event="${event}",outcome="${outcome}"}`;

describe.each<[StoreKind, Way]>([
  ['memory', 'push'],
  ['memory', 'poll'],
  ['redis', 'push'],
  ['redis', 'poll'],
])('with the %s store, by %s', (kind, way) => {
  /** Sends an event and waits until it is taken. */
  async function send(harness: Harness, options: SetOptions): Promise<void> {
    if (way === 'push') {
      expect(await push(harness, options)).toEqual({ status: 202, err: null, text: '' });
      return;
    }
    transmitter.offer(await mint(options));
    await expect.poll(() => transmitter.pending()).toEqual([]);
  }

  it.each([
    [`${caep}session-revoked`, { initiating_entity: 'admin' }],
    [`${caep}token-claims-change`, { claims: { role: 'ro-admin' } }],
    [`${caep}credential-change`, { credential_type: 'fido2-platform', change_type: 'revoke' }],
  ])('ends tokens issued before %s, and no later ones', async (type, payload) => {
    const harness = await start(way, stores[kind]());
    const before = harness.mint();
    const stranger = harness.mint({ claims: { sub: 'user-2' } });
    expect(await reasonOf(harness, before)).toBeNull();
    await send(harness, { events: { [type]: payload }, subject: user(harness) });
    expect(await reasonOf(harness, before)).toBe('token_revoked');
    expect(await reasonOf(harness, stranger)).toBeNull();
    clock.advance(1000);
    expect(await reasonOf(harness, harness.mint())).toBeNull();
  });

  it('shuts a disabled account out until it is enabled again', async () => {
    const harness = await start(way, stores[kind]());
    await send(harness, { events: { [`${risc}account-disabled`]: { reason: 'hijacking' } }, subject: user(harness) });
    clock.advance(5000);
    expect(await reasonOf(harness, harness.mint())).toBe('token_revoked');
    const listed = JSON.parse((await harness.admin('GET', '/v1/revocations')).text).revocations;
    const author = `ssf:${transmitter.issuer}`;
    const reason = expect.stringMatching(/^account-disabled of .*, jti /);
    expect(listed).toHaveLength(2);
    expect(listed).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ subject: 'user-1', issuer: harness.issuer.issuer, author, reason, expires_at: null }),
        expect.objectContaining({ owner: 'user-1', author, reason, expires_at: null }),
      ]),
    );
    expect(harness.auditText().match(/"type":"revocation".*"action":"revoked"/g)).toHaveLength(2);
    await send(harness, { events: { [`${risc}account-enabled`]: {} }, subject: user(harness) });
    expect(await reasonOf(harness, harness.mint())).toBeNull();
    expect(harness.auditText().match(/"type":"revocation".*"action":"lifted"/g)).toHaveLength(2);
  });

  it('takes a verification, and says that the stream lives', async () => {
    const harness = await start(way, stores[kind]());
    clock.advance(60_000);
    const age = 'postern_signals_last_verification_age_seconds{transmitter="idp"}';
    expect(await metric(harness, age)).toBe(60);
    const state = 'VGhpcyBpcyBhbiBleGFtcGxl';
    await send(harness, {
      events: { [`${ssf}verification`]: { state } },
      subject: { format: 'opaque', id: 'stream-1' },
    });
    expect(await metric(harness, age)).toBe(0);
    expect(await metric(harness, 'postern_signals_last_contact_age_seconds{transmitter="idp"}')).toBe(0);
    expect(await metric(harness, signals('verification', 'noted'))).toBe(1);
    expect(harness.log.join('')).toContain(state);
    expect(harness.log.join('')).not.toContain(pushToken);
  });

  it('takes one event twice as once', async () => {
    const harness = await start(way, stores[kind]());
    const set = await mint({ events: sessionRevoked, subject: user(harness) });
    for (let round = 0; round < 2; round++) {
      if (way === 'poll') {
        transmitter.offer(set);
        await expect.poll(() => transmitter.pending()).toEqual([]);
      } else {
        const url = `${harness.sidecar.signalsOrigin}/v1/signals/idp`;
        expect((await transmitter.push(url, set)).status).toBe(202);
      }
    }
    expect(await metric(harness, signals('session-revoked', 'revoked'))).toBe(1);
    expect(await metric(harness, signals('other', 'duplicate'))).toBe(1);
  });
});

describe('subjects', () => {
  it('name agents where the configuration says so', async () => {
    const harness = await start('push', stores.memory(), { agents: ['opaque'] });
    const token = harness.mint();
    await push(harness, { events: sessionRevoked, subject: { format: 'opaque', id: 'agent-7' } });
    expect(await reasonOf(harness, token)).toBe('token_revoked');
  });

  it('may be complex, or stand in the event as they used to', async () => {
    const harness = await start('push');
    const token = harness.mint();
    const subject = { user: user(harness), device: { format: 'opaque', id: 'phone' } };
    await push(harness, { events: { [`${caep}session-revoked`]: { subject } } });
    expect(await reasonOf(harness, token)).toBe('token_revoked');
  });

  it('that nothing can be made of are told to the operator, and not asked for again', async () => {
    const harness = await start('push');
    const answer = await push(harness, { events: sessionRevoked, subject: { format: 'opaque-like', id: 'x' } });
    expect(answer.status).toBe(202);
    expect(await metric(harness, signals('session-revoked', 'unmapped'))).toBe(1);
  });
});

describe('a push', () => {
  const url = (harness: Harness, name = 'idp') => `${harness.sidecar.signalsOrigin}/v1/signals/${name}`;

  it.each([
    ['no token', { token: null }, 400, 'authentication_failed'],
    ['another token', { token: pollToken }, 400, 'authentication_failed'],
    ['another type', { type: 'application/jwt' }, 415, null],
    ['another method', { method: 'GET' }, 405, null],
  ])('with %s is refused', async (_name, call, status, err) => {
    const harness = await start('push');
    const set = await mint({ events: sessionRevoked, subject: user(harness) });
    expect(await transmitter.push(url(harness), set, call)).toMatchObject({ status, err });
    expect(await reasonOf(harness, harness.mint())).toBeNull();
  });

  it('goes to the path of a transmitter and nowhere else', async () => {
    const harness = await start('push');
    const set = await mint({ events: sessionRevoked, subject: user(harness) });
    for (const place of [url(harness, 'other'), `${url(harness)}/`, `${harness.sidecar.signalsOrigin}/metrics`]) {
      expect((await transmitter.push(place, set)).status).toBe(404);
    }
    expect((await transmitter.push(`${harness.sidecar.adminOrigin}/v1/signals/idp`, set)).status).toBe(404);
    expect((await transmitter.push(`${harness.sidecar.origin}/v1/signals/idp`, set)).status).toBe(404);
  });

  it.each([
    ['what is no JWS', () => Promise.resolve('no.jws'), 'invalid_request'],
    ['an access token', (harness: Harness) => Promise.resolve(harness.mint()), 'invalid_request'],
    ['typ JWT', (harness: Harness) => minted(harness, { header: { typ: 'JWT' } }), 'invalid_request'],
    ['a stranger signing', (harness: Harness) => minted(harness, { key: createKey('ES256') }), 'invalid_key'],
    [
      'another issuer',
      (harness: Harness) => minted(harness, { claims: { iss: 'https://x.example' } }),
      'invalid_issuer',
    ],
    [
      'another audience',
      (harness: Harness) => minted(harness, { claims: { aud: 'https://x.example' } }),
      'invalid_audience',
    ],
    ['no events', (harness: Harness) => minted(harness, { events: {} }), 'invalid_request'],
    ['an old iat', (harness: Harness) => minted(harness, { nowMs: clock() - 8 * 86_400_000 }), 'invalid_request'],
  ])('of %s is refused with what RFC 8935 has for it', async (_name, make, err) => {
    const harness = await start('push');
    // A key that is not known is asked for only some time after the last fetch; until then it is to be sent again.
    await transmitter.push(url(harness), await minted(harness, { events: { [`${ssf}verification`]: {} } }));
    clock.advance(31_000);
    const answer = await transmitter.push(url(harness), await make(harness));
    expect(answer).toMatchObject({ status: 400, err });
    expect(await reasonOf(harness, harness.mint())).toBeNull();
    expect(await metric(harness, signals('other', 'refused'))).toBe(1);
  });

  const minted = (harness: Harness, more: Partial<SetOptions>) =>
    mint({ events: sessionRevoked, subject: user(harness), ...more });

  it('by a stranger keeps no connection', async () => {
    const harness = await start('push');
    for (const path of ['/v1/signals/idp', '/nowhere']) {
      const { port } = new URL(harness.sidecar.signalsOrigin ?? '');
      const socket = connect(Number(port), '127.0.0.1');
      socket.write(`POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n`);
      socket.resume();
      await once(socket, 'end');
      socket.destroy();
    }
  });

  it('that is too large is refused', async () => {
    const harness = await start('push');
    expect((await transmitter.push(url(harness), 'x'.repeat(70_000))).status).toBe(413);
  });

  it('signed with a new key is to be sent again until the keys may be fetched, and then taken', async () => {
    const harness = await start('push');
    const next = createKey('ES256');
    await push(harness, { events: { [`${ssf}verification`]: {} } });
    transmitter.setKeys([next]);
    const token = harness.mint();
    const set = await minted(harness, { key: next });
    expect((await transmitter.push(url(harness), set)).status).toBe(503);
    clock.advance(31_000);
    expect((await transmitter.push(url(harness), set)).status).toBe(202);
    expect(await reasonOf(harness, token)).toBe('token_revoked');
  });

  it('is to be sent again while the store is away, and is not counted as taken', async () => {
    const redis = await startRedis();
    try {
      const harness = await start('push', { kind: 'redis', url: redis.url, timeout: '500ms' });
      const set = await minted(harness, {});
      await redis.kill();
      expect((await transmitter.push(url(harness), set)).status).toBe(503);
      await redis.restart();
      await expect.poll(async () => (await transmitter.push(url(harness), set)).status, { timeout: 5000 }).toBe(202);
      const token = harness.mint();
      await expect.poll(() => reasonOf(harness, token), { timeout: 5000 }).toBe('token_revoked');
    } finally {
      await redis.stop();
    }
  });
});

describe('a poll', () => {
  it('acknowledges what has taken effect, and says what is wrong with the rest', async () => {
    const harness = await start('poll');
    const good = await mint({ events: sessionRevoked, subject: user(harness), claims: { jti: 'good' } });
    const bad = await mint({ events: sessionRevoked, claims: { jti: 'bad', aud: 'https://x.example' } });
    transmitter.offer(good);
    transmitter.offer(bad);
    await expect.poll(() => transmitter.pending()).toEqual([]);
    const told = transmitter.polls.flatMap(({ ack = [], setErrs = {} }) => [
      ...ack,
      ...Object.entries(setErrs).map(([jti, { err }]) => `${jti} ${err}`),
    ]);
    expect(told.toSorted()).toEqual(['bad invalid_audience', 'good']);
    expect(transmitter.polls[0]).toEqual({ maxEvents: 100, returnImmediately: false });
  });

  it('asks again after an outage of the transmitter', async () => {
    transmitter.setFault(503);
    const harness = await start('poll');
    const token = harness.mint();
    await expect.poll(() => harness.log.join('')).toContain('answered 503');
    transmitter.setFault(null);
    transmitter.offer(await mint({ events: sessionRevoked, subject: user(harness) }));
    await expect.poll(() => reasonOf(harness, token), { timeout: 5000 }).toBe('token_revoked');
  });

  it('of a transmitter that never forgets is not repeated without end', async () => {
    transmitter.setForgetful(false);
    const harness = await start('poll', stores.memory(), {
      poll: { endpoint: transmitter.pollEndpoint, tokenFile: files.poll, interval: '1h' },
    });
    transmitter.offer(await mint({ events: sessionRevoked, subject: user(harness) }));
    await expect.poll(() => transmitter.polls.length, { timeout: 10_000 }).toBeGreaterThan(200);
    for (let round = 0; round < 20; round++) await harness.admin('GET', '/livez');
    expect(transmitter.polls.length).toBeLessThan(205);
  });

  it('of several replicas takes effect on all, whichever gets the event', async () => {
    const store = stores.redis();
    const replicas = [await start('poll', store), await start('poll', store)] as const;
    transmitter.offer(await mint({ events: sessionRevoked, subject: { format: 'opaque', id: 'user-1' } }));
    await expect.poll(() => transmitter.pending()).toEqual([]);
    for (const replica of replicas) expect(await reasonOf(replica, replica.mint())).toBe('token_revoked');
  });
});

describe('streams under way', () => {
  it('of the subject are cut on every replica within a second of the event', async () => {
    const store = stores.redis();
    const [asked, serving] = [await start('push', store), await start('push', store)];
    const opened = Promise.withResolvers<ServerResponse>();
    serving.upstream.answerWith((_incoming, response) => opened.resolve(response));
    const token = serving.mint();
    const fields = [`authorization: DPoP ${token}`, `dpop: ${serving.proofFor('/api/events', token)}`].join('\r\n');
    const client = new RawClient(serving.port).send(`GET /api/events HTTP/1.1\r\nhost: a\r\n${fields}\r\n\r\n`);
    (await opened.promise).writeHead(200, { 'content-type': 'text/event-stream' }).write('data: first\n\n');
    await client.until((text) => text.includes('first'));
    expect((await push(asked, { events: sessionRevoked, subject: { format: 'opaque', id: 'user-1' } })).status).toBe(
      202,
    );
    const startedMs = performance.now();
    await client.closed;
    expect(performance.now() - startedMs).toBeLessThan(1000);
  });
});

describe('over TLS', () => {
  it('an event is pushed, and without TLS none is', async () => {
    writeFileSync(join(folder, 'cert'), serverCertificate.cert);
    writeFileSync(join(folder, 'key'), serverCertificate.key);
    const harness = await start(
      'push',
      stores.memory(),
      {},
      { certFile: join(folder, 'cert'), keyFile: join(folder, 'key') },
    );
    const origin = harness.sidecar.signalsOrigin ?? '';
    expect(origin).toMatch(/^https:/);
    const set = await mint({ events: sessionRevoked, subject: user(harness) });
    const dispatcher = new Agent({ connect: { ca: serverCertificate.cert } });
    const { statusCode } = await request(`${origin}/v1/signals/idp`, {
      dispatcher,
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt', authorization: `Bearer ${pushToken}` },
      body: set,
    });
    await dispatcher.close();
    expect(statusCode).toBe(202);
    await expect(transmitter.push(`${origin.replace('https', 'http')}/v1/signals/idp`, set)).rejects.toThrow();
  });
});

describe('out of order', () => {
  it('an account that was disabled before it was enabled stays enabled', async () => {
    const harness = await start('push');
    const earlier = clock() / 1000 - 60;
    await push(harness, { events: { [`${risc}account-enabled`]: {} }, subject: user(harness) });
    await push(harness, {
      events: { [`${risc}account-disabled`]: { event_timestamp: earlier } },
      subject: user(harness),
    });
    expect(await reasonOf(harness, harness.mint())).toBeNull();
  });

  it('an account that was enabled before it was disabled stays disabled', async () => {
    const harness = await start('push');
    const earlier = clock() / 1000 - 60;
    await push(harness, { events: { [`${risc}account-disabled`]: {} }, subject: user(harness) });
    await push(harness, {
      events: { [`${risc}account-enabled`]: { event_timestamp: earlier } },
      subject: user(harness),
    });
    expect(await reasonOf(harness, harness.mint())).toBe('token_revoked');
  });

  it('what an administrator has revoked is not lifted by a transmitter', async () => {
    const harness = await start('push');
    await harness.admin('POST', '/v1/revocations', {
      subject: 'user-1',
      issuer: harness.issuer.issuer,
      reason: 'fraud',
    });
    await push(harness, { events: { [`${risc}account-enabled`]: {} }, subject: user(harness) });
    expect(await reasonOf(harness, harness.mint())).toBe('token_revoked');
  });
});
