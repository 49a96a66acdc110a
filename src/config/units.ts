/** Durations and sizes as people write them. */

import { z } from 'zod';

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const sizeUnits: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** `300ms`, `60s`, `5m`, `1h`, `30d`; null where the text is none of these. Milliseconds. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
  return match === null ? null : Number(match[1]) * (durationUnits[match[2] ?? ''] ?? Number.NaN);
}

/** `512B`, `16KiB`, `1MiB`; null where the text is none of these. Bytes. */
export function parseSize(text: string): number | null {
  const match = /^(\d{1,9})(B|KiB|MiB|GiB)$/.exec(text);
  return match === null ? null : Number(match[1]) * (sizeUnits[match[2] ?? ''] ?? Number.NaN);
}

/** A duration in milliseconds, between two bounds written the same way. */
export function duration(least: string, most: string) {
  return z
    .string({ error: 'must be a duration such as 300ms, 60s, 5m, 1h or 30d' })
    .meta({
      pattern: '^\\d{1,9}(ms|s|m|h|d)$',
      description: `A duration from ${least} to ${most}, such as 300ms, 60s, 5m`,
    })
    .transform((text, context) =>
      measure(text, parseDuration, [least, most], 'a duration such as 300ms, 60s or 5m', context),
    );
}

/** A size in bytes, between two bounds written the same way. */
export function size(least: string, most: string) {
  return z
    .string({ error: 'must be a size such as 512B, 16KiB or 1MiB' })
    .meta({ pattern: '^\\d{1,9}(B|KiB|MiB|GiB)$', description: `A size from ${least} to ${most}, such as 16KiB` })
    .transform((text, context) =>
      measure(text, parseSize, [least, most], 'a size such as 512B, 16KiB or 1MiB', context),
    );
}

function measure(
  text: string,
  parse: (text: string) => number | null,
  [least, most]: readonly [string, string],
  form: string,
  context: z.RefinementCtx,
): number {
  const value = parse(text);
  if (value === null) {
    context.addIssue({ code: 'custom', message: `must be ${form}` });
    return z.NEVER;
  }
  if (value < (parse(least) ?? 0) || value > (parse(most) ?? 0)) {
    context.addIssue({ code: 'custom', message: `must be from ${least} to ${most}` });
    return z.NEVER;
  }
  return value;
}
