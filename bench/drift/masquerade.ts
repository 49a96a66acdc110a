/** Schonlau's masquerade set: each user is an agent, each command a request; some blocks of 100 are someone else's. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Agent, createAgent } from '../../src/behaviour/drift/agent.ts';
import { createDrift, type Drift, type DriftOptions } from '../../src/behaviour/drift/drift.ts';
import type { Fleet } from '../../src/behaviour/drift/fleet.ts';
import type { Judgement } from '../../src/behaviour/drift/judgement.ts';
import type { Outcome } from '../../src/behaviour/drift/learn.ts';
import { percent, type Row } from './figures.ts';

export const blockSize = 100;
export const trained = 5000;
/** Calls after a take-over that say nothing of false alarms: an agent found hijacked is blocked by then. */
const aftermath = 100;
/** One request every half minute: 5,000 take a day and three quarters. */
const intervalMs = 30_000;
const beginMs = Date.UTC(2026, 0, 5);

export type User = {
  readonly name: string;
  readonly commands: readonly string[];
  /** Whether a block after the first 5,000 commands is someone else's. */
  readonly isForeign: readonly boolean[];
};

/** Users in the order of their numbers, each with a column of the labels. */
export function loadUsers(folder: string, say: (text: string) => void): User[] {
  const path = join(folder, 'schonlau');
  if (!existsSync(path)) return [];
  const names = readdirSync(path).filter((name) => /^user.*\d|\.txt$/i.test(name) && !name.startsWith('labels'));
  const files = names.toSorted((left, right) => left.localeCompare(right, 'en', { numeric: true }));
  if (!existsSync(join(path, 'labels.txt'))) {
    say('schonlau: left out, as there is no labels.txt');
    return [];
  }
  const lines = (name: string) => readFileSync(join(path, name), 'utf8').trim().split(/\s*\n/);
  const labels = lines('labels.txt').map((line) => line.trim().split(/\s+/));
  const columns = Math.max(...labels.map((line) => line.length));
  const numbers = files.map((name) => Number(/\d+/.exec(name)?.[0] ?? Number.NaN));
  // Where some users are kept back but not their labels, a user's number tells the column.
  const isByNumber = columns > files.length && numbers.every((number) => number >= 1 && number <= columns);
  if (columns !== files.length) {
    say(
      `schonlau: ${files.length} users, ${columns} columns of labels, told apart by ${isByNumber ? 'number' : 'order'}`,
    );
  }
  return files.flatMap((name, order) => {
    const column = isByNumber ? (numbers[order] ?? 0) - 1 : order;
    const commands = lines(name);
    const whole = commands.length - (commands.length % blockSize);
    if (column >= columns || whole <= trained) {
      say(`schonlau: left out ${name}: ${column >= columns ? 'no labels' : `${commands.length} commands`}`);
      return [];
    }
    const isForeign = labels.map((line) => line[column] === '1');
    const judged = Math.min(whole, trained + labels.length * blockSize);
    if (judged < commands.length) say(`schonlau: ${name} judged up to command ${judged} of ${commands.length}`);
    return [
      { name, commands: commands.slice(0, judged), isForeign: isForeign.slice(0, (judged - trained) / blockSize) },
    ];
  });
}

export function atMs(index: number): number {
  return beginMs + index * intervalMs;
}

export const secret = Buffer.alloc(32, 7);

/** Latching is off where detectors are compared: it ends the test of an agent until a person speaks. */
export function openDrift(fleet: Fleet, options: Partial<DriftOptions> = {}): Drift {
  const { settings, ...rest } = options;
  return createDrift({ secret, fleet, settings: { alarmsMax: Number.POSITIVE_INFINITY, ...settings }, ...rest });
}

export function run(
  drift: Drift,
  agent: Agent,
  command: string,
  index: number,
  outcome: Outcome = 'allowed',
): Judgement {
  const judgement = drift.judge(agent, { action: command, session: null, atMs: atMs(index), destinations: [] });
  drift.learn(agent, judgement, outcome);
  return judgement;
}

export type Training = {
  readonly history?: number;
  readonly outcome?: Outcome;
  /** Whether what is learned fills the fleet. */
  readonly learnsFleet?: boolean;
  /** Requests before the first, which put batches out of step with the blocks. */
  readonly ahead?: number;
};

