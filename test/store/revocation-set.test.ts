import { describe, expect, test } from 'vitest';
import { createRevocationSet, entriesOfHandleMax } from '../../src/store/revocation-set.ts';
import { nowMs, revocation } from './samples.ts';

describe('a revocation set', () => {
  test('forgets what has expired, and tells whom', () => {
    const set = createRevocationSet(10);
    set.put(revocation({ id: 'r-1', handle: 'a', expiresAtMs: nowMs + 1000 }));
    set.put(revocation({ id: 'r-2', handle: 'a', issuedBeforeMs: nowMs }));
    set.put(revocation({ id: 'r-3', handle: 'b' }));
    const forgotten: string[] = [];
    set.sweep(nowMs + 999, ({ id }) => forgotten.push(id));
    expect(forgotten).toEqual([]);
    set.sweep(nowMs + 1500, ({ id }) => forgotten.push(id));
    expect(forgotten).toEqual(['r-1']);
    expect([set.size(), set.ofHandle('a').map(({ id }) => id), set.find('r-1')]).toEqual([2, ['r-2'], null]);
    expect(set.firstRevoked(['a'], nowMs, nowMs)).toBe(-1);
    expect(set.firstRevoked(['a'], nowMs - 1, nowMs)).toBe(0);
  });

  test('takes the same entry twice as once', () => {
    const set = createRevocationSet(1);
    const entry = revocation({ id: 'r-1', handle: 'a', expiresAtMs: nowMs + 1000 });
    expect([set.put(entry), set.put(entry), set.size()]).toEqual([[], [], 1]);
    expect(set.remove('r-1')).toBe(entry);
    expect([set.size(), set.remove('r-1'), set.ofHandle('a')]).toEqual([0, null, []]);
  });

  test('keeps entries of a handle that do not cover each other up to a bound, and refuses more', () => {
    const set = createRevocationSet(1000);
    const entryOf = (index: number) =>
      revocation({ id: `r-${index}`, handle: 'a', issuedBeforeMs: nowMs + index, expiresAtMs: nowMs + 5000 - index });
    for (let index = 0; index < entriesOfHandleMax; index++) expect(set.put(entryOf(index))).toEqual([]);
    expect(set.put(entryOf(entriesOfHandleMax))).toBeNull();
    // One that covers all of them is no further one.
    expect(set.put(revocation({ id: 'r-all', handle: 'a', issuedBeforeMs: nowMs + 9000 }))).toHaveLength(
      entriesOfHandleMax,
    );
    expect(set.size()).toBe(1);
  });
});
