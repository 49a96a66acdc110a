/** Behavioural drift: how far a request is from what its agent has always done. */

import { type Agent, clearBatch } from './agent.ts';
import { type Baseline, clearBaseline, createBaseline, createDelta, mergeBaseline } from './baseline.ts';
import { type Explanation, explain } from './explain.ts';
import type { Fleet } from './fleet.ts';
import { hear, hearShown, type Notice, type Shown } from './hear.ts';
import { countRefusal, judge } from './judge.ts';
import type { Destination, Judgement, Settings } from './judgement.ts';
import { createActionHash } from './keyed-hash.ts';
import { learn, learnBatch, learnShown, type Outcome, setAgentStanding } from './learn.ts';
import type { PeerGroup } from './peer-group.ts';
import { clearRecent, uniteRecent } from './recent.ts';
import type { Findings } from './response-scan.ts';
import { createSessions, noteResponse, noteWords } from './sessions.ts';

export type DriftOptions = {
  /** Keys the hashes of actions; replicas and restarts need the same. */
  readonly secret: Uint8Array;
  readonly fleet: Fleet;
  /** The group of a name; without it there are no groups. */
  readonly groupOf?: (name: string) => PeerGroup;
  readonly settings?: Partial<Settings>;
  readonly sessionsMax?: number;
  /** Whether what agents learn is given to the fleet too; true where left out. */
  readonly learnsFleet?: boolean;
};

/** What a request did, as drift sees it. */
export type DriftEvent = {
  readonly action: string;
  /** Requests of one session follow each other; null where sessions are not known. */
  readonly session: string | null;
  readonly atMs: number;
  readonly destinations: readonly Destination[];
  /** The group of agents that its agent is of; null or absent for none. */
  readonly group?: string | null;
};

export const defaultSettings: Settings = {
  readySamples: 500,
  readyAfterMs: 24 * 60 * 60 * 1000,
  discountScore: 0.99,
  alarmScore: 0.99,
  alarmsMax: 3,
};

const sessionsMaxDefault = 10_000;

export type Drift = {
  /** Scores a request before anything is learned from it. */
  readonly judge: (agent: Agent, event: DriftEvent) => Judgement;
  /** Notes what became of a judged request. `action` is what is to be learned of it, where that is another. */
  readonly learn: (agent: Agent, judgement: Judgement, outcome: Outcome, action?: string) => void;
  /** Notes that a judged request was refused, here or by the API: the rate of the next ones is higher for it. */
  readonly noteRefusal: (agent: Agent) => void;
  /** Notes what a response to `action` showed. */
  readonly seenInResponse: (
    agent: Agent,
    session: string | null,
    action: string,
    findings: Findings,
    nowMs: number,
  ) => void;
  /**
   * Takes in what other replicas judged of this agent, oldest first, before the next request is judged here: only then
   * are order, batches and sustained evidence those that a single replica would have had.
   */
  readonly hear: (agent: Agent, notices: readonly Notice[]) => void;
  /** Takes in what responses to other replicas have shown. */
  readonly hearShown: (agent: Agent, shown: Shown) => void;
  /** The hash of an action, under the secret. */
  readonly hashOf: (action: string) => number;
  /** Why a request scored as it did. */
  readonly explain: (agent: Agent, judgement: Judgement) => Explanation;
  /** The action that a hash stands for, as far as it has been met or recalled. */
  readonly nameOf: (action: number) => string | undefined;
  /** The actions that have been met, for other replicas and for after a restart. */
  readonly actionNames: () => readonly string[];
  readonly recallNames: (names: readonly string[]) => void;
};

export function createDrift(options: DriftOptions): Drift {
  const { secret, fleet, groupOf } = options;
  const learnedFleet = options.learnsFleet === false ? null : fleet;
  const settings = { ...defaultSettings, ...options.settings };
  const sessions = createSessions(options.sessionsMax ?? sessionsMaxDefault);
  const actions = createActionHash(secret);
  return {
    judge: (agent, { action, session, atMs, destinations, group }) => {
      agent.group = groupOf === undefined || group === undefined || group === null ? null : groupOf(group);
      const found = sessions.get(agent.id, session, atMs);
      return judge(agent, found, fleet, settings, actions.of(action), destinations, atMs);
    },
    learn: (agent, judgement, outcome, action) => {
      const learned = action === undefined ? judgement : { ...judgement, action: actions.of(action) };
      learn(agent, learnedFleet, settings, learned, outcome);
    },
    noteRefusal: countRefusal,
    seenInResponse: (agent, session, action, { hashes, words }, nowMs) => {
      if (hashes.length === 0 && words === null) return;
      const held = sessions.get(agent.id, session, nowMs);
      if (words !== null) noteWords(held, words, actions.of(action), nowMs);
      noteResponse(held, hashes, actions.of(action), nowMs);
      learnShown(agent, hashes, nowMs);
    },
    hear: (agent, notices) => {
      for (const notice of notices) {
        hear(agent, sessions.get(agent.id, notice.session, notice.atMs), learnedFleet, notice);
      }
    },
    hearShown: (agent, shown) => hearShown(sessions.get(agent.id, shown.session, shown.atMs), shown),
    hashOf: actions.of,
    explain: (agent, judgement) => explain(agent, judgement, fleet, actions.nameOf),
    nameOf: actions.nameOf,
    actionNames: actions.names,
    recallNames: (names) => {
      for (const name of names) actions.of(name);
    },
  };
}

