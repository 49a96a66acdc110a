import { describe, expect, it } from 'vitest';
import { type Deny, deny, type Reason, reasons } from '../src/decision.ts';
import type { PossessionMethod } from '../src/exchange.ts';
import { createRefusal } from '../src/refuse.ts';

const refusal = createRefusal({
  proofAlgorithms: ['ES256', 'EdDSA'],
  accepts: ['dpop'],
  discardBytesMax: 0,
  discardMs: 0,
  takeMs: 1000,
});
const algs = 'algs="ES256 EdDSA"';

function challengesOf(denied: Deny, accepts: readonly PossessionMethod[] = ['dpop']): readonly string[] {
  return refusal(denied, 'id-1', { accepts }).fields.flatMap(([name, value]) =>
    name === 'www-authenticate' ? [value] : [],
  );
}

const fieldOf = (denied: Deny, name: string) =>
  refusal(denied, 'id-1').fields.find(([candidate]) => candidate === name)?.[1];

// DESIGN and RFC 9110 §15, by hand: a row that moves must be moved here too.
const statuses: Readonly<Record<Reason, number>> = {
  request_malformed: 400,
  target_ambiguous: 400,
  body_malformed: 400,
  token_missing: 401,
  token_invalid: 401,
  token_expired: 401,
  token_revoked: 401,
  key_mismatch: 401,
  proof_missing: 401,
  proof_invalid: 401,
  proof_replayed: 401,
  proof_nonce_required: 401,
  step_up_required: 401,
  audience_mismatch: 401,
  scope_insufficient: 403,
  no_matching_rule: 403,
  rule_denied: 403,
  drift_blocked: 403,
  policy_error: 403,
  reason_required: 403,
  no_route: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  body_too_large: 413,
  target_too_long: 414,
  headers_too_large: 431,
  rate_limited: 429,
  internal_error: 500,
  upstream_failed: 502,
  upstream_auth_failed: 502,
  credential_leak_blocked: 502,
  upstream_timeout: 504,
  store_unavailable: 503,
  issuer_unavailable: 503,
  credential_unavailable: 503,
  audit_unavailable: 503,
  draining: 503,
};

describe.each(reasons)('the answer to %s', (reason) => {
  const { status, fields, body } = refusal(deny(reason, { cause: 'for the record only', rule: 'rule-1' }), 'id-1');

  it('has its status, and a problem+json body that says what to do', () => {
    expect(status).toBe(statuses[reason]);
    const problem = JSON.parse(body) as Record<string, unknown>;
    expect(problem).toEqual({
      type: `urn:postern:reason:${reason}`,
      title: expect.stringMatching(/^[A-Z].{5,}[^.]$/),
      status,
      reason,
      detail: expect.stringMatching(/^[A-Z].{10,}\.$/),
      decision_id: 'id-1',
      rule: 'rule-1',
    });
    expect(body).not.toContain('for the record only');
  });

  it('is framed, named, typed and kept out of caches', () => {
    const given = new Map(fields);
    expect(given.get('content-type')).toBe('application/problem+json');
    expect(given.get('content-length')).toBe(String(Buffer.byteLength(body)));
    expect(given.get('cache-control')).toBe('no-store');
    expect(given.get('postern-decision')).toBe('id-1');
  });

  it('challenges exactly where other credentials would help', () => {
    const isChallenged = status === 401 || reason === 'scope_insufficient';
    expect(challengesOf(deny(reason))).toHaveLength(isChallenged ? 1 : 0);
  });

  it('says when to come back exactly where that is the remedy', () => {
    const isTemporary = status === 503 || status === 429;
    expect(fieldOf(deny(reason), 'retry-after') !== undefined).toBe(isTemporary);
    expect(fieldOf(deny(reason, { retryAfterSeconds: 7 }), 'retry-after')).toBe('7');
  });
});

