/** How much of one action an agent may learn within an hour: volume alone must not make anything usual. */

import { type ActionTable, actionsMax, findAction } from './action-table.ts';
import { unit } from './baseline.ts';

/** Units of each action learned in this hour; of those that other replicas judge, as they tell. */
export type Growth = { hour: number; readonly units: Map<number, number> };

/** What an action may gain in an hour in any case; beyond that it may at most double. */
const growthMin = 50 * unit;
const hourMs = 60 * 60 * 1000;

export function createGrowth(): Growth {
  return { hour: 0, units: new Map() };
}

/** Begins the hour of this time, unless it has begun. What comes late is counted in the hour that has. */
export function turnHour(growth: Growth, atMs: number): void {
  const hour = Math.floor(atMs / hourMs);
  if (hour === growth.hour || hour === growth.hour - 1) return;
  growth.hour = hour;
  growth.units.clear();
}

/** Whether the hour has room for this much more of an action, which is then taken. */
export function takeRoom({ units }: Growth, actions: ActionTable, action: number, weight: number): boolean {
  const grown = units.get(action) ?? 0;
  const slot = findAction(actions, action);
  const before = slot === -1 ? 0 : (actions.counts[slot] ?? 0) - grown;
  if (grown + weight > Math.max(growthMin, before)) return false;
  // No more actions than a baseline has room for; what came first in this hour goes.
  if (grown === 0 && units.size >= actionsMax) for (const first of units.keys()) if (units.delete(first)) break;
  units.set(action, grown + weight);
  return true;
}

/** Whether there is nothing of this hour in it. */
export function isPast(growth: Growth, atMs: number): boolean {
  return growth.hour !== Math.floor(atMs / hourMs);
}
