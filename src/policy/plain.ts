/** CEL values as JSON has them: for people, for comparison with what a test expects, and for records. */

/** Undefined where there is no value, or one that JSON has no form for. */
export function plainOf(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : value.toISOString();
  if (isDuration(value)) return `${Number(value.seconds) + value.nanos / 1e9}s`;
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, member]) => [name, plainOf(member)]));
  if (Array.isArray(value)) return value.map((item) => plainOf(item));
  // What is left of objects are records (variables.ts), whose fields are all their own, and address ranges.
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plainOf(member)]));
  }
  return typeof value === 'function' || typeof value === 'symbol' ? undefined : value;
}

/** The engine keeps its class of durations to itself. */
function isDuration(value: unknown): value is { readonly seconds: bigint; readonly nanos: number } {
  if (typeof value !== 'object' || value === null || !('seconds' in value) || !('nanos' in value)) return false;
  return typeof value.seconds === 'bigint' && typeof value.nanos === 'number';
}
