import { describe, expect, test } from 'vitest';
import { StoreFault } from '../../src/errors.ts';
import { agentHandle, jktHandle, jtiHandle, subjectHandle } from '../../src/revocation/handles.ts';
import { createRevocations, isRevocationProblem, revocationView } from '../../src/revocation/revoke.ts';
import { createMemoryStore } from '../../src/store/memory.ts';
import type { RevocationEntry } from '../../src/store/port.ts';

const nowMs = Date.parse('2026-11-22T12:00:00Z');
const issuer = 'https://login.example.com';
const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I';
const reason = 'laptop stolen';

function open() {
  let made = 0;
  const store = createMemoryStore({ clock: () => nowMs });
  const revocations = createRevocations({ store, clock: () => nowMs, newId: () => `id-${++made}` });
  const isRevoked = async (handle: string) =>
    (await store.check({ nowMs, handles: [handle], singleUse: null, meters: [] })).revokedIndex === 0;
  return { store, revocations, isRevoked };
}

function entryOf(result: Awaited<ReturnType<ReturnType<typeof open>['revocations']['create']>>): RevocationEntry {
  if (isRevocationProblem(result)) throw new Error(result.problems.join('; '));
  return result;
}

describe('making a revocation', () => {
  test.each([
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
  ])('puts the handle of a %s in the store', async (_, body, handle, fields) => {
    const { revocations, isRevoked } = open();
    const entry = entryOf(await revocations.create({ ...body, reason }, 'alice'));
    expect(entry).toEqual({
      id: 'id-1',
      handle,
      ...fields,
      reason,
      author: 'alice',
      createdAtMs: nowMs,
      expiresAtMs: null,
    });
    expect(await isRevoked(handle)).toBe(true);
    expect(await revocations.list()).toEqual([entry]);
    expect(await revocations.lift('id-1')).toEqual(entry);
    expect(await isRevoked(handle)).toBe(false);
    expect(await revocations.lift('id-1')).toBeNull();
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
      'an owner',
      { owner: 'bob', reason },
      /^owner is not supported: this version revokes by jti .*agent, subject and jkt/,
    ],
    ['a delegation', { delegation: 'd', reason }, /^delegation is not supported/],
    ['a sub_id', { sub_id: { format: 'opaque', id: 'x' }, reason }, /^sub_id is not supported/],
    [
      'an issuer up to a time',
      { issuer, issued_before: '2026-01-01T00:00:00Z', reason },
      /^issued_before is not supported/,
    ],
  ];

  test.each(cases)('%s', async (_, body, problem) => {
    const { revocations } = open();
    const result = await revocations.create(body, 'alice');
    expect(result).toEqual({ problems: [expect.stringMatching(problem)] });
    expect(await revocations.list()).toEqual([]);
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
