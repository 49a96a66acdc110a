import { describe, expect, it } from 'vitest';
import { createClosers, runOnce } from '../src/lifecycle.ts';

describe('closers', () => {
  it('close what was opened last first, each before the next, and go on past one that fails', async () => {
    const order: string[] = [];
    const faults: unknown[] = [];
    const bug = new Error('does not close');
    const closers = createClosers((fault) => faults.push(fault));
    closers.add(() => order.push('first'));
    closers.add(async () => {
      throw bug;
    });
    closers.add(async () => {
      await Promise.resolve();
      order.push('last');
    });
    await closers.closeAll();
    expect({ order, faults }).toEqual({ order: ['last', 'first'], faults: [bug] });
    await closers.closeAll();
    expect(order).toHaveLength(2);
  });
});

describe('runOnce', () => {
  it('does the work once, and everybody waits for it', async () => {
    let count = 0;
    const gate = Promise.withResolvers<void>();
    const work = runOnce(() => {
      count += 1;
      return gate.promise;
    });
    const both = Promise.all([work(), work()]);
    gate.resolve();
    await both;
    await work();
    expect(count).toBe(1);
  });
});
