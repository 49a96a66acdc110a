/** Requests and revocations to begin with. */

import type { CheckRequest, MeterHit, RevocationEntry } from '../../src/store/port.ts';

/** The time of every request here, so that no test depends on when it runs. */
export const nowMs = 1_800_000_000_000;

export const windowMs = 60_000;

export function request(more: Partial<CheckRequest> = {}): CheckRequest {
  return { nowMs, handles: [], issuedAtMs: nowMs - 60_000, singleUse: null, meters: [], ...more };
}

export function meter(more: Partial<MeterHit> = {}): MeterHit {
  return { key: 'calls:agent-7', windowMs, cost: 1, ...more };
}

export function proof(key: string, lifetimeMs = 60_000): NonNullable<CheckRequest['singleUse']> {
  return { key, lifetimeMs, madeAtMs: nowMs };
}

/** What a listing of everything begins with. */
export const firstPage = { nowMs, limit: 1000, cursor: null };

export function revocation(more: Partial<RevocationEntry> = {}): RevocationEntry {
  return {
    id: 'r-1',
    handle: '["agent","agent-7"]',
    kind: 'agent',
    value: 'agent-7',
    issuer: null,
    issuedBeforeMs: null,
    reason: 'key lost',
    author: 'security',
    createdAtMs: nowMs,
    expiresAtMs: null,
    ...more,
  };
}
