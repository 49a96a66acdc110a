import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKeySets, type KeySets } from '../../../src/identify/key-sets.ts';
import { createVerifyIssuerJwt } from '../../../src/identify/verify-issuer-jwt.ts';
import { createRevocations, type Revocations } from '../../../src/revocation/revoke.ts';
import { createReceive, type ReceiveSet } from '../../../src/revocation/signals/receive.ts';
import { createMapSubject } from '../../../src/revocation/signals/subjects.ts';
import { createMemoryStore } from '../../../src/store/memory.ts';
import type { RevocationEntry, Store } from '../../../src/store/port.ts';
import { createTestClock, type TestClock } from '../../support/clock.ts';
import {
  caep,
  receiverAudience,
  risc,
  type SsfTransmitter,
  startSsfTransmitter,
} from '../../support/ssf-transmitter.ts';

const login = 'https://login.example.com';
const other = 'https://other.example.com';
const keepForMs = 86_400_000;

let transmitter: SsfTransmitter;
let keySets: KeySets;
let store: Store;
let clock: TestClock;
let counted: string[];
let receive: ReceiveSet;
let revocations: Revocations;

beforeEach(async () => {
  transmitter = await startSsfTransmitter();
  clock = createTestClock();
  counted = [];
  store = createMemoryStore({ clock, maxRevocations: 100 });
  const { issuer } = transmitter;
  const algorithms = ['ES256'];
  keySets = createKeySets({
    issuers: [{ issuer, algorithms, keysMaxAge: 6e5, keysMaxStale: 6e5 }],
    discovery: 'ssf-discovery',
    clock,
  });
  const keySet = keySets.byIssuer.get(issuer);
  if (keySet === undefined) throw new Error('no key set');
  let ids = 0;
  revocations = createRevocations({
    store,
    clock,
    newId: () => `id-${ids++}`,
    issuers: [login, other].map((issuer) => ({ issuer, clockSkew: 30_000 })),
    onChange: () => undefined,
    sync: async () => undefined,
    isKnown: () => true,
    hold: () => true,
  });
  receive = createReceive({
    issuer,
    audience: receiverAudience,
    maxAgeMs: 7 * 86_400_000,
    verify: createVerifyIssuerJwt({ type: 'secevent+jwt', algorithms, keySet }),
    mapSubject: createMapSubject({
      users: ['iss_sub', 'opaque'],
      agents: [],
      speaksFor: [login],
      tokenIssuers: new Set([login, other]),
    }),
    revocations,
    entriesOf: async () => entries(),
    keepForMs,
    clock,
    count: (event, outcome) => counted.push(`${event} ${outcome}`),
    note: () => undefined,
    onVerification: () => counted.push('verified'),
  });
});

afterEach(async () => {
  await Promise.all([keySets.close(), transmitter.close(), store.close()]);
});

async function entries(): Promise<readonly RevocationEntry[]> {
  return (await store.revocations({ nowMs: clock(), limit: 100, cursor: null })).entries;
}

const send = async (events: Readonly<Record<string, object>>, subject: object, claims: object = {}) =>
  receive(await transmitter.mint({ events, subject, nowMs: clock(), claims: { ...claims } }));
const sessionRevoked = `${caep}session-revoked`;
const disabled = `${risc}account-disabled`;
const enabled = `${risc}account-enabled`;
const userAt = (iss: string) => ({ format: 'iss_sub', iss, sub: 'user-1' });

describe('an event token', () => {
  it('that speaks of another issuer than the transmitter may is refused whole', async () => {
    expect(await send({ [sessionRevoked]: {}, [disabled]: {} }, userAt(other))).toMatchObject({ err: 'access_denied' });
    expect(await entries()).toEqual([]);
    expect(counted).toEqual(['other refused']);
  });

  it('has each of its events', async () => {
    expect(await send({ [sessionRevoked]: {}, [disabled]: {}, 'urn:other': {} }, userAt(login))).toBeNull();
    expect((await entries()).map(({ kind }) => kind).toSorted()).toEqual(['owner', 'subject', 'subject']);
    expect(counted).toEqual(['session-revoked revoked', 'account-disabled revoked', 'other ignored']);
  });

  it('that an account is enabled leaves what others revoked, and tokens of before a compromise', async () => {
    const byHand = { subject: 'user-1', issuer: login, reason: 'left the company' };
    await revocations.create(byHand, 'kim');
    expect(await send({ [`${risc}credential-compromise`]: {} }, userAt(login))).toBeNull();
    expect(await send({ [disabled]: {} }, userAt(login))).toBeNull();
    clock.advance(1000);
    expect(await send({ [enabled]: {} }, userAt(login))).toBeNull();
    const left = (await entries()).map(({ author, issuedBeforeMs }) => [author, issuedBeforeMs === null]);
    expect(left.toSorted()).toEqual([
      ['kim', true],
      [`ssf:${transmitter.issuer}`, false],
    ]);
  });

  it('of old news revokes nothing that could still be in use', async () => {
    const longAgo = clock() / 1000 - keepForMs / 1000;
    expect(await send({ [sessionRevoked]: { event_timestamp: longAgo } }, userAt(login))).toBeNull();
    expect(await entries()).toEqual([]);
    expect(counted).toEqual(['session-revoked ignored']);
  });

  it('makes one entry of many like it, that lasts as long as the latest says', async () => {
    for (let day = 0; day < 20; day++) {
      expect(await send({ [sessionRevoked]: {} }, userAt(login))).toBeNull();
      clock.advance(1000);
    }
    const [entry, ...more] = await entries();
    expect(more).toEqual([]);
    expect(entry).toMatchObject({ issuedBeforeMs: clock(), expiresAtMs: clock() - 1000 + keepForMs });
  });

  it('of one token revokes that one by its id', async () => {
    expect(await send({ [sessionRevoked]: {} }, { format: 'jwt_id', iss: login, jti: 'token-1' })).toBeNull();
    expect(await entries()).toMatchObject([{ kind: 'jti', value: 'token-1', issuer: login, issuedBeforeMs: null }]);
  });

  it('rejects where the keys are out of reach, and is taken later', async () => {
    transmitter.setKeys([]);
    await expect(send({ [sessionRevoked]: {} }, userAt(login))).rejects.toMatchObject({ code: 'signals_keys' });
    transmitter.setKeys([transmitter.key]);
    clock.advance(30_000);
    expect(await send({ [sessionRevoked]: {} }, userAt(login))).toBeNull();
    expect(counted).toEqual(['other failed', 'session-revoked revoked']);
  });
});
