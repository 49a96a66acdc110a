/** What all agents do, against which "sustained" weighs one agent. A bounded sketch that adds up like baselines do. */

import { findAction } from './action-table.ts';
import { type Baseline, unit } from './baseline.ts';
import { mix } from './keyed-hash.ts';

export const fleetRowCells = 4096;
export const fleetCells = 2 * fleetRowCells;
const secondSeed = 0x51ed270b;

/** Requests an agent gives in full; later ones give ever less, so that volume does not buy the fleet. */
const contributionMax = 5000 * unit;
/** Requests after which an agent counts as a peer. */
export const peerSamplesMin = 500;
/** Beyond this the fleet halves. */
const fleetUnitsMax = 0x3fffffff;
/** Actions assumed to exist, of which any may come next: no action has no chance. */
export const catalogueSize = 1000;
const uniformShare = 0.05;

export type Fleet = {
  /** Units given by all agents. */
  weight: number;
  /** Agents that count as peers, whoever asks among them. */
  peers: number;
  readonly counts: Uint32Array;
  /** Agents that have used an action. */
  readonly users: Uint32Array;
};

export function createFleet(): Fleet {
  return { weight: 0, peers: 0, counts: new Uint32Array(fleetCells), users: new Uint32Array(fleetCells) };
}

export function mergeFleet(into: Fleet, from: Fleet): void {
  into.weight += from.weight;
  into.peers += from.peers;
  for (let index = 0; index < fleetCells; index++) {
    into.counts[index] = (into.counts[index] ?? 0) + (from.counts[index] ?? 0);
    into.users[index] = (into.users[index] ?? 0) + (from.users[index] ?? 0);
  }
  if (into.weight > fleetUnitsMax) {
    into.weight >>>= 1;
    for (let index = 0; index < fleetCells; index++) into.counts[index] = (into.counts[index] ?? 0) >>> 1;
  }
}

/** Gives what an agent has learned to the fleet; returns the units given. */
export function contribute(fleet: Fleet, action: number, weight: number, baseline: Baseline, isNew: boolean): number {
  const first = action % fleetRowCells;
  const second = fleetRowCells + (mix(action, secondSeed) % fleetRowCells);
  if (isNew) {
    fleet.users[first] = (fleet.users[first] ?? 0) + 1;
    fleet.users[second] = (fleet.users[second] ?? 0) + 1;
  }
  const units = baseline.weight < contributionMax ? weight : Math.round((weight * contributionMax) / baseline.weight);
  if (fleet.weight > fleetUnitsMax) return 0;
  fleet.counts[first] = (fleet.counts[first] ?? 0) + units;
  fleet.counts[second] = (fleet.counts[second] ?? 0) + units;
  fleet.weight += units;
  return units;
}

/** The chance of an action among the other agents: what this agent gave is taken off first. Never 0. */
export function shareAmongPeers(fleet: Fleet, action: number, ownCount: number, baseline: Baseline): number {
  const first = action % fleetRowCells;
  const second = fleetRowCells + (mix(action, secondSeed) % fleetRowCells);
  const all = Math.min(fleet.counts[first] ?? 0, fleet.counts[second] ?? 0);
  const own = baseline.weight === 0 ? 0 : (ownCount * baseline.contributed) / baseline.weight;
  const rest = fleet.weight - baseline.contributed;
  if (rest <= 0) return 1 / catalogueSize;
  return (1 - uniformShare) * (Math.max(0, all - own) / rest) + uniformShare / catalogueSize;
}

/** The share of peers that have ever used an action. */
export function usersAmongPeers(fleet: Fleet, action: number, baseline: Baseline): number {
  const peers = peersOf(fleet, baseline);
  if (peers <= 0) return 0;
  const first = action % fleetRowCells;
  const second = fleetRowCells + (mix(action, secondSeed) % fleetRowCells);
  const users = Math.min(fleet.users[first] ?? 0, fleet.users[second] ?? 0);
  return Math.min(1, Math.max(0, users - (findAction(baseline.actions, action) === -1 ? 0 : 1)) / peers);
}

/** Agents of the fleet other than this one. */
export function peersOf(fleet: Fleet, baseline: Baseline): number {
  return Math.max(0, fleet.peers - (baseline.weight >= peerSamplesMin * unit ? 1 : 0));
}
