/** One agent served by two replicas that learn apart and merge through bytes, as they would through a store. */

import { type Agent, createAgent } from '../../src/behaviour/drift/agent.ts';
import { createBaseline, mergeBaseline } from '../../src/behaviour/drift/baseline.ts';
import { decodeBaseline, encodeBaseline } from '../../src/behaviour/drift/codec.ts';
import { adopt, type Drift, takeDelta } from '../../src/behaviour/drift/drift.ts';
import { createFleet } from '../../src/behaviour/drift/fleet.ts';
import { type Notice, noticeOf } from '../../src/behaviour/drift/hear.ts';
import { createRandom, type Row } from './figures.ts';
import { blockSize, openDrift, run, trained, type User } from './masquerade.ts';

/** Requests of one agent within the two seconds between merges, at thirty a second. */
const mergeEvery = 64;

/** How often a notice is still under way when the next request comes. */
const lateShare = 0.02;

type Pair = {
  readonly agents: readonly Agent[];
  readonly drifts: readonly Drift[];
  stored: Uint8Array;
  /** What each replica has yet to hear; null where replicas tell each other nothing. */
  readonly notices: readonly Notice[][] | null;
};

/** Sessions stay on their replica; or every request goes to either, which then tells the other at once, or does not. */
export type Routing = 'pinned' | 'either' | 'told';

/**
 * Blocks by `sustained`, as in masquerade; a block is a session.
 */
export function replicated(users: readonly User[], routing: Routing): Row[] {
  const fleet = createFleet();
  const training = [openDrift(fleet), openDrift(fleet)];
  const testing = [0, 1].map(() => openDrift(fleet, { learnsFleet: false }));
  const random = createRandom(1);
  const pairs = users.map(({ name }) => ({
    agents: [0, 1].map(() => createAgent(name, createBaseline(), true)),
    stored: encodeBaseline(createBaseline()),
    notices: routing === 'told' ? [[], []] : null,
  }));
  const rows: Row[] = [];
  const blockCount = Math.max(...users.map(({ commands }) => commands.length)) / blockSize;
  for (let block = 0; block < blockCount; block++) {
    const isTraining = block * blockSize < trained;
    for (const [at, user] of users.entries()) {
      const held = pairs[at];
      if (held === undefined || block * blockSize >= user.commands.length) continue;
      const pair: Pair = { ...held, drifts: isTraining ? training : testing };
      const stay = Math.floor(random() * 2);
      const pick = routing === 'pinned' ? () => stay : () => Math.floor(random() * 2);
      const sustained = playBlock(pair, user, block, pick, random, isTraining);
      held.stored = pair.stored;
      if (isTraining) continue;
      rows.push({ score: sustained, isHit: user.isForeign[block - trained / blockSize] === true });
    }
  }
  return rows;
}

/** Plays one block and gives `sustained` at its end, as the replica that served last sees it. */
function playBlock(
  pair: Pair,
  user: User,
  block: number,
  pick: () => number,
  random: () => number,
  isTraining: boolean,
): number {
  let sustained = 0;
  for (let index = block * blockSize; index < (block + 1) * blockSize; index++) {
    const at = pick();
    const [agent, drift] = [pair.agents[at], pair.drifts[at]];
    if (agent === undefined || drift === undefined) continue;
    const outcome = isTraining ? 'confirmed' : 'allowed';
    const waiting = pair.notices?.[at];
    if (waiting !== undefined) drift.hear(agent, waiting.splice(0, waiting.length - (random() < lateShare ? 1 : 0)));
    const judgement = run(drift, agent, user.commands[index] ?? '', index, outcome);
    sustained = judgement.sustainedValue;
    pair.notices?.[1 - at]?.push(noticeOf(null, judgement));
    if (index % mergeEvery === 0) for (const each of pair.agents) pair.stored = merge(each, pair.stored);
  }
  return sustained;
}

function merge(agent: Agent, stored: Uint8Array): Uint8Array {
  const baseline = decodeBaseline(stored);
  if (baseline === null) throw new Error('a stored baseline did not decode');
  const delta = takeDelta(agent);
  const packed = delta === null ? null : decodeBaseline(encodeBaseline(delta));
  if (packed !== null) mergeBaseline(baseline, packed);
  const merged = encodeBaseline(baseline);
  adopt(agent, baseline);
  return merged;
}
