import { describe, expect, it } from 'vitest';
import { compiled, contextWith, evaluated } from './exchanges.ts';

/** The documented pattern: name the type, every member that the rule understands, and the limits. */
const mayTransfer = `token.authorization_details.exists(d,
  d.type == "payment" &&
  d.all(member, member in ["type", "actions", "limit"]) &&
  "transfer" in d.actions &&
  d.limit >= 100)`;
const good = { type: 'payment', actions: ['transfer'], limit: 250 };

function allows(...details: readonly Record<string, unknown>[]): unknown {
  return evaluated(mayTransfer, { token: { claims: { authorization_details: details } } });
}

describe('authorization details (RFC 9396)', () => {
  it('grant what a rule names, wherever they stand in the list', () => {
    expect(allows(good)).toBe(true);
    expect(allows({ type: 'files', actions: ['read'], limit: 1 }, good)).toBe(true);
  });

  it('of a type that no rule names grant nothing', () => {
    expect(allows({ ...good, type: 'payment_v2' })).toBe(false);
    expect(allows({ ...good, type: 'Payment' })).toBe(false);
    expect(allows()).toBe(false);
    expect(evaluated(mayTransfer, { token: { claims: {} } })).toBe(false);
  });

  it('with a constraint that the rule does not understand grant nothing', () => {
    expect(allows({ ...good, not_on_weekends: true })).toBe(false);
    expect(allows({ ...good, locations: ['https://elsewhere.example.com'] })).toBe(false);
  });

  it('with a member that is null can not be judged at all', () => {
    for (const details of [
      { ...good, not_on_weekends: null },
      { ...good, actions: ['transfer', null] },
    ]) {
      const context = contextWith({ token: { claims: { authorization_details: [details] } } });
      expect(context.unfit).toContain('token.authorization_details');
    }
  });

  it('are not put together: each entry stands for itself', () => {
    expect(allows({ ...good, actions: ['read'] }, { ...good, limit: 1 })).toBe(false);
    expect(allows({ ...good, type: 'other' }, { ...good, not_on_weekends: true })).toBe(false);
  });

  it('that leave out what the rule asks for are an error, and so a deny', () => {
    expect(() => allows({ type: 'payment', actions: ['transfer'] })).toThrow('could not be evaluated');
    expect(() => allows({ ...good, limit: 'much' })).toThrow('could not be evaluated');
  });

  it('cost little enough to be looked through whole', () => {
    expect(compiled(mayTransfer).cost).toBeLessThan(200_000);
  });
});

describe('roles and the links of a chain', () => {
  it('are there for rules', () => {
    const actors = [
      { iss: 'https://login.example.com', sub: 'agent-7', profile: 'ai_agent', verified: true },
      { iss: 'https://login.example.com', sub: 'agent-1', profile: '', verified: false },
    ];
    const asked = { token: { roles: ['reader'], actors, subjectType: 'user' as const } };
    expect(evaluated('"reader" in token.roles && !("admin" in token.roles)', asked)).toBe(true);
    expect(evaluated('act.chain.exists(a, a.verified && a.sub == "agent-7")', asked)).toBe(true);
    expect(evaluated('act.chain.exists(a, a.verified && a.sub == "agent-1")', asked)).toBe(false);
    expect(evaluated('subject.human && subject.type == "user" && act.depth == 2', asked)).toBe(true);
    expect(contextWith(asked).token.roles).toEqual(['reader']);
  });
});
