import { describe, expect, test } from 'vitest';
import { StoreFault } from '../../src/errors.ts';
import {
  agentHandle,
  delegationHandle,
  issuerHandle,
  jktHandle,
  jtiHandle,
  ownerHandle,
  subjectHandle,
} from '../../src/revocation/handles.ts';
import { createRevocations, isRevocationProblem, revocationView } from '../../src/revocation/revoke.ts';
import { createMemoryStore } from '../../src/store/memory.ts';
import type { RevocationEntry } from '../../src/store/port.ts';

const nowMs = Date.parse('2026-11-22T12:00:00Z');
const issuer = 'https://login.example.com';
const second = 'https://second.example.com';
const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I';
const reason = 'laptop stolen';

function open(lifetimes: Readonly<Record<string, { tokenMaxLifetime: number }>> = {}, isKnown = () => true) {
  let made = 0;
  const store = createMemoryStore({ clock: () => nowMs });
  const told: string[] = [];
  const revocations = createRevocations({
    store,
    clock: () => nowMs,
    newId: () => `id-${++made}`,
    issuers: [issuer, second].map((name) => ({ issuer: name, clockSkew: 30_000, ...lifetimes[name] })),
    onChange: (action, { id }, by) => told.push(`${action} ${id} by ${by}`),
    sync: async () => {
      told.push('sync');
    },
    isKnown,
    hold: ({ id }) => told.push(`hold ${id}`) < 3,
  });
  const isRevoked = async (handle: string, issuedAtMs = nowMs - 60_000) =>
    (await store.check({ nowMs, handles: [handle], issuedAtMs, singleUse: null, meters: [] })).revokedIndex === 0;
  const list = async () => (await revocations.list({ limit: 100, cursor: null })).entries;
  return { store, revocations, isRevoked, list, told };
}

function entryOf(result: Awaited<ReturnType<ReturnType<typeof open>['revocations']['create']>>): RevocationEntry {
  if (isRevocationProblem(result)) throw new Error(result.problems.join('; '));
  const [entry, ...more] = result;
  if (entry === undefined || more.length > 0) throw new Error(`${result.length} entries`);
  return entry;
}

