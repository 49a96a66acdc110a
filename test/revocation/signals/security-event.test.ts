import { describe, expect, it } from 'vitest';
import { eventTypes } from '../../../src/revocation/signals/event-types.ts';
import { eventTimeOf, reasonFor, statedText } from '../../../src/revocation/signals/reason.ts';
import { audienceProblem, readEvents } from '../../../src/revocation/signals/security-event.ts';
import { caep, risc, ssf } from '../../support/ssf-transmitter.ts';

const nowMs = 1_790_000_000_000;
const iat = nowMs / 1000;
const options = { issuer: 'https://tr.example', audience: 'https://me.example', maxAgeMs: 86_400_000 };
const type = `${caep}session-revoked`;
const subject = { format: 'opaque', id: 'x' };
const good = { iss: options.issuer, aud: options.audience, jti: 'j', iat, sub_id: subject, events: { [type]: {} } };
const read = (claims: object) => readEvents({ ...good, ...claims }, options, nowMs);
const happened = (event: object, more: object = {}) => read({ events: { [type]: event }, ...more });

describe('audienceProblem', () => {
  it('takes the transmitter and the audience that are configured, one of several too', () => {
    expect(audienceProblem(good, options)).toBeNull();
    expect(audienceProblem({ ...good, aud: ['x', options.audience] }, options)).toBeNull();
  });

  it.each([
    [{ iss: 'https://tr.example/' }, 'invalid_issuer'],
    [{ iss: undefined }, 'invalid_issuer'],
    [{ aud: 'https://other.example' }, 'invalid_audience'],
    [{ aud: undefined }, 'invalid_audience'],
    [{ aud: [] }, 'invalid_audience'],
  ])('refuses %j', (claims, err) => {
    expect(audienceProblem({ ...good, ...claims }, options)).toMatchObject({ err });
  });
});

describe('readEvents', () => {
  it('reads each event with the subject of the token', () => {
    expect(read({})).toEqual({ jti: 'j', events: [{ type, payload: {}, subject, happenedAtMs: nowMs }] });
  });

  it('takes the subject of an event where the token has none', () => {
    expect(happened({ subject }, { sub_id: undefined })).toMatchObject({ events: [{ subject }] });
  });

  it.each([
    [{ event_timestamp: iat - 60 }, nowMs - 60_000],
    [{ event_timestamp: nowMs - 60_000 }, nowMs - 60_000],
    [{ event_timestamp: iat + 3600 }, nowMs],
    [{}, nowMs],
  ])('says when it happened: %j', (event, happenedAtMs) => {
    expect(happened(event)).toMatchObject({ events: [{ happenedAtMs }] });
  });

  it.each([
    { jti: undefined },
    { jti: '' },
    { jti: 'x'.repeat(257) },
    { iat: undefined },
    { iat: '1' },
    { iat: iat + 61 },
    { iat: iat - 86_401 },
    { iat: Number.POSITIVE_INFINITY },
    { events: undefined },
    { events: [] },
    { events: {} },
    { events: { [type]: null } },
    { events: { [type]: { event_timestamp: 'now' } } },
    { events: Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`urn:${index}`, {}])) },
  ])('refuses %j', (claims) => {
    expect(read(claims)).toMatchObject({ err: 'invalid_request' });
  });
});

describe('what events ask for', () => {
  it.each([
    [`${caep}session-revoked`, {}, 'end_tokens'],
    [`${caep}token-claims-change`, { claims: { role: 'ro' } }, 'end_tokens'],
    [`${caep}credential-change`, { change_type: 'revoke' }, 'end_tokens'],
    [`${caep}credential-change`, { change_type: 'delete' }, 'end_tokens'],
    [`${caep}credential-change`, { change_type: 'update' }, 'end_tokens'],
    [`${caep}credential-change`, { change_type: 'create' }, 'ignore'],
    [`${caep}credential-change`, {}, 'end_tokens'],
    [`${caep}assurance-level-change`, { change_direction: 'decrease' }, 'end_tokens'],
    [`${caep}assurance-level-change`, { change_direction: 'increase' }, 'ignore'],
    [`${caep}device-compliance-change`, { current_status: 'not-compliant' }, 'end_tokens'],
    [`${caep}device-compliance-change`, { current_status: 'compliant' }, 'ignore'],
    [`${caep}risk-level-change`, { current_level: 'HIGH' }, 'end_tokens'],
    [`${caep}risk-level-change`, { current_level: 'LOW' }, 'ignore'],
    [`${risc}account-disabled`, { reason: 'hijacking' }, 'disable'],
    [`${risc}account-purged`, {}, 'disable'],
    [`${risc}account-enabled`, {}, 'enable'],
    [`${risc}credential-compromise`, {}, 'end_tokens'],
    [`${ssf}verification`, {}, 'verify'],
    [`${ssf}stream-updated`, {}, 'note_stream'],
  ])('%s with %j', (uri, payload, demand) => {
    expect(eventTypes.get(uri)?.demand(payload)).toBe(demand);
  });

  it('are known by their exact address only', () => {
    expect(eventTypes.get(`${caep}session-revoked/`)).toBeUndefined();
    expect(eventTypes.get('session-revoked')).toBeUndefined();
  });
});

describe('reasons', () => {
  const event = { type, payload: {}, subject, happenedAtMs: nowMs };
  it('name the event, its time and token, and keep the time for later', () => {
    const reason = reasonFor('account-disabled', event, 'jti-1');
    expect(reason).toBe('account-disabled of 2026-09-21T14:13:20.000Z, jti jti-1');
    expect(eventTimeOf(reason)).toBe(nowMs);
    expect(eventTimeOf('left the company')).toBeNull();
  });

  it('have what the administrator says, in one line and not too long', () => {
    const payload = { reason_admin: { de: 'x', en: 'Policy\u0007\nviolation\u202e \u001b[31mred' } };
    expect(reasonFor('session-revoked', { ...event, payload }, 'j')).toMatch(/, jti j: Policy violation \[31mred$/);
    const long = reasonFor(
      'session-revoked',
      { ...event, payload: { reason_user: 'x'.repeat(9999) } },
      'j'.repeat(256),
    );
    expect(long.length).toBeLessThanOrEqual(512);
    expect(statedText({ en: 7 })).toBe('');
  });
});
