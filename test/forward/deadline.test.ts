import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { callAfter } from '../../src/forward/deadline.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('callAfter', () => {
  it.each([1, 1000, 2_147_483_647, 2_147_483_648, 5_000_000_000])('calls once after %d ms, not before', (waitMs) => {
    const act = vi.fn();
    callAfter(waitMs, act);
    vi.advanceTimersByTime(Math.max(0, waitMs - 1));
    expect(act).toHaveBeenCalledTimes(0);
    vi.advanceTimersByTime(1);
    expect(act).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(5_000_000_000);
    expect(act).toHaveBeenCalledTimes(1);
  });

  it('does not call when it was called off, in its last stretch or before', () => {
    const act = vi.fn();
    callAfter(1000, act)();
    const cancel = callAfter(3_000_000_000, act);
    vi.advanceTimersByTime(2_500_000_000);
    cancel();
    vi.advanceTimersByTime(5_000_000_000);
    expect(act).not.toHaveBeenCalled();
  });

  it('takes a moment that has passed for now', () => {
    const act = vi.fn();
    callAfter(-5, act);
    vi.advanceTimersByTime(1);
    expect(act).toHaveBeenCalledTimes(1);
  });
});
