import { describe, expect, test } from 'vitest';
import { StoreFault } from '../../src/errors.ts';
import { createOffboard, isOffboarded, type OffboardedHandle } from '../../src/revocation/offboard.ts';
import { revocation } from '../store/samples.ts';

type Made = Readonly<Record<string, unknown>>;

/** Offboarding whose store takes `taken` entries and then goes away. */
function open({ taken = 100, canRead = true }: { taken?: number; canRead?: boolean } = {}) {
  const made: Made[] = [];
  const offboard = createOffboard({
    async create(body) {
      const named = body as Made;
      if (named.reason === '') return { problems: ['reason must not be empty'] };
      if (made.length >= taken) throw new StoreFault('the store is away');
      made.push(named);
      return [revocation({ id: `id-${made.length}` })];
    },
    async boundTo(agent): Promise<readonly OffboardedHandle[]> {
      if (!canRead) throw new StoreFault('the store is away');
      return [{ jkt: `key of ${agent}` }];
    },
    async agentsOf() {
      return ['one', 'two'];
    },
  });
  return { offboard, made };
}

const of = (result: Awaited<ReturnType<ReturnType<typeof open>['offboard']['agent']>>) => {
  if (!isOffboarded(result)) throw new Error(result.problems.join());
  return result;
};

describe('offboarding', () => {
  test('of an agent revokes it before its keys', async () => {
    const { offboard, made } = open();
    const { entries, left, problem } = of(await offboard.agent('a', 'gone', 'admin'));
    expect(made).toEqual([
      { agent: 'a', reason: 'gone' },
      { jkt: 'key of a', reason: 'gone' },
    ]);
    expect([entries.length, left, problem]).toEqual([2, [], null]);
  });

  test('of a human goes from what is broadest to what is narrowest', async () => {
    const { offboard, made } = open();
    await offboard.owner('alice', 'left', 'admin');
    expect(made.map(({ reason, ...named }) => named)).toEqual([
      { owner: 'alice' },
      { subject: 'alice' },
      { agent: 'one' },
      { agent: 'two' },
      { jkt: 'key of one' },
      { jkt: 'key of two' },
    ]);
  });

  test('that breaks off says what was done and what is left', async () => {
    const { offboard } = open({ taken: 3 });
    const { entries, left, problem } = of(await offboard.owner('alice', 'left', 'admin'));
    expect(entries.map(({ id }) => id)).toEqual(['id-1', 'id-2', 'id-3']);
    expect(left).toEqual([{ agent: 'two' }]);
    expect(problem).toContain('away');
  });

  test('is not complete where nobody can say which keys there are', async () => {
    const { offboard } = open({ canRead: false });
    expect(of(await offboard.agent('a', 'gone', 'admin'))).toMatchObject({
      entries: [{ id: 'id-1' }],
      left: [],
      problem: expect.stringContaining('away'),
    });
  });

  test('is a fault where nothing could be revoked', async () => {
    const { offboard } = open({ taken: 0 });
    await expect(offboard.agent('a', 'gone', 'admin')).rejects.toBeInstanceOf(StoreFault);
  });

  test('is refused for what no revocation would take', async () => {
    const { offboard, made } = open();
    expect(await offboard.agent('a', '', 'admin')).toEqual({ problems: ['reason must not be empty'] });
    expect(made).toEqual([]);
  });
});