describe('challenges', () => {
  it('carry no error where no credentials came, one field line a scheme (RFC 6750 §3.1, RFC 9449 §7.2)', () => {
    const missing = deny('token_missing');
    expect(challengesOf(missing)).toEqual([`DPoP ${algs}`]);
    expect(challengesOf(missing, ['dpop', 'bearer'])).toEqual([`DPoP ${algs}`, 'Bearer']);
    // RFC 8705 §3: certificate-bound tokens come with the Bearer scheme.
    expect(challengesOf(missing, ['mtls'])).toEqual(['Bearer']);
  });

  it.each([
    ['proof_missing', 'invalid_dpop_proof'],
    ['proof_invalid', 'invalid_dpop_proof'],
    ['proof_replayed', 'invalid_dpop_proof'],
    ['proof_nonce_required', 'use_dpop_nonce'],
    ['token_invalid', 'invalid_token'],
    ['token_expired', 'invalid_token'],
    ['token_revoked', 'invalid_token'],
    ['key_mismatch', 'invalid_token'],
    ['audience_mismatch', 'invalid_token'],
    ['scope_insufficient', 'insufficient_scope'],
    ['step_up_required', 'insufficient_user_authentication'],
  ] as const)('name the error of the specification for %s: %s', (reason, error) => {
    const [challenge] = challengesOf(deny(reason));
    expect(challenge).toMatch(new RegExp(`^DPoP error="${error}", error_description="[^"\\\\]+", algs="ES256 EdDSA"$`));
  });

  it('put the error on the scheme that was used, where it is offered (RFC 9449 §7.2)', () => {
    const used = deny('token_invalid', { challenge: { scheme: 'Bearer' } });
    const both = challengesOf(used, ['dpop', 'bearer']);
    expect(both[0]).toMatch(/^Bearer error="invalid_token"/);
    expect(both[1]).toBe(`DPoP ${algs}`);
    expect(challengesOf(used, ['dpop'])).toEqual([expect.stringMatching(/^DPoP error="invalid_token"/)]);
    const dpop = deny('token_invalid', { challenge: { scheme: 'DPoP' } });
    expect(challengesOf(dpop, ['dpop', 'bearer'])).toEqual([expect.stringMatching(/^DPoP error="invalid_token"/)]);
  });

  it('name the scopes, contexts and age that would do (RFC 6750 §3, RFC 9470 §3)', () => {
    const scope = deny('scope_insufficient', { challenge: { scope: 'repo:read repo:write' } });
    expect(challengesOf(scope)[0]).toContain('scope="repo:read repo:write"');
    const stepUp = deny('step_up_required', { challenge: { acrValues: 'urn:a urn:b', maxAgeSeconds: 300 } });
    expect(challengesOf(stepUp)[0]).toContain('acr_values="urn:a urn:b", max_age="300"');
  });

  it('say where the metadata of the route is, on every scheme, and nowhere without a challenge (RFC 9728 §5.1)', () => {
    const resourceMetadata = 'https://a.example/.well-known/oauth-protected-resource/x';
    for (const reason of reasons) {
      const { fields } = refusal(deny(reason), 'id-1', { accepts: ['dpop', 'bearer'], resourceMetadata });
      const challenges = fields.filter(([name]) => name === 'www-authenticate').map(([, value]) => value);
      const bare = challengesOf(deny(reason), ['dpop', 'bearer']);
      const ending = `resource_metadata="${resourceMetadata}"`;
      expect(challenges).toEqual(bare.map((one) => `${one}${one.includes(' ') ? ',' : ''} ${ending}`));
    }
  });

  it('call several credentials at once an invalid_request on every offered scheme (RFC 9449 §7.2)', () => {
    const several = deny('request_malformed', { challenge: {} });
    const challenges = challengesOf(several, ['dpop', 'bearer']);
    expect(challenges.map((challenge) => challenge.split(',')[0])).toEqual([
      'DPoP error="invalid_request"',
      'Bearer error="invalid_request"',
    ]);
    expect(challengesOf(deny('request_malformed'), ['dpop', 'bearer'])).toEqual([]);
  });

  it('come with the nonce for the next proof, once (RFC 9449 §9)', () => {
    const { fields } = refusal(deny('proof_nonce_required', { nonce: 'nonce-1' }), 'id-1');
    expect(fields.filter(([name]) => name === 'dpop-nonce')).toEqual([['dpop-nonce', 'nonce-1']]);
  });

  it('hold nothing that ends a quoted string or a line', () => {
    const [challenge = ''] = challengesOf(deny('rule_denied'));
    expect(challenge).toBe('');
    const told = deny('token_invalid', { detail: 'a "quote", a \\ and a\r\nnew: line, and ü' });
    const [escaped = ''] = challengesOf(told);
    expect(escaped).toContain(`error_description="a 'quote', a ' and a??new: line, and ?"`);
    const { body } = refusal(told, 'id-1');
    expect((JSON.parse(body) as { detail: string }).detail).toBe(told.detail);
  });
});

describe('a 405', () => {
  it('names what is allowed, nothing included (RFC 9110 §15.5.6)', () => {
    expect(fieldOf(deny('method_not_allowed', { allowedMethods: ['GET', 'POST'] }), 'allow')).toBe('GET, POST');
    expect(fieldOf(deny('method_not_allowed', { allowedMethods: [] }), 'allow')).toBe('');
    expect(fieldOf(deny('no_route'), 'allow')).toBeUndefined();
  });
});