describe('making a revocation', () => {
  test('holds what the store took and lost before this sidecar saw it there', async () => {
    const { revocations, told } = open({}, () => false);
    const { id } = entryOf(await revocations.create({ agent: 'agent-7', reason }, 'anna'));
    expect(told).toEqual([`revoked ${id} by anna`, 'sync', `hold ${id}`]);
  });

  test.each<readonly [string, object, string, object]>([
    ['jti', { jti: 'j-1', issuer }, jtiHandle(issuer, 'j-1'), { kind: 'jti', value: 'j-1', issuer }],
    ['agent', { agent: 'agent-7' }, agentHandle('agent-7'), { kind: 'agent', value: 'agent-7', issuer: null }],
    ['subject', { subject: 'alice' }, subjectHandle('alice', null), { kind: 'subject', value: 'alice', issuer: null }],
    [
      'subject of one issuer',
      { subject: 'alice', issuer },
      subjectHandle('alice', issuer),
      { kind: 'subject', value: 'alice', issuer },
    ],
    ['jkt', { jkt }, jktHandle(jkt), { kind: 'jkt', value: jkt, issuer: null }],
    ['owner', { owner: 'bob' }, ownerHandle('bob'), { kind: 'owner', value: 'bob', issuer: null }],
    ['delegation', { delegation: 'd-1' }, delegationHandle('d-1'), { kind: 'delegation', value: 'd-1', issuer: null }],
    ...(
      [
        [{ format: 'iss_sub', iss: issuer, sub: 'alice' }, subjectHandle('alice', issuer), 'alice', issuer],
        [{ format: 'opaque', id: 'alice' }, subjectHandle('alice', null), 'alice', null],
        [{ format: 'email', email: 'Al@Example.com' }, subjectHandle('al@example.com', null), 'al@example.com', null],
        [{ format: 'account', uri: 'acct:Al@a.example' }, subjectHandle('al@a.example', null), 'al@a.example', null],
        [{ format: 'phone_number', phone_number: '+1206' }, subjectHandle('+1206', null), '+1206', null],
        [{ format: 'did', url: 'did:example:1' }, subjectHandle('did:example:1', null), 'did:example:1', null],
        [
          { format: 'uri', uri: 'https://u.example/1' },
          subjectHandle('https://u.example/1', null),
          'https://u.example/1',
          null,
        ],
      ] as const
    ).map(
      ([sub_id, handle, value, of]) =>
        [`sub_id of format ${sub_id.format}`, { sub_id }, handle, { kind: 'subject', value, issuer: of }] as const,
    ),
    [
      'sub_id of format jwt_id',
      { sub_id: { format: 'jwt_id', iss: issuer, jti: 'j-1' } },
      jtiHandle(issuer, 'j-1'),
      { kind: 'jti', value: 'j-1', issuer },
    ],
  ])('puts the handle of a %s in the store', async (_, body, handle, fields) => {
    const { revocations, isRevoked, list, told } = open();
    const entry = entryOf(await revocations.create({ ...body, reason }, 'alice'));
    expect(entry).toEqual({
      id: 'id-1',
      handle,
      ...fields,
      reason,
      author: 'alice',
      createdAtMs: nowMs,
      issuedBeforeMs: null,
      expiresAtMs: null,
    });
    expect(told).toEqual(['revoked id-1 by alice', 'sync']);
    expect(await isRevoked(handle)).toBe(true);
    expect(await list()).toEqual([entry]);
    expect(await revocations.lift('id-1', 'kim')).toEqual(entry);
    expect(await isRevoked(handle)).toBe(false);
    expect(await revocations.lift('id-1', 'kim')).toBeNull();
    expect(told.slice(2, 4)).toEqual(['lifted id-1 by kim', 'sync']);
  });

  test('revokes what an issuer issued before a time, and nothing newer', async () => {
    const { revocations, isRevoked } = open();
    const body = { issuer, issued_before: '2026-11-22T11:59:30Z', reason };
    const entry = entryOf(await revocations.create(body, 'alice'));
    expect(entry).toMatchObject({ kind: 'issuer', value: issuer, issuer: null, issuedBeforeMs: nowMs - 30_000 });
    const handle = issuerHandle(issuer);
    expect([await isRevoked(handle, nowMs - 30_001), await isRevoked(handle, nowMs - 30_000)]).toEqual([true, false]);
    expect(revocationView(entry)).toMatchObject({ issuer, issued_before: '2026-11-22T11:59:30.000Z' });
  });

  test('makes an entry for each alias of a subject', async () => {
    const { revocations, isRevoked } = open();
    const identifiers = [
      { format: 'iss_sub', iss: issuer, sub: 'alice' },
      { format: 'email', email: 'alice@example.com' },
    ];
    const entries = await revocations.create({ sub_id: { format: 'aliases', identifiers }, reason }, 'alice');
    expect(entries).toMatchObject([{ id: 'id-1' }, { id: 'id-2' }]);
    expect(await isRevoked(subjectHandle('alice', issuer))).toBe(true);
    expect(await isRevoked(subjectHandle('alice@example.com', null))).toBe(true);
  });

  test.each([
    ['2026-11-22T12:00:00.001Z', nowMs + 1],
    ['2026-11-22T14:30:00+02:00', nowMs + 1_800_000],
    ['2028-02-29T00:00:00Z', Date.parse('2028-02-29T00:00:00Z')],
  ])('takes an expiry of %s', async (text, expiresAtMs) => {
    const { revocations } = open();
    const entry = entryOf(await revocations.create({ agent: 'a', reason, expires_at: text }, 'alice'));
    expect(entry.expiresAtMs).toBe(expiresAtMs);
  });

  test('passes on a fault of the store', async () => {
    const { revocations, store } = open();
    await store.close();
    await expect(revocations.create({ agent: 'a', reason }, 'alice')).rejects.toBeInstanceOf(StoreFault);
  });
});