/** Every user's first 5,000 commands, block by block in turn, so that the fleet fills evenly. */
export function train(users: readonly User[], fleet: Fleet, training: Training = {}): Agent[] {
  const { history = trained, outcome = 'confirmed', learnsFleet = true, ahead = 0 } = training;
  const drift = openDrift(fleet, { learnsFleet });
  const agents = users.map(({ name }) => createAgent(name));
  for (let begin = -ahead; begin < history; begin += blockSize) {
    for (const [at, user] of users.entries()) {
      const agent = agents[at];
      if (agent === undefined) continue;
      for (let index = begin; index < Math.min(history, begin + blockSize); index++) {
        run(drift, agent, user.commands[Math.abs(index)] ?? '', index, outcome);
      }
    }
  }
  return agents;
}

export type TakeOver = { readonly calls: number; readonly foundAfter: number };

export type Masquerade = {
  readonly blocks: readonly Row[];
  readonly benign: number;
  readonly falseAlarms: { readonly at99: number; readonly at999: number; readonly episodes: number };
  /** Percent of each identity's benign requests at 0.99 or more, and at 0.999. */
  readonly byIdentity: readonly number[];
  readonly byIdentity999: readonly number[];
  /** Benign requests at 0.99 or more by each of the scores that `score` is not made of alone. */
  readonly at99By: ScoreTally;
  readonly takeOvers: readonly TakeOver[];
};

export const singleScores = ['novelty', 'sequence', 'destination', 'rate', 'sustained'] as const;
export type ScoreTally = Record<(typeof singleScores)[number], number>;

export const newTally = (): ScoreTally => ({ novelty: 0, sequence: 0, destination: 0, rate: 0, sustained: 0 });

/** Counts each score of a request that is 0.99 or more. */
export function tally(into: ScoreTally, judgement: Judgement): void {
  for (const name of singleScores) if (judgement[name] >= 0.99) into[name]++;
}

/** Both protocols in one pass: blocks by `sustained` at their end, requests by `score`. */
export function masquerade(users: readonly User[], agents: readonly Agent[], fleet: Fleet): Masquerade {
  const drift = openDrift(fleet, { learnsFleet: false });
  const blocks: Row[] = [];
  const takeOvers: TakeOver[] = [];
  const byIdentity: number[] = [];
  const byIdentity999: number[] = [];
  const at99By = newTally();
  let [benign, at99, at999, episodes] = [0, 0, 0, 0];
  for (const [at, user] of users.entries()) {
    const agent = agents[at];
    if (agent === undefined) continue;
    let [own, ownAlarms, ownAt999, lastAlarm, quietUntil] = [0, 0, 0, -blockSize, 0];
    let takeOver: { since: number; foundAfter: number } | null = null;
    for (let index = trained; index < user.commands.length; index++) {
      const judgement = run(drift, agent, user.commands[index] ?? '', index);
      const isForeign = user.isForeign[Math.floor((index - trained) / blockSize)] === true;
      if ((index + 1) % blockSize === 0) blocks.push({ score: judgement.sustainedValue, isHit: isForeign });
      if (isForeign) {
        takeOver ??= { since: index, foundAfter: Number.POSITIVE_INFINITY };
        if (judgement.score >= 0.99) takeOver.foundAfter = Math.min(takeOver.foundAfter, index - takeOver.since + 1);
        continue;
      }
      if (takeOver !== null) {
        takeOvers.push({ calls: index - takeOver.since, foundAfter: takeOver.foundAfter });
        takeOver = null;
        quietUntil = index + aftermath;
      }
      if (index < quietUntil) continue;
      own++;
      tally(at99By, judgement);
      if (judgement.score >= 0.999) ownAt999++;
      if (judgement.score < 0.99) continue;
      ownAlarms++;
      if (index - lastAlarm > 25) episodes++;
      lastAlarm = index;
    }
    if (takeOver !== null) {
      takeOvers.push({ calls: user.commands.length - takeOver.since, foundAfter: takeOver.foundAfter });
    }
    benign += own;
    at99 += ownAlarms;
    at999 += ownAt999;
    byIdentity.push(percent(ownAlarms, own));
    byIdentity999.push(percent(ownAt999, own));
  }
  return { blocks, benign, falseAlarms: { at99, at999, episodes }, byIdentity, byIdentity999, at99By, takeOvers };
}

export function foundWithin(takeOvers: readonly TakeOver[], calls: number): number {
  return percent(takeOvers.filter(({ foundAfter }) => foundAfter <= calls).length, takeOvers.length);
}
