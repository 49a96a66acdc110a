/** What is remembered of names and destinations: 32 bits under a secret key, never the value. */

import { createHmac } from 'node:crypto';
import { LRUCache } from 'lru-cache';

/** Text in, an unsigned 32-bit hash out. */
export type KeyedHash = (text: string) => number;

/** Names of actions whose hash is kept at hand. */
const actionsMax = 4096;

/**
 * HalfSipHash-2-4 over UTF-16 code units: without the key nobody can say which value a hash stands for, nor find two
 * values that share one. Replicas and restarts need the same secret to agree on what they remember.
 */
export function createKeyedHash(secret: Uint8Array, purpose: string): KeyedHash {
  const key = createHmac('sha256', secret).update(`postern drift ${purpose}`).digest();
  const key0 = key.readUInt32LE(0);
  const key1 = key.readUInt32LE(4);
  return (text) => halfSipHash(key0, key1, text);
}

/** As createKeyedHash, for names that come again with nearly every request. Never gives 0, which marks an empty cell. */
export function createActionHash(secret: Uint8Array): {
  readonly of: KeyedHash;
  readonly nameOf: (hash: number) => string | undefined;
  readonly names: () => readonly string[];
} {
  const hash = createKeyedHash(secret, 'action');
  const hashes = new LRUCache<string, number>({ max: actionsMax });
  const names = new LRUCache<number, string>({ max: actionsMax });
  return {
    of: (text) => {
      let value = hashes.get(text);
      if (value === undefined) {
        value = hash(text) || 1;
        hashes.set(text, value);
        names.set(value, text);
      }
      return value;
    },
    nameOf: (value) => names.get(value),
    names: () => [...hashes.keys()],
  };
}

/** Spreads two hashes into one; not keyed, since both are. */
export function mix(left: number, right: number): number {
  let value = Math.imul(left ^ ((right << 13) | (right >>> 19)), 0x85ebca6b) ^ right;
  value = Math.imul(value ^ (value >>> 15), 0xc2b2ae35);
  value = Math.imul(value ^ (value >>> 13), 0x27d4eb2f);
  return (value ^ (value >>> 16)) >>> 0;
}

function halfSipHash(key0: number, key1: number, text: string): number {
  let v0 = key0;
  let v1 = key1;
  let v2 = 0x6c796765 ^ key0;
  let v3 = 0x74656462 ^ key1;
  const pairs = text.length >> 1;
  // One word more than the text holds: its end and length; then four rounds without a word.
  for (let index = 0; index <= pairs + 1; index++) {
    let word = 0;
    let rounds = 2;
    if (index < pairs) word = text.charCodeAt(index * 2) | (text.charCodeAt(index * 2 + 1) << 16);
    else if (index === pairs) word = (text.length << 24) | (text.length & 1 ? text.charCodeAt(text.length - 1) : 0);
    else {
      v2 ^= 0xff;
      rounds = 4;
    }
    v3 ^= word;
    for (let round = 0; round < rounds; round++) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    v0 ^= word;
  }
  return (v1 ^ v3) >>> 0;
}
