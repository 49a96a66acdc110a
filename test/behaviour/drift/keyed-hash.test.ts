import { describe, expect, test } from 'vitest';
import { createKeyedHash } from '../../../src/behaviour/drift/keyed-hash.ts';

const hash = createKeyedHash(Buffer.alloc(32, 3), 'destination');

describe('the hash of a destination', () => {
  test.each([
    ['', 2_265_031_485],
    ['a', 1_453_738_076],
    ['ab', 1_518_116_000],
    ['abc', 816_495_627],
    ['alice@example.com', 2_963_985_883],
    ['\u{1f512} of Žižkov', 3_878_492_904],
  ])('of %j stays what baselines hold', (text, expected) => {
    expect(hash(text)).toBe(expected);
  });
});