describe('refusing a revocation', () => {
  const cases: readonly (readonly [string, unknown, RegExp])[] = [
    ['nothing', undefined, /JSON object/],
    ['a list', [{ agent: 'a', reason }], /JSON object/],
    ['text', 'agent-7', /JSON object/],
    ['no handle', { reason }, /name what to revoke/],
    ['an issuer alone', { issuer, reason }, /issuer alone/],
    ['two handles', { agent: 'a', subject: 'b', reason }, /exactly one of agent, subject/],
    ['a jti without issuer', { jti: 'j', reason }, /issuer is required/],
    ['an agent with issuer', { agent: 'a', issuer, reason }, /no meaning with agent/],
    ['a jkt with issuer', { jkt, issuer, reason }, /no meaning with jkt/],
    ['a jkt of 42 characters', { jkt: jkt.slice(1), reason }, /^jkt must/],
    ['a jkt that is not base64url', { jkt: `${jkt.slice(1)}=`, reason }, /^jkt must/],
    ['an empty handle', { agent: '', reason }, /^agent must not be empty/],
    ['a handle that is too long', { agent: 'a'.repeat(4097), reason }, /^agent must have 4096/],
    ['a handle that is no string', { agent: 7, reason }, /^agent must be a string/],
    ['a null handle', { agent: null, reason }, /^agent must be a string/],
    ['no reason', { agent: 'a' }, /^reason is required/],
    ['a blank reason', { agent: 'a', reason: '  ' }, /^reason must not be empty/],
    ['a long reason', { agent: 'a', reason: 'x'.repeat(513) }, /^reason must have 512/],
    ['a line break in the reason', { agent: 'a', reason: 'x\nlevel=info' }, /^reason must have no control/],
    ['a terminal escape in the reason', { agent: 'a', reason: 'x\u001b[2J' }, /^reason must have no control/],
    ['a C1 control in the reason', { agent: 'a', reason: 'x\u009b2J' }, /^reason must have no control/],
    ['a reason that is no string', { agent: 'a', reason: {} }, /^reason must be a string/],
    ['an expiry now', { agent: 'a', reason, expires_at: '2026-11-22T12:00:00Z' }, /future/],
    ['an expiry in the past', { agent: 'a', reason, expires_at: '2020-01-01T00:00:00Z' }, /future/],
    ['an expiry without zone', { agent: 'a', reason, expires_at: '2027-01-01T00:00:00' }, /RFC 3339/],
    ['an expiry without seconds', { agent: 'a', reason, expires_at: '2027-01-01T00:00Z' }, /RFC 3339/],
    ['an expiry without time', { agent: 'a', reason, expires_at: '2027-01-01' }, /RFC 3339/],
    ['an expiry on no day', { agent: 'a', reason, expires_at: '2027-02-29T00:00:00Z' }, /RFC 3339/],
    ['an expiry that is a number', { agent: 'a', reason, expires_at: 1_900_000_000 }, /^expires_at must be a string/],
    ['an unknown key', { agent: 'a', reason, expire: '1h' }, /unknown key "expire"/],
    [
      'an unknown issuer of a token',
      { jti: 'j', issuer: 'https://elsewhere.example', reason },
      /^no such issuer; configured/,
    ],
    ['an unknown issuer of a subject', { subject: 's', issuer: `${issuer}/`, reason }, /^no such issuer; configured/],
    [
      'an unknown issuer',
      { issuer: 'x', issued_before: '2026-01-01T00:00:00Z', reason },
      /^no such issuer; configured/,
    ],
    ['a token issued before a time', { jti: 'j', issuer, issued_before: '2026-01-01T00:00:00Z', reason }, /no meaning/],
    ['a time that is none', { agent: 'a', issued_before: 'yesterday', reason }, /^issued_before must be an RFC 3339/],
    [
      'a time before time',
      { agent: 'a', issued_before: '1969-01-01T00:00:00Z', reason },
      /^issued_before must be after/,
    ],
    ['an owner with issuer', { owner: 'o', issuer, reason }, /no meaning with owner/],
    ['a delegation with issuer', { delegation: 'd', issuer, reason }, /no meaning with delegation/],
    ['a sub_id with issuer', { sub_id: { format: 'opaque', id: 'x' }, issuer, reason }, /no meaning with sub_id/],
    ['a sub_id beside a handle', { sub_id: { format: 'opaque', id: 'x' }, agent: 'a', reason }, /exactly one of/],
    ['a sub_id that is text', { sub_id: 'alice', reason }, /^sub_id must be an object/],
    ['a sub_id without format', { sub_id: { id: 'x' }, reason }, /^sub_id.format must be one of account/],
    ['a sub_id of unknown format', { sub_id: { format: '__proto__', id: 'x' }, reason }, /^sub_id.format must be/],
    ['a sub_id without its member', { sub_id: { format: 'email', id: 'x' }, reason }, /must have email/],
    ['a sub_id with an empty member', { sub_id: { format: 'opaque', id: '' }, reason }, /must have id/],
    ['a sub_id of another issuer', { sub_id: { format: 'iss_sub', iss: 'x', sub: 'y' }, reason }, /no such issuer/],
    ['aliases of none', { sub_id: { format: 'aliases', identifiers: [] }, reason }, /a list of 1 to 16/],
    [
      'aliases of aliases',
      { sub_id: { format: 'aliases', identifiers: [{ format: 'aliases', identifiers: [] }] }, reason },
      /^sub_id.format must be/,
    ],
  ];

  test.each(cases)('%s', async (_, body, problem) => {
    const { revocations, list } = open();
    const result = await revocations.create(body, 'alice');
    expect(result).toEqual({ problems: [expect.stringMatching(problem)] });
    expect(await list()).toEqual([]);
  });

  test('tells every problem at once', async () => {
    const { revocations } = open();
    expect(await revocations.create({ agent: '', expires_at: 'soon', x: 1 }, 'alice')).toMatchObject({
      problems: { length: 4 },
    });
  });

  test('takes keys that objects inherit for what they are: absent', async () => {
    const { revocations } = open();
    const body: unknown = JSON.parse('{"agent":"a","reason":"r","__proto__":{"owner":"x"}}');
    expect(isRevocationProblem(await revocations.create(body, 'alice'))).toBe(true);
    expect(entryOf(await revocations.create({ agent: 'constructor', reason }, 'alice')).value).toBe('constructor');
  });
});

