import { describe, expect, it } from 'vitest';
import { createInTurn } from '../../src/identify/in-turn.ts';

describe('createInTurn', () => {
  it('runs the verifications of one turn in a row, before anything that waits for one of them', async () => {
    const inTurn = createInTurn();
    const order: string[] = [];
    const verification = async (name: string, isGood: boolean) => {
      const answer = await inTurn(() => {
        order.push(`verify ${name}`);
        return isGood;
      });
      order.push(`then ${name}`);
      return answer;
    };
    expect(await Promise.all([verification('a', true), verification('b', false)])).toEqual([true, false]);
    expect(order).toEqual(['verify a', 'verify b', 'then a', 'then b']);
  });

  it('rejects the one that throws, and answers the others', async () => {
    const inTurn = createInTurn();
    const fault = new Error('a key that OpenSSL cannot use');
    const answers = await Promise.allSettled([
      inTurn(() => {
        throw fault;
      }),
      inTurn(() => true),
    ]);
    expect(answers).toEqual([
      { status: 'rejected', reason: fault },
      { status: 'fulfilled', value: true },
    ]);
  });

  it('takes what comes after a turn into the next', async () => {
    const inTurn = createInTurn();
    expect(await inTurn(() => true)).toBe(true);
    expect(await inTurn(() => false)).toBe(false);
  });
});
