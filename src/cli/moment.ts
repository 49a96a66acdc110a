/** Times on the command line. */

import { parseDuration } from '../config/units.ts';
import { Fault } from '../errors.ts';

/** A duration before now, or an RFC 3339 time, as records have times. Throws a Fault that names the option. */
export function momentOf(option: string, text: string, nowMs: number): string {
  const duration = parseDuration(text);
  const time = duration === null ? Date.parse(text) : nowMs - duration;
  if ((duration !== null || /^\d{4}-\d\d-\d\d(T|$)/.test(text)) && !Number.isNaN(new Date(time).getTime())) {
    return new Date(time).toISOString();
  }
  throw new Fault('usage', `${option} takes a duration such as 24h, or a time such as 2026-11-30T12:00:00Z`);
}
