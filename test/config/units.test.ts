import { describe, expect, it } from 'vitest';
import { duration, parseDuration, parseSize, size } from '../../src/config/units.ts';

describe('durations', () => {
  it.each([
    ['300ms', 300],
    ['60s', 60_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['30d', 2_592_000_000],
    ['0s', 0],
  ])('%s', (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  it.each(['', '5', 's', '1.5s', '-1s', ' 1s', '1s ', '1 s', '1S', '1M', '1w', '1e3s', '1234567890s', '１s', '1s\n'])(
    'refuses %j',
    (text) => {
      expect(parseDuration(text)).toBeNull();
    },
  );

  it('lie between bounds, both included', () => {
    const schema = duration('5ms', '10s');
    for (const text of ['5ms', '10s', '10000ms']) expect(schema.safeParse(text).success).toBe(true);
    for (const value of ['4ms', '10001ms', '1m', 5, null]) expect(schema.safeParse(value).success).toBe(false);
  });
});

describe('sizes', () => {
  it.each([
    ['0B', 0],
    ['512B', 512],
    ['16KiB', 16_384],
    ['1MiB', 1_048_576],
    ['2GiB', 2_147_483_648],
  ])('%s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', '5', 'KiB', '1KB', '1kib', '1.5MiB', '-1B', ' 1B', '1 B'])('refuses %j', (text) => {
    expect(parseSize(text)).toBeNull();
  });

  it('lie between bounds, both included', () => {
    const schema = size('1KiB', '1MiB');
    for (const text of ['1KiB', '1024B', '1MiB']) expect(schema.safeParse(text).success).toBe(true);
    for (const value of ['1023B', '1048577B', '1GiB', 1024]) expect(schema.safeParse(value).success).toBe(false);
  });
});