describe('how long a revocation is kept', () => {
  const day = { tokenMaxLifetime: 86_400_000 };
  const hour = { tokenMaxLifetime: 3_600_000 };
  // Twice the clock skew, and a minute.
  const margin = 120_000;
  const before = '2026-11-22T11:00:00Z';
  const later = '2026-11-22T13:00:00Z';
  const both = { [issuer]: day, [second]: hour };

  test.each<readonly [string, object, Parameters<typeof open>[0], number | null]>([
    ['a token of an issuer', { jti: 'j', issuer: second }, both, nowMs + 3_600_000 + margin],
    ['a token of an issuer with tokens of any age', { jti: 'j', issuer: second }, { [issuer]: day }, null],
    ['what an issuer issued before now', { issuer, issued_before: before }, both, nowMs + 86_400_000 + margin],
    ['what it will have issued', { issuer, issued_before: later }, both, nowMs + 3_600_000 + 86_400_000 + margin],
    ['older tokens of an agent', { agent: 'a', issued_before: before }, both, nowMs + 86_400_000 + margin],
    ['older tokens of an agent, of any age', { agent: 'a', issued_before: before }, { [issuer]: day }, null],
    ['older tokens of a subject', { subject: 's', issued_before: before }, both, nowMs + 86_400_000 + margin],
    [
      'older tokens of a subject of one issuer',
      { subject: 's', issuer: second, issued_before: before },
      { [second]: hour },
      nowMs + 3_600_000 + margin,
    ],
    ['an agent', { agent: 'a' }, both, null],
    ['a subject of one issuer', { subject: 's', issuer: second }, both, null],
    ['a key', { jkt }, both, null],
  ])('%s: until nothing that it hits can be left', async (_, body, lifetimes, expiresAtMs) => {
    const { revocations } = open(lifetimes);
    expect(entryOf(await revocations.create({ ...body, reason }, 'alice')).expiresAtMs).toBe(expiresAtMs);
  });

  test.each(['2026-11-22T12:00:01Z', '2027-11-22T12:00:01Z'])('until %s, where somebody says so', async (text) => {
    const { revocations } = open(both);
    const entry = entryOf(await revocations.create({ jti: 'j', issuer, reason, expires_at: text }, 'alice'));
    expect(entry.expiresAtMs).toBe(Date.parse(text));
  });
});

describe('showing a revocation', () => {
  test('names the handle by its kind and times in RFC 3339', async () => {
    const { revocations } = open();
    const body = { jti: 'j-1', issuer, reason, expires_at: '2026-11-23T12:00:00+01:00' };
    expect(revocationView(entryOf(await revocations.create(body, 'alice')))).toEqual({
      id: 'id-1',
      jti: 'j-1',
      issuer,
      reason,
      author: 'alice',
      created_at: '2026-11-22T12:00:00.000Z',
      expires_at: '2026-11-23T11:00:00.000Z',
    });
  });

  test('shows no issuer where the handle has none, and null for an expiry that never comes', async () => {
    const { revocations } = open();
    expect(revocationView(entryOf(await revocations.create({ agent: 'agent-7', reason }, 'alice')))).toEqual({
      id: 'id-1',
      agent: 'agent-7',
      reason,
      author: 'alice',
      created_at: '2026-11-22T12:00:00.000Z',
      expires_at: null,
    });
  });
});
