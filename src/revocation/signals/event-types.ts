/** Security event types that are known, and what each asks for (CAEP 1.0, RISC 1.0, SSF 1.0; all Final 2025). */

import type { EventPayload } from './security-event.ts';

/**
 * What an event asks for. `end_tokens`: tokens issued before it are no longer good; a new login is. `disable`: no
 * token of the subject is good, nor of the agents that it owns. `enable`: takes that back. `verify` and `note_stream`:
 * nothing but to say so.
 */
export type Demand = 'end_tokens' | 'disable' | 'enable' | 'verify' | 'note_stream' | 'ignore';

export type EventType = { readonly name: string; readonly demand: (payload: EventPayload) => Demand };

const caep = 'https://schemas.openid.net/secevent/caep/event-type/';
const risc = 'https://schemas.openid.net/secevent/risc/event-type/';
const ssf = 'https://schemas.openid.net/secevent/ssf/event-type/';

const always = (demand: Demand) => () => demand;

/** Ends tokens, except where the event says plainly that things got better. Doubt revokes. */
const unless =
  (member: string, ...harmless: readonly string[]) =>
  (payload: EventPayload): Demand => {
    const value = payload[member];
    return typeof value === 'string' && harmless.includes(value) ? 'ignore' : 'end_tokens';
  };

const rows: readonly (readonly [string, string, EventType['demand']])[] = [
  // CAEP §3.1-3.3. Only a credential that is new leaves the others as good as they were.
  [caep, 'session-revoked', always('end_tokens')],
  [caep, 'token-claims-change', always('end_tokens')],
  [caep, 'credential-change', unless('change_type', 'create')],
  // CAEP §3.4-3.8.
  [caep, 'assurance-level-change', unless('change_direction', 'increase')],
  [caep, 'device-compliance-change', unless('current_status', 'compliant')],
  [caep, 'risk-level-change', unless('current_level', 'LOW', 'MEDIUM')],
  [caep, 'session-established', always('ignore')],
  [caep, 'session-presented', always('ignore')],
  // RISC §2.
  [risc, 'account-disabled', always('disable')],
  [risc, 'account-purged', always('disable')],
  [risc, 'account-enabled', always('enable')],
  [risc, 'account-credential-change-required', always('end_tokens')],
  [risc, 'credential-compromise', always('end_tokens')],
  [risc, 'sessions-revoked', always('end_tokens')],
  // The identifier is another's from now on, so that what was issued for it before is not the new holder's.
  [risc, 'identifier-recycled', always('end_tokens')],
  [risc, 'identifier-changed', always('ignore')],
  [risc, 'opt-in', always('ignore')],
  [risc, 'opt-out-initiated', always('ignore')],
  [risc, 'opt-out-cancelled', always('ignore')],
  [risc, 'opt-out-effective', always('ignore')],
  [risc, 'recovery-activated', always('ignore')],
  [risc, 'recovery-information-changed', always('ignore')],
  // SSF §8.1.4, §8.1.5.
  [ssf, 'verification', always('verify')],
  [ssf, 'stream-updated', always('note_stream')],
];

/** By URI, exactly. */
export const eventTypes: ReadonlyMap<string, EventType> = new Map(
  rows.map(([base, name, demand]) => [`${base}${name}`, { name, demand }]),
);

/** For the metric: names of types, and what stands for all that are not known. */
export const otherEvent = 'other';
