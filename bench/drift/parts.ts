/** How figures hold up where there is less to learn from: the same suite without one model, or half of it. */

import { curveOf } from './figures.ts';
import { judgeSuite, shuffle } from './hijacks.ts';
import type { Session } from './runs.ts';

export type Held = { readonly draws: number; readonly aucs: readonly number[]; readonly tainted: readonly number[] };

const seeds = [1, 2, 3, 4];

/** All but one file in turn; half of the files, of the tasks and of the sessions, drawn with several seeds. */
function partsOf(sessions: readonly Session[]): (readonly Session[])[] {
  const files = [...new Set(sessions.map(({ file }) => file))];
  const tasks = [...new Set(sessions.map(({ task }) => task))];
  const half = <Item>(items: readonly Item[], seed: number) => shuffle(items, seed).slice(0, items.length >> 1);
  return [
    ...(files.length > 2 ? files.map((file) => sessions.filter((session) => session.file !== file)) : []),
    ...seeds.flatMap((seed) => {
      const [someFiles, someTasks] = [half(files, seed), half(tasks, seed)];
      return [
        ...(files.length > 3 ? [sessions.filter(({ file }) => someFiles.includes(file))] : []),
        sessions.filter(({ task }) => someTasks.includes(task)),
        half(sessions, seed),
      ];
    }),
  ];
}

/** The figures of every part that has both hijacked and benign sessions. */
export function judgeParts(sessions: readonly Session[], isTaskNew: boolean): Held {
  const curves = partsOf(sessions)
    .map((part) => judgeSuite(part, isTaskNew).rows)
    .map((rows) => ({ destination: curveOf(rows.destination), tainted: curveOf(rows.taintedDestination) }))
    .filter(({ destination }) => Number.isFinite(destination.auc));
  return {
    draws: curves.length,
    aucs: curves.map(({ destination }) => destination.auc),
    tainted: curves.map(({ tainted }) => tainted.hitAt[0] ?? 0),
  };
}
