import { describe, expect, it } from 'vitest';
import { createRecent } from '../../src/record/recent.ts';

describe('recent decisions', () => {
  it('are found by their id, the latest so many of them', () => {
    const recent = createRecent(3);
    for (const id of ['a', 'b', 'c', 'd']) recent.add(id, `line ${id}`);
    expect(['a', 'b', 'c', 'd'].map((id) => recent.find(id))).toEqual([null, 'line b', 'line c', 'line d']);
  });

  it('are not found by an id that was never given, nor by the empty one', () => {
    const recent = createRecent(2);
    recent.add('a', 'line a');
    expect(recent.find('')).toBeNull();
    expect(recent.find('b')).toBeNull();
  });
});
