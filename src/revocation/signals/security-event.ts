/** A Security Event Token (RFC 8417) as the Shared Signals Framework profiles it: its claims, vetted and read. */

import { isJsonObject } from '../../strict-json.ts';

export type EventPayload = Readonly<Record<string, unknown>>;

export type SecurityEvent = {
  /** URI. */
  readonly type: string;
  readonly payload: EventPayload;
  /** RFC 9493 form or a legacy one, unread; undefined where there is none. */
  readonly subject: unknown;
  /** When it happened, in whole milliseconds. */
  readonly happenedAtMs: number;
};

export type SecurityEvents = { readonly jti: string; readonly events: readonly SecurityEvent[] };

/** RFC 8935 §2.4. */
export type SetError =
  | 'invalid_request'
  | 'invalid_key'
  | 'invalid_issuer'
  | 'invalid_audience'
  | 'authentication_failed'
  | 'access_denied';

/** Why a token was not taken. `description` is for its sender and never quotes it. */
export type SetProblem = { readonly err: SetError; readonly description: string };

export type ReadEventsOptions = {
  readonly issuer: string;
  readonly audience: string;
  readonly maxAgeMs: number;
};

const eventsMax = 16;
const audiencesMax = 64;
const jtiCharsMax = 256;
const skewMs = 60_000;
/** Later than this in seconds, or earlier in milliseconds, nobody has meant: early drafts of CAEP used milliseconds. */
const secondsMax = 100_000_000_000;

/** Whom the token is by and for: what can be said before its signature is verified. */
export function audienceProblem(claims: EventPayload, { issuer, audience }: ReadEventsOptions): SetProblem | null {
  // RFC 8417 §2.2: iss is required; the transmitter that was configured and no other.
  if (claims.iss !== issuer)
    return { err: 'invalid_issuer', description: 'iss is not the transmitter that is known here.' };
  // RFC 8417 §2.2, SSF §8.1.1: aud tells streams apart, so that no receiver passes on what it got to another.
  const { aud } = claims;
  const audiences: unknown[] = Array.isArray(aud) ? aud.slice(0, audiencesMax) : [aud];
  if (audiences.includes(audience)) return null;
  return { err: 'invalid_audience', description: 'aud does not contain the audience of this receiver.' };
}

/** The events of a token whose signature is verified, or what is wrong with it. */
export function readEvents(
  claims: EventPayload,
  options: ReadEventsOptions,
  nowMs: number,
): SecurityEvents | SetProblem {
  const { iat, jti, events, sub_id: subjectId } = claims;
  // RFC 8417 §2.2: jti, iat and events are required.
  if (typeof jti !== 'string' || jti === '' || jti.length > jtiCharsMax) return invalid('jti is missing or too long.');
  if (!isTime(iat)) return invalid('iat is not a number.');
  if (iat * 1000 > nowMs + skewMs) return invalid('iat is in the future.');
  // An event token has no exp (SSF §8.1.1), so how long it may be on its way is for the receiver to say.
  if (iat * 1000 < nowMs - options.maxAgeMs) return invalid('iat is too long ago.');
  if (!isJsonObject(events)) return invalid('events is not an object.');
  const entries = Object.entries(events);
  if (entries.length === 0 || entries.length > eventsMax) return invalid('events holds no event, or too many.');
  const read: SecurityEvent[] = [];
  for (const [type, payload] of entries) {
    if (!isJsonObject(payload)) return invalid('An event is not an object.');
    // SSF §8.1.1: sub_id of the token; before it was final, subject of the event.
    const subject = subjectId ?? payload.subject ?? payload.sub_id;
    const happenedAtMs = timeOf(payload, iat, nowMs);
    if (happenedAtMs === null) return invalid('event_timestamp is not a number.');
    read.push({ type, payload, subject, happenedAtMs });
  }
  return { jti, events: read };
}

/** CAEP §2: event_timestamp, else iat. Never in the future, which would revoke tokens that are yet to be issued. */
function timeOf(payload: EventPayload, iat: number, nowMs: number): number | null {
  const { event_timestamp: stated = iat } = payload;
  if (typeof stated !== 'number' || !Number.isFinite(stated) || stated < 0) return null;
  return Math.floor(Math.min(stated >= secondsMax ? stated : stated * 1000, nowMs));
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value < secondsMax;
}

function invalid(description: string): SetProblem {
  return { err: 'invalid_request', description };
}
