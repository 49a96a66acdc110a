/**
 * Nonces for proofs (RFC 9449 §9), without state: each is an HMAC of the time step that it belongs to, so every replica
 * with the same secret hands out and accepts the same ones.
 */

import { createHmac } from 'node:crypto';
import { Fault } from '../errors.ts';
import { equalInConstantTime } from './encoding.ts';

export type Nonces = {
  /** The nonce to hand out: the newest, accepted for the next two to three steps. */
  issue(): string;
  /** Which step a client's nonce belongs to, or null where it is not, or no longer, one of ours. */
  check(nonce: string): 'previous' | 'current' | 'next' | null;
};

export type NoncesOptions = {
  /** 32 bytes or more, the same on every replica. */
  readonly secret: Uint8Array;
  readonly clock: () => number;
  readonly stepMs?: number;
};

const secretBytesMin = 32;

/** Makes nonces that change with every step, 60 seconds by default. */
export function createNonces({ secret, clock, stepMs = 60_000 }: NoncesOptions): Nonces {
  if (secret.length < secretBytesMin) {
    throw new Fault('nonce_secret', `The nonce secret has ${secret.length} bytes; give it ${secretBytesMin} or more.`);
  }
  // The label keeps these apart from anything else that may ever be made with the same secret.
  const nonceOf = (step: number) =>
    createHmac('sha256', secret).update(`postern dpop nonce ${step}`).digest('base64url');
  let nonces = { step: Number.NaN, previous: '', current: '', next: '' };
  function now() {
    const step = Math.floor(clock() / stepMs);
    if (step !== nonces.step) {
      nonces = { step, previous: nonceOf(step - 1), current: nonceOf(step), next: nonceOf(step + 1) };
    }
    return nonces;
  }
  return {
    issue: () => now().next,
    check(nonce) {
      const { previous, current, next } = now();
      // All three are compared, whichever matches, so that time tells nothing.
      const isPrevious = equalInConstantTime(nonce, previous);
      const isCurrent = equalInConstantTime(nonce, current);
      const isNext = equalInConstantTime(nonce, next);
      return isCurrent ? 'current' : isNext ? 'next' : isPrevious ? 'previous' : null;
    },
  };
}
