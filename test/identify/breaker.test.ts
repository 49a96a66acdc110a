import { describe, expect, it } from 'vitest';
import { createBreaker } from '../../src/identify/breaker.ts';
import { createTestClock } from '../support/clock.ts';

function broken(failures: number) {
  const clock = createTestClock();
  const breaker = createBreaker({ clock, failuresMax: 3, firstWaitMs: 1000, longestWaitMs: 4000 });
  for (let count = 0; count < failures; count++) breaker.failed();
  return { clock, breaker };
}

describe('a breaker', () => {
  it('lets questions through until failures come in a row', () => {
    const { breaker } = broken(2);
    expect([breaker.allows(100), breaker.waitMs()]).toEqual([true, 0]);
    breaker.succeeded();
    breaker.failed();
    breaker.failed();
    expect(breaker.allows(0)).toBe(true);
    breaker.failed();
    expect([breaker.allows(0), breaker.waitMs()]).toEqual([false, 1000]);
  });

  it('lets one question through after the wait', () => {
    expect(broken(2).breaker.isOpen()).toBe(false);
    const { clock, breaker } = broken(3);
    expect(breaker.isOpen()).toBe(true);
    clock.advance(999);
    expect(breaker.allows(0)).toBe(false);
    clock.advance(1);
    expect([breaker.allows(0), breaker.allows(1)]).toEqual([true, false]);
  });

  it('waits twice as long with every failed try, up to a bound, and not at all after a good one', () => {
    const { clock, breaker } = broken(3);
    for (const waitMs of [2000, 4000, 4000]) {
      clock.advance(breaker.waitMs());
      breaker.failed();
      expect(breaker.waitMs()).toBe(waitMs);
    }
    clock.advance(4000);
    breaker.succeeded();
    expect(breaker.allows(100)).toBe(true);
  });

  it('counts failures that come in together once', () => {
    const { breaker } = broken(50);
    expect(breaker.waitMs()).toBe(1000);
  });
});
