/** An intruder who mixes into an agent's requests, at once or ever so slowly; and what latching costs the honest. */

import { confirmSafe } from '../../src/behaviour/drift/drift.ts';
import type { Fleet } from '../../src/behaviour/drift/fleet.ts';
import { createRandom, median } from './figures.ts';
import { openDrift, run, train, trained, type User } from './masquerade.ts';

const rampRequests = 5000;
const mixedShare = 0.5;

export type Poisoning = {
  /** Median of the intruder's calls until the third alarm, over the victims where it came. */
  readonly toThirdAlarm: number;
  readonly never: number;
  readonly victims: number;
  /** Percent of the intruder's last 500 calls at 0.99 or more. */
  readonly flaggedAtTheEnd: number;
  /** Median of the intruder's calls until the agent was latched, over the victims where it was. */
  readonly toLatch: number;
  readonly neverLatched: number;
};

/** Victims are the users whose later commands are all their own; the intruder types as the next user did. */
export function poisoning(users: readonly User[], fleet: Fleet, isRamped: boolean): Poisoning {
  const clean = users.filter(({ isForeign }) => !isForeign.includes(true));
  const agents = train(users, fleet);
  const open = openDrift(fleet, { learnsFleet: false });
  const thirds: number[] = [];
  const latches: number[] = [];
  let [flagged, last] = [0, 0];
  for (const user of clean) {
    const at = users.indexOf(user);
    const agent = agents[at];
    const intruder = users[(at + 1) % users.length];
    if (agent === undefined || intruder === undefined) continue;
    const random = createRandom(at + 1);
    let [own, foreign, alarms] = [trained, 0, 0];
    let latched = 0;
    for (let index = 0; index < 2 * rampRequests && own < user.commands.length; index++) {
      const share = mixedShare * (isRamped ? Math.min(1, index / rampRequests) : 1);
      const isForeign = random() < share;
      const command = isForeign ? intruder.commands[foreign++ % trained] : user.commands[own++];
      const judgement = run(open, agent, command ?? '', trained + index);
      // Where alarms would have latched the agent; it goes on here, to see what it would have learned.
      const isLatched = judgement.isAlarm && judgement.alarms >= 3 && judgement.lean > 0.25;
      if (latched === 0 && foreign > 0 && isLatched) {
        latched = foreign;
        latches.push(foreign);
      }
      if (!isForeign) continue;
      if (judgement.score >= 0.99 && ++alarms === 3) thirds.push(foreign);
      if (index < 2 * rampRequests - 1000) continue;
      last++;
      if (judgement.score >= 0.99) flagged++;
    }
  }
  return {
    toThirdAlarm: median(thirds),
    never: clean.length - thirds.length,
    victims: clean.length,
    flaggedAtTheEnd: last === 0 ? 0 : (100 * flagged) / last,
    toLatch: median(latches),
    neverLatched: clean.length - latches.length,
  };
}

/** How often honest agents are latched, per 10,000 requests, where a person confirms each as safe at once. */
export function honestLatches(users: readonly User[], fleet: Fleet): number {
  const agents = train(users, fleet);
  const drift = openDrift(fleet, { learnsFleet: false, settings: { alarmsMax: 3 } });
  let [latches, requests] = [0, 0];
  for (const [at, user] of users.entries()) {
    const agent = agents[at];
    if (agent === undefined || user.isForeign.includes(true)) continue;
    for (let index = trained; index < user.commands.length; index++) {
      const { atMs } = run(drift, agent, user.commands[index] ?? '', index);
      requests++;
      if (agent.view.standing !== 'latched') continue;
      latches++;
      confirmSafe(agent, atMs);
    }
  }
  return (10_000 * latches) / requests;
}
