/** What a step of the tour is, and how it tells what it has seen. */

import type { Verdict } from '../agent-verdict.ts';
import type { Reason } from '../decision.ts';
import type { Tour } from './tour-calls.ts';

export type Seen = { readonly seen: string; readonly isAsTold: boolean };

export type TourStep = {
  readonly title: string;
  readonly expected: string;
  readonly run: (tour: Tour) => Promise<Seen>;
};

/** A repository that every agent of the demo may read. */
export const repository = '/repos/acme/site';

export function isAllowed(verdict: Verdict, status: number): boolean {
  return verdict.outcome === 'allowed' && verdict.status === status;
}

export function isDenied(verdict: Verdict, status: number, reason: Reason): boolean {
  return verdict.outcome === 'denied' && verdict.status === status && verdict.reason === reason;
}

export function tell({ status, outcome, reason }: Verdict): string {
  return `${status} ${reason ?? outcome}`;
}
