/** The one thing that tests fake. */

export type TestClock = {
  (): number;
  advance(ms: number): void;
};

/** Stands still, at a whole second, until it is advanced. */
export function createTestClock(startMs = 1_790_000_000_000): TestClock {
  let nowMs = startMs;
  return Object.assign(() => nowMs, {
    advance(ms: number) {
      nowMs += ms;
    },
  });
}
