/** Agents that do the same job: whom one of them is compared with before all others. */

import type { Agent } from './agent.ts';
import { type Baseline, unit } from './baseline.ts';
import { contribute, countOfOthers, type Fleet, peerSamplesMin, peersMin, unitsToGive } from './fleet.ts';

export type PeerGroup = {
  readonly name: string;
  /** What baselines know it by; never 0. */
  readonly key: number;
  readonly fleet: Fleet;
};

/** Share of the fleet in what a group is expected to do: nothing is impossible because the group never did it. */
const fleetShare = 0.05;
/** An action is as common as it is not at one in so many of the group's requests. */
const commonEvery = 1000;
/** An agent that was said to be of two groups within this time stays in the first. */
const moveMs = 24 * 60 * 60 * 1000;

/** The agent's group, where it has members enough to be compared with. */
export function groupToCompare({ group, view }: Agent): PeerGroup | null {
  return group !== null && peersInGroup(group, view) >= peersMin ? group : null;
}

/** Agents of the group other than this one. */
export function peersInGroup({ key, fleet }: PeerGroup, view: Baseline): number {
  return Math.max(0, fleet.peers - (givenTo(key, view) >= peerSamplesMin * unit ? 1 : 0));
}

/** The chance of an action in the group, where `among` is that of all agents. Never 0. */
export function shareInGroup(
  { key, fleet }: PeerGroup,
  action: number,
  ownCount: number,
  view: Baseline,
  among: number,
): number {
  const given = givenTo(key, view);
  const rest = fleet.weight - given;
  if (rest <= 0) return among;
  const share = Math.min(1, countOfOthers(fleet, action, ownCount, given, view) / rest);
  return (1 - fleetShare) * share + fleetShare * among;
}

/** How common an action is in the group: 0 where no other agent of it takes it, nearly 1 where they often do. */
export function commonInGroup({ key, fleet }: PeerGroup, action: number, ownCount: number, view: Baseline): number {
  const given = givenTo(key, view);
  const count = countOfOthers(fleet, action, ownCount, given, view);
  return count === 0 ? 0 : count / (count + Math.max(0, fleet.weight - given) / commonEvery);
}

/** What was given to another group is not taken off this one. */
function givenTo(key: number, view: Baseline): number {
  return view.group === key ? view.groupGiven : 0;
}

/**
 * The group that is to be given what the agent learns; null for none. An agent that is said to be of another group now
 * moves there once nobody has said for a day that it is of the one before: else two teams' tokens for one agent, or two
 * replicas with other files, would have it begin anew in each with every call.
 */
export function joinGroup({ group, view, delta }: Agent, atMs: number): PeerGroup | null {
  if (group === null) return null;
  const isMember = view.group === group.key;
  if (!isMember && view.group !== 0 && atMs - view.groupAtMs < moveMs) return null;
  for (const baseline of delta === null ? [view] : [view, delta]) {
    if (baseline.group !== group.key) baseline.groupGiven = 0;
    baseline.group = group.key;
    baseline.groupAtMs = Math.max(baseline.groupAtMs, atMs);
  }
  return group;
}

/** Gives a learned request to the group; returns the units taken. */
export function giveToGroup({ fleet }: PeerGroup, action: number, weight: number, view: Baseline): number {
  const units = contribute(fleet, action, unitsToGive(weight, view.weight, view.groupGiven), false);
  const enough = peerSamplesMin * unit;
  if (view.groupGiven < enough && view.groupGiven + units >= enough) fleet.peers++;
  return units;
}
