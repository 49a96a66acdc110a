/** Text from security events, made fit for reasons and logs: it is from outside, and from people. */

import { isJsonObject } from '../../strict-json.ts';
import type { SecurityEvent } from './security-event.ts';

const textCharsMax = 200;
const jtiCharsShown = 128;

/** What a revocation says about why: the event, when it happened, its token, and what the administrator has put in. */
export function reasonFor(name: string, { happenedAtMs, payload }: SecurityEvent, jti: string): string {
  const stated = statedText(payload.reason_admin) || statedText(payload.reason_user);
  const what = `${name} of ${new Date(happenedAtMs).toISOString()}, jti ${clean(jti, jtiCharsShown)}`;
  return stated === '' ? what : `${what}: ${stated}`;
}

/** When the event happened that an entry with this reason is from; the store keeps it nowhere else. Null for others. */
export function eventTimeOf(reason: string): number | null {
  const stated = /^[a-z-]{1,64} of (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z), jti /.exec(reason)?.[1];
  const timeMs = stated === undefined ? Number.NaN : Date.parse(stated);
  return Number.isNaN(timeMs) ? null : timeMs;
}

/** CAEP §2: text by language, or as older transmitters have it, text. The empty text where there is none. */
export function statedText(value: unknown): string {
  if (typeof value === 'string') return clean(value, textCharsMax);
  if (!isJsonObject(value)) return '';
  const text = value.en ?? Object.values(value)[0];
  return typeof text === 'string' ? clean(text, textCharsMax) : '';
}

/** Without what controls terminals, lines or the direction of writing, and not too long. */
function clean(text: string, charsMax: number): string {
  const shown = text
    .slice(0, charsMax * 2)
    .replace(/[\p{C}\p{Z}]+/gu, ' ')
    .trim();
  return shown.length > charsMax ? `${shown.slice(0, charsMax)}…` : shown;
}
