import { describe, expect, it } from 'vitest';
import { actionsMax, createActionTable, findAction, slotForAction } from '../../../src/behaviour/drift/action-table.ts';
import { unit } from '../../../src/behaviour/drift/baseline.ts';
import { createGrowth, isPast, takeRoom, turnHour } from '../../../src/behaviour/drift/growth.ts';
import { createRandom, habit, minuteMs, type Play, play } from './agents.ts';

const hourMs = 60 * minuteMs;
const noLatch = { alarmsMax: Number.POSITIVE_INFINITY };

/** The share of an action in what the agent has learned. */
function shareOf({ agent, drift }: Play, action: string): number {
  const { actions, weight } = agent.view;
  const key = [...actions.keys].find((hash) => drift.nameOf(hash) === action);
  const slot = key === undefined ? -1 : findAction(actions, key);
  return slot === -1 ? 0 : (actions.counts[slot] ?? 0) / weight;
}

/** Percent of scores from 0.99 on. */
const flagged = (scores: readonly number[]) => (100 * scores.filter((score) => score >= 0.99).length) / scores.length;

describe('volume', () => {
  it('makes nothing usual within an hour, nor what the agent always did unusual', () => {
    const own = play(noLatch);
    // Past the warm-up, and too young to be told from others by whole batches.
    own.live(1500);
    const before = own.agent.view.weight;
    for (let index = 0; index < 10_000; index++) own.call('POST /exports', { afterMs: hourMs / 20_000 });
    expect(own.agent.view.samples).toBe(11_500);
    // Of 10,000 calls within half an hour or in two hours each at most 50, with what is unusual learned at a discount.
    expect(own.agent.view.weight - before).toBeLessThanOrEqual(2 * 50 * unit + 50 * unit);
    expect(shareOf(own, 'POST /exports')).toBeLessThan(0.1);
    const random = createRandom(9);
    const habits: number[] = [];
    const exports: number[] = [];
    for (let index = 0; index < 1000; index++) {
      if (index % 50 === 49) exports.push(own.call('POST /exports').score);
      else habits.push(own.call(habit(random)).score);
    }
    expect(flagged(habits)).toBeLessThan(5);
    expect(Math.min(...exports)).toBeGreaterThan(0.8);
  });

  it('lets what comes every day become usual over days', () => {
    const own = play(noLatch);
    own.live(600);
    const random = createRandom(5);
    const daily: { readonly flagged: number; readonly share: number }[] = [];
    for (let day = 0; day < 8; day++) {
      const scores: number[] = [];
      for (let index = 0; index < 400; index++) scores.push(own.call('POST /reports', { afterMs: 5000 }).score);
      for (let index = 0; index < 600; index++) own.call(habit(random), { afterMs: 2 * minuteMs });
      daily.push({ flagged: flagged(scores), share: shareOf(own, 'POST /reports') });
    }
    // 400 times a day beside 600 of its own: at first a twentieth of what is known of it, and in the end near its due.
    expect(daily[0]?.share).toBeLessThan(0.06);
    expect(daily[7]?.share).toBeGreaterThan(0.28);
    for (const [day, { share }] of daily.entries()) expect(share).toBeGreaterThan(daily[day - 1]?.share ?? 0);
    expect(daily[0]?.flagged).toBeGreaterThan(5);
    expect(daily[7]?.flagged).toBeLessThan(1);
  });

  it('has room for 50 requests of an action in an hour, and for as many as are known', () => {
    const table = createActionTable();
    table.counts[slotForAction(table, 5)] = 80 * unit;
    const growth = createGrowth();
    const learned = (action: number) => {
      let count = 0;
      while (count < 1000 && takeRoom(growth, table, action, unit)) {
        const slot = slotForAction(table, action);
        table.counts[slot] = (table.counts[slot] ?? 0) + unit;
        count++;
      }
      return count;
    };
    turnHour(growth, hourMs);
    expect([learned(5), learned(6), learned(5)]).toEqual([80, 50, 0]);
    turnHour(growth, 2 * hourMs - 1);
    expect(learned(6)).toBe(0);
    turnHour(growth, 2 * hourMs);
    expect([learned(5), learned(6)]).toEqual([160, 50]);
    expect(isPast(growth, 3 * hourMs - 1)).toBe(false);
    expect(isPast(growth, 3 * hourMs)).toBe(true);
  });

  it('is counted for a bounded number of actions', () => {
    const growth = createGrowth();
    const table = createActionTable();
    for (let action = 1; action < 5000; action++) takeRoom(growth, table, action, unit);
    expect(growth.units.size).toBe(actionsMax);
  });
});
