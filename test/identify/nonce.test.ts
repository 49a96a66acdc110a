import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/errors.ts';
import { createNonces } from '../../src/identify/nonce.ts';
import { createTestClock } from '../support/clock.ts';

const secret = Buffer.alloc(32, 7);

describe('createNonces', () => {
  it('hands out one nonce a step, of characters that RFC 9449 §8.1 allows', () => {
    const clock = createTestClock(60_000 * 1_000_000);
    const nonces = createNonces({ secret, clock });
    const first = nonces.issue();
    expect(first).toMatch(/^[\x21\x23-\x5b\x5d-\x7e]{43}$/);
    clock.advance(59_999);
    expect(nonces.issue()).toBe(first);
    clock.advance(1);
    expect(nonces.issue()).not.toBe(first);
  });

  it('takes the previous, the current and the next one', () => {
    const clock = createTestClock();
    const nonces = createNonces({ secret, clock, stepMs: 1000 });
    const nonce = nonces.issue();
    const answers = [0, 1, 2, 3].map(() => {
      const answer = nonces.check(nonce);
      clock.advance(1000);
      return answer;
    });
    expect(answers).toEqual(['next', 'current', 'previous', null]);
    clock.advance(-5000);
    expect(nonces.check(nonce)).toBeNull();
  });

  it('takes the nonces of another replica with the same secret, and of no other secret', () => {
    const clock = createTestClock();
    const nonce = createNonces({ secret, clock }).issue();
    expect(createNonces({ secret: Buffer.from(secret), clock }).check(nonce)).toBe('next');
    expect(createNonces({ secret: Buffer.alloc(32, 8), clock }).check(nonce)).toBeNull();
  });

  it.each(['', 'x', 'x'.repeat(43), 'x'.repeat(4000), 'ü'.repeat(43)])('does not take %j', (nonce) => {
    expect(createNonces({ secret, clock: createTestClock() }).check(nonce)).toBeNull();
  });

  it('wants a secret of 32 bytes', () => {
    expect(() => createNonces({ secret: Buffer.alloc(31), clock: createTestClock() })).toThrow(Fault);
  });
});
