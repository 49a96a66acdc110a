/** What many agents do, against which one is weighed. A bounded sketch that adds up like baselines do. */

import { findAction } from './action-table.ts';
import { type Baseline, unit } from './baseline.ts';
import { mix } from './keyed-hash.ts';

const fleetRowCells = 4096;
/** A group does fewer different things than all agents do. */
const groupRowCells = 1024;
const secondSeed = 0x51ed270b;

/** Requests an agent gives in full; later ones give ever less, so that volume does not buy the fleet. */
const contributionMax = 5000 * unit;
/** Requests after which an agent counts as a peer. */
export const peerSamplesMin = 500;
/** With fewer peers there is nobody to be compared with. */
export const peersMin = 10;
/** Beyond this the fleet halves. */
const fleetUnitsMax = 0x3fffffff;
/** Actions assumed to exist, of which any may come next: no action has no chance. */
export const catalogueSize = 1000;
const uniformShare = 0.05;

/** Of all agents, or of a group. */
export type Fleet = {
  /** Units given by all agents. */
  weight: number;
  /** Agents that count as peers, whoever asks among them. */
  peers: number;
  readonly counts: Uint32Array;
  /** Agents that have used an action; empty for a group, which agents may join that have used much before. */
  readonly users: Uint32Array;
};

export function createFleet(): Fleet {
  const cells = 2 * fleetRowCells;
  return { weight: 0, peers: 0, counts: new Uint32Array(cells), users: new Uint32Array(cells) };
}

export function createGroupFleet(): Fleet {
  return { weight: 0, peers: 0, counts: new Uint32Array(2 * groupRowCells), users: new Uint32Array(0) };
}

export function mergeFleet(into: Fleet, from: Fleet): void {
  into.weight += from.weight;
  into.peers += from.peers;
  addCells(into.counts, from.counts);
  addCells(into.users, from.users);
  if (into.weight > fleetUnitsMax) {
    into.weight >>>= 1;
    for (let index = 0; index < into.counts.length; index++) into.counts[index] = (into.counts[index] ?? 0) >>> 1;
  }
}

function addCells(into: Uint32Array, from: Uint32Array): void {
  for (let index = 0; index < into.length; index++) into[index] = (into[index] ?? 0) + (from[index] ?? 0);
}

/** What of a request's weight an agent that has learned and given so much gives. */
export function unitsToGive(weight: number, learned: number, given: number): number {
  if (given < contributionMax) return weight;
  return Math.round((weight * contributionMax) / Math.max(learned, contributionMax));
}

/** Gives what an agent has learned to the fleet; returns the units taken. */
export function contribute(fleet: Fleet, action: number, units: number, isNew: boolean): number {
  const row = fleet.counts.length >>> 1;
  const first = action % row;
  const second = row + (mix(action, secondSeed) % row);
  if (isNew && fleet.users.length > 0) {
    fleet.users[first] = (fleet.users[first] ?? 0) + 1;
    fleet.users[second] = (fleet.users[second] ?? 0) + 1;
  }
  if (fleet.weight > fleetUnitsMax) return 0;
  fleet.counts[first] = (fleet.counts[first] ?? 0) + units;
  fleet.counts[second] = (fleet.counts[second] ?? 0) + units;
  fleet.weight += units;
  return units;
}

/** The chance of an action among the other agents: what this agent gave is taken off first. Never 0. */
export function shareAmongPeers(fleet: Fleet, action: number, ownCount: number, baseline: Baseline): number {
  const rest = fleet.weight - baseline.contributed;
  if (rest <= 0) return 1 / catalogueSize;
  const count = countOfOthers(fleet, action, ownCount, baseline.contributed, baseline);
  return (1 - uniformShare) * (count / rest) + uniformShare / catalogueSize;
}

/** What all agents but this one gave of an action, where this one gave `given` units of what it has learned. */
export function countOfOthers(
  fleet: Fleet,
  action: number,
  ownCount: number,
  given: number,
  { weight }: Baseline,
): number {
  const all = cellOf(fleet.counts, action);
  const own = weight === 0 ? 0 : (ownCount * given) / weight;
  return Math.max(0, all - own);
}

/** The share of peers that have ever used an action. */
export function usersAmongPeers(fleet: Fleet, action: number, baseline: Baseline): number {
  const peers = peersOf(fleet, baseline);
  if (peers <= 0) return 0;
  const users = cellOf(fleet.users, action);
  return Math.min(1, Math.max(0, users - (findAction(baseline.actions, action) === -1 ? 0 : 1)) / peers);
}

/** The lesser of an action's two cells: actions that share one seldom share both. */
function cellOf(cells: Uint32Array, action: number): number {
  const row = cells.length >>> 1;
  return Math.min(cells[action % row] ?? 0, cells[row + (mix(action, secondSeed) % row)] ?? 0);
}

/** Agents of the fleet other than this one. */
export function peersOf(fleet: Fleet, baseline: Baseline): number {
  return Math.max(0, fleet.peers - (baseline.weight >= peerSamplesMin * unit ? 1 : 0));
}
