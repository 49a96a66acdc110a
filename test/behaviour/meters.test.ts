import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createMeasure, type Meter } from '../../src/behaviour/meters.ts';

type Context = { readonly agent: string };

const by = { evaluate: ({ agent }: Context): unknown => agent };
const one = { evaluate: (): unknown => 1n };
const failing = {
  evaluate: (): unknown => {
    throw new RangeError('no such key');
  },
};
const calls: Meter<Context> = { name: 'calls', windowMs: 60_000, by, cost: one };
const costing = (cost: unknown) => createMeasure([{ ...calls, cost: { evaluate: () => cost } }])({ agent: 'a' });

describe('createMeasure', () => {
  it('gives one hit a meter, in order', () => {
    const spend = { name: 'spend', windowMs: 1000, by, cost: { evaluate: () => 5n } };
    const digest = createHash('sha256').update('agent-7').digest('base64url').slice(0, 22);
    expect(createMeasure([calls, spend])({ agent: 'agent-7' })).toEqual([
      { name: 'calls', key: `calls:${digest}`, windowMs: 60_000, cost: 1 },
      { name: 'spend', key: `spend:${digest}`, windowMs: 1000, cost: 5 },
    ]);
    expect(createMeasure([])({ agent: 'agent-7' })).toEqual([]);
  });

  it('makes keys that hold nothing of the identity and are safe in a store', () => {
    const measure = createMeasure([calls]);
    for (const agent of ['', '{a}:b\r\n*', 'x'.repeat(10_000), 'é😀']) {
      expect(measure({ agent })).toEqual([
        expect.objectContaining({ key: expect.stringMatching(/^calls:[\w-]{22}$/) }),
      ]);
    }
    expect(measure({ agent: 'a' })).not.toEqual(measure({ agent: 'b' }));
  });

  it.each([0n, 1_000_000_000n])('takes a cost of %s', (cost) => {
    expect(costing(cost)).toMatchObject([{ cost: Number(cost) }]);
  });

  it.each([-1n, 1_000_000_001n, 1, 1.5, '1', null])('denies a cost of %s', (cost) => {
    expect(costing(cost)).toMatchObject({ effect: 'deny', reason: 'policy_error' });
  });

  it('denies where an expression fails or names nobody', () => {
    for (const meter of [
      { ...calls, by: failing },
      { ...calls, cost: failing },
      { ...calls, by: { evaluate: () => 7n } },
    ]) {
      const denied = createMeasure([calls, meter])({ agent: 'secret-agent' });
      expect(denied).toMatchObject({ effect: 'deny', reason: 'policy_error' });
      expect(JSON.stringify(denied)).not.toContain('secret-agent');
    }
  });
});
