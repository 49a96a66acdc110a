/** What Postern decides about one request. To deny is to decide no; refuse.ts turns a Deny into an answer. */

import type { AccessToken } from './exchange.ts';

/** Every reason there is. The compiler holds refuse.ts to this list, and a test holds the README to it. */
export const reasons = [
  'request_malformed',
  'target_ambiguous',
  'body_malformed',
  'token_missing',
  'token_invalid',
  'token_expired',
  'token_revoked',
  'key_mismatch',
  'proof_missing',
  'proof_invalid',
  'proof_replayed',
  'proof_nonce_required',
  'step_up_required',
  'audience_mismatch',
  'scope_insufficient',
  'no_matching_rule',
  'rule_denied',
  'drift_blocked',
  'policy_error',
  'reason_required',
  'no_route',
  'method_not_allowed',
  'request_timeout',
  'body_too_large',
  'target_too_long',
  'headers_too_large',
  'rate_limited',
  'internal_error',
  'upstream_failed',
  'upstream_auth_failed',
  'credential_leak_blocked',
  'upstream_timeout',
  'store_unavailable',
  'issuer_unavailable',
  'credential_unavailable',
  'audit_unavailable',
  'draining',
] as const;

export type Reason = (typeof reasons)[number];

export type Effect = 'allow' | 'deny' | 'throttle' | 'challenge';
export type Mode = 'enforce' | 'shadow';

/** A rule that matched this request, or whose evaluation failed. */
export type RuleMatch = {
  readonly id: string;
  readonly effect: Effect;
  readonly mode: Mode;
  readonly failed: boolean;
  /** Of a shadow rule: what the call would have got if this rule alone were enforced. */
  readonly would?: Effect | undefined;
};

/** What a call would have got if every shadow rule were enforced. */
export type Would = { readonly effect: Effect; readonly reason: Reason | null; readonly rule: string | null };

export type Allow = {
  readonly effect: 'allow';
  /** Id of the first matching allow rule in file order; `postern:shadow` where only shadow mode let the call pass. */
  readonly rule: string;
  readonly matches: readonly RuleMatch[];
  /** Where it differs from this decision. */
  readonly would?: Would | undefined;
};

/** Which challenge schemes an answer carries, and what goes into them (STANDARDS: RFC 9449 §7.1, RFC 6750 §3). */
export type ChallengeHint = {
  /** The scheme that the client used; the error goes on this one. */
  readonly scheme?: 'DPoP' | 'Bearer' | undefined;
  /** Space-separated scopes that would have been enough (RFC 6750 §3). */
  readonly scope?: string | undefined;
  /** RFC 9470 §3: authentication context classes, and how old the login may be, in seconds. */
  readonly acrValues?: string | undefined;
  readonly maxAgeSeconds?: number | undefined;
};

export type Deny = {
  readonly effect: 'deny';
  readonly reason: Reason;
  /** What the agent can do about it. Fixed text of ours or a rule's message: never text from the request. */
  readonly detail?: string | undefined;
  /** For the audit record only: what exactly failed. Never a token, proof or credential. */
  readonly cause?: string | undefined;
  /** The verified token that came with the request. Whom it names is not proven to be who sent it. For the record only. */
  readonly presented?: AccessToken | undefined;
  readonly rule?: string | undefined;
  readonly matches?: readonly RuleMatch[] | undefined;
  /** Where it differs from this decision. */
  readonly would?: Would | undefined;
  readonly challenge?: ChallengeHint | undefined;
  /** A nonce for the client's next proof (RFC 9449 §9). */
  readonly nonce?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
  /** Methods that the route does take, for the Allow field of a 405 (RFC 9110 §15.5.6). */
  readonly allowedMethods?: readonly string[] | undefined;
  /** The connection can't be trusted to be in step and is closed after the answer. */
  readonly close?: boolean | undefined;
};

export type Decision = Allow | Deny;

/** Builds a Deny. Everything but the reason is optional. */
export function deny(reason: Reason, more: Omit<Deny, 'effect' | 'reason'> = {}): Deny {
  return { effect: 'deny', reason, ...more };
}

/** Tells a stage's refusal from its result. */
export function isDeny(value: object): value is Deny {
  return 'effect' in value && value.effect === 'deny';
}