/** Learns what waits, at shutdown or before an agent leaves memory: nothing judged is lost. */
export function settle(agent: Agent, fleet: Fleet | null): void {
  learnBatch(agent, fleet);
}

/**
 * What was learned since the last call, to be merged into the stored baseline; null where nothing was. A delta that
 * could not be stored is given back with returnDelta.
 */
export function takeDelta(agent: Agent): Baseline | null {
  const { delta, view } = agent;
  if (delta === null || (delta.samples === 0 && delta.standingAtMs === view.standingAtMs && delta.weight === 0)) {
    return null;
  }
  agent.delta = createDelta(view);
  return delta;
}

export function returnDelta(agent: Agent, delta: Baseline): void {
  if (agent.delta === null) return;
  mergeBaseline(agent.delta, delta);
}

/** What went into quarantine since the last call, to be merged into the stored one; null where nothing did. */
export function takeQuarantine(agent: Agent): Baseline | null {
  const { quarantineDelta } = agent;
  agent.quarantineDelta = null;
  return quarantineDelta;
}

export function returnQuarantine(agent: Agent, delta: Baseline): void {
  agent.quarantineDelta = unite(delta, agent.quarantineDelta);
}

/**
 * Goes on from the baseline and the quarantine that the store holds now, and from what was learned or held here after
 * the deltas they include.
 */
export function adopt(agent: Agent, stored: Baseline, quarantine: Baseline | null = null): void {
  if (agent.delta !== null) mergeBaseline(stored, agent.delta);
  if (agent.heard !== null) uniteRecent(stored.recent, agent.heard);
  agent.view = stored;
  agent.quarantine = unite(quarantine, agent.quarantineDelta);
}

/** The sum of both, in the first where there is one; never the second itself. */
export function unite(into: Baseline | null, from: Baseline | null): Baseline | null {
  if (from === null) return into;
  const sum = into ?? createDelta(from);
  mergeBaseline(sum, from);
  return sum;
}

/**
 * A person found the agent's conduct right: what waited in quarantine is learned, and learning goes on. `waiting` is the
 * part that is to be learned here: all of it, or what the store does not have where another replica learns the rest.
 */
export function confirmSafe(agent: Agent, nowMs: number, waiting = agent.quarantine): void {
  if (waiting !== null) mergeBaseline(agent.view, waiting);
  if (agent.delta !== null && agent.quarantineDelta !== null) mergeBaseline(agent.delta, agent.quarantineDelta);
  clearQuarantine(agent);
  setAgentStanding(agent, 'learning', nowMs);
}

/** A person found the agent compromised: what waited is dropped, and learning goes on from before. */
export function confirmCompromise(agent: Agent, nowMs: number): void {
  clearQuarantine(agent);
  clearBatch(agent.batch);
  setAgentStanding(agent, 'learning', nowMs);
}

function clearQuarantine(agent: Agent): void {
  agent.quarantine = null;
  agent.quarantineDelta = null;
}

/** Nothing is learned until the agent is unfrozen; it is judged as before. */
export function freeze(agent: Agent, nowMs: number): void {
  setAgentStanding(agent, 'frozen', nowMs);
}

export function unfreeze(agent: Agent, nowMs: number): void {
  setAgentStanding(agent, 'learning', nowMs);
}

/** Forgets everything about an agent, in this process; the stored baseline is the caller's to replace. */
export function reset(agent: Agent, baseline: Baseline = createBaseline()): void {
  agent.view = baseline;
  clearQuarantine(agent);
  agent.growth = null;
  clearBatch(agent.batch);
  if (agent.delta !== null) clearBaseline(agent.delta);
  if (agent.heard !== null) clearRecent(agent.heard);
}
