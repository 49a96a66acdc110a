import { describe, expect, it } from 'vitest';
import { type Agent, createAgent } from '../../../src/behaviour/drift/agent.ts';
import { createBaseline, createDelta, mergeBaseline, unit } from '../../../src/behaviour/drift/baseline.ts';
import { decodeBaseline, encodeBaseline } from '../../../src/behaviour/drift/codec.ts';
import { createDrift } from '../../../src/behaviour/drift/drift.ts';
import { createFleet, createGroupFleet } from '../../../src/behaviour/drift/fleet.ts';
import { decodeFleet, encodeFleet } from '../../../src/behaviour/drift/fleet-codec.ts';
import { createGroups } from '../../../src/behaviour/drift/groups.ts';
import type { Judgement } from '../../../src/behaviour/drift/judgement.ts';
import { createKeyedHash } from '../../../src/behaviour/drift/keyed-hash.ts';
import { joinGroup } from '../../../src/behaviour/drift/peer-group.ts';
import { beganMs, createRandom, minuteMs } from './agents.ts';

const secret = Buffer.alloc(32, 1);
const dayMs = 24 * 60 * minuteMs;
const jobs = { payers: 'POST /payments', builders: 'GET /builds' } as const;
type Job = keyof typeof jobs;

/** One call in five is of the kind that all agents make. */
function actionOf(job: Job, random: () => number): string {
  const kind = Math.floor(20 * random() ** 2.2);
  return random() < 0.2 ? `GET /profile/${kind % 4}` : `${jobs[job]}/${kind}`;
}

/** Twelve agents of each of two jobs, all of them beyond warm-up; the fleet knows everything either way. */
function company(members = 12, hasGroups = true) {
  const fleet = createFleet();
  const groups = createGroups({ keyOf: createKeyedHash(secret, 'group'), root: 'test' });
  const drift = createDrift({ secret, fleet, ...(hasGroups ? { groupOf: groups.of } : {}) });
  let atMs = beganMs;
  function work(agent: Agent, group: string | null, job: Job, calls: number, random: () => number): Judgement[] {
    return Array.from({ length: calls }, () => {
      atMs += minuteMs;
      const event = { action: actionOf(job, random), session: null, atMs, destinations: [], group };
      const judgement = drift.judge(agent, event);
      drift.learn(agent, judgement, 'allowed');
      return judgement;
    });
  }
  for (const job of Object.keys(jobs) as Job[]) {
    for (let index = 0; index < members; index++) {
      work(createAgent(`${job}-${index}`), job, job, 600, createRandom(100 + index));
    }
  }
  return { drift, fleet, groups, work };
}

const last = (judgements: readonly Judgement[]) => judgements.at(-1)?.sustained ?? Number.NaN;

describe('an agent that is new to a group', () => {
  it('is like its peers from the first call on while it does as they do', () => {
    const { work } = company();
    const judgements = work(createAgent('new'), 'payers', 'payers', 100, createRandom(7));
    expect(Math.max(...judgements.map(({ sustained }) => sustained))).toBeLessThan(0.7);
    expect(last(judgements)).toBeLessThan(0.4);
    expect(judgements[0]).toMatchObject({ peers: 12, ready: false, score: 0 });
  });

  it('is conspicuous within ten calls when it does what another group does, and stays so while it is new', () => {
    const { work } = company();
    const judgements = work(createAgent('new'), 'payers', 'builders', 1000, createRandom(7));
    expect(judgements[9]?.sustained).toBeGreaterThan(0.9);
    expect(Math.min(...judgements.slice(20).map(({ sustained }) => sustained))).toBeGreaterThan(0.95);
  });

  it('is not when all agents are its only peers', () => {
    const { work } = company(12, false);
    const judgements = work(createAgent('new'), 'payers', 'builders', 1000, createRandom(7));
    expect(judgements[0]?.peers).toBe(24);
    expect(Math.max(...judgements.map(({ sustained }) => sustained))).toBeLessThan(0.6);
  });

  it('is more of a novelty, and says so, where none of its group does what it does', () => {
    const withGroup = company();
    const without = company(12, false);
    const noveltyOf = ({ drift, work }: typeof withGroup) => {
      const agent = createAgent('new');
      work(agent, 'payers', 'payers', 50, createRandom(7));
      const event = { action: `${jobs.builders}/0`, session: null, atMs: beganMs + 30 * dayMs, destinations: [] };
      const judgement = drift.judge(agent, { ...event, group: 'payers' });
      return { ...judgement, top: drift.explain(agent, judgement).top.map(({ text }) => text) };
    };
    const [told, untold] = [noveltyOf(withGroup), noveltyOf(without)];
    expect(told.novelty).toBeGreaterThan(0.95);
    expect(untold.novelty).toBeLessThan(0.95);
    const reason = 'none of the 12 other agents in group payers does GET /builds/0';
    expect(told.top.at(-1)).toBe(reason);
    expect(untold.top).toEqual(told.top.slice(0, -1));
  });
});

describe('an agent of a group that it has long worked beside', () => {
  it('is itself in what it does, whatever its group does, and is not when it is taken over', () => {
    const { work } = company();
    const odd = createAgent('odd');
    expect(last(work(odd, 'payers', 'builders', 3000, createRandom(7)))).toBeLessThan(0.3);
    expect(last(work(odd, 'payers', 'payers', 60, createRandom(8)))).toBeGreaterThan(0.9);
  });

  it('has the same score with a group and without', () => {
    const scores = [company(), company(12, false)].map(({ work }) => {
      const agent = createAgent('one');
      const own = work(agent, 'payers', 'payers', 1500, createRandom(7));
      return [...own, ...work(agent, 'payers', 'builders', 20, createRandom(8))].map(({ score }) => score);
    });
    expect(scores[0]).toEqual(scores[1]);
    expect(Math.max(...(scores[0] ?? []))).toBeGreaterThan(0.99);
  });
});

describe('a group', () => {
  it('of fewer than ten others is not compared with: all agents are', () => {
    const small = company(10);
    const [judgement] = small.work(createAgent('new'), 'payers', 'builders', 1, createRandom(7));
    expect(judgement?.peers).toBe(10);
    const smaller = company(9);
    const [other] = smaller.work(createAgent('new'), 'payers', 'builders', 1, createRandom(7));
    expect(other?.peers).toBe(18);
  });

  it('does not count an agent among its own peers, nor what that agent brought', () => {
    const { groups, work } = company(11);
    const agent = createAgent('loud');
    const [first] = work(agent, 'payers', 'builders', 600, createRandom(7));
    expect(first?.peers).toBe(11);
    expect(groups.of('payers').fleet.peers).toBe(12);
    const [later] = work(agent, 'payers', 'builders', 1, createRandom(8));
    expect(later?.peers).toBe(11);
  });

  it('keeps what was given to it, and takes nothing off that was given to another', () => {
    const { groups, work } = company();
    const agent = createAgent('mover');
    work(agent, 'payers', 'payers', 600, createRandom(7));
    const [payers, builders] = [groups.of('payers'), groups.of('builders')];
    const given = payers.fleet.weight;
    expect(agent.view.groupGiven).toBe(600 * unit);
    // Said to be of another group: it moves there when nobody has said for a day that it is of the first.
    const [moved] = work(agent, 'builders', 'builders', 1, createRandom(8));
    expect(moved?.peers).toBe(12);
    expect(agent.view.group).toBe(payers.key);
    expect(joinGroup(agent, beganMs + 100 * dayMs)).toBe(builders);
    expect(agent.view).toMatchObject({ group: builders.key, groupGiven: 0 });
    expect(payers.fleet.weight).toBe(given);
  });

  it('is not given the same agent again and again by tokens that name two groups in turn', () => {
    const { groups, work } = company();
    const agent = createAgent('two');
    const before = groups.of('builders').fleet.weight;
    for (let index = 0; index < 400; index++) {
      work(agent, index % 2 === 0 ? 'payers' : 'builders', 'payers', 1, createRandom(index));
    }
    expect([groups.of('payers').key, groups.of('builders').key]).toContain(agent.view.group);
    const isOfPayers = agent.view.group === groups.of('payers').key;
    const weights = [groups.of('payers').fleet.weight, groups.of('builders').fleet.weight];
    expect(weights[isOfPayers ? 1 : 0]).toBe(before);
  });

  it.each([
    { weight: 0, peers: 2 ** 32, count: 0xffffffff },
    { weight: 2 ** 48, peers: 2 ** 32, count: 0 },
    { weight: 1, peers: 10, count: 0xffffffff },
    { weight: 2 ** 48, peers: 10, count: 0xffffffff },
  ])('of which the store says what cannot be gives scores all the same: %o', ({ weight, peers, count }) => {
    const { groups, work } = company(1);
    const told = createGroupFleet();
    Object.assign(told, { weight, peers });
    told.counts.fill(count);
    const decoded = decodeFleet(encodeFleet(told), createGroupFleet());
    expect(decoded).toEqual(told);
    const { fleet } = groups.of('payers');
    Object.assign(fleet, { weight: decoded?.weight, peers: decoded?.peers });
    fleet.counts.set(decoded?.counts ?? []);
    const agent = createAgent('new');
    for (const { novelty, sustained, sustainedValue } of work(agent, 'payers', 'payers', 120, createRandom(7))) {
      for (const score of [novelty, sustained]) expect(score >= 0 && score <= 1).toBe(true);
      expect(Number.isFinite(sustainedValue)).toBe(true);
    }
    // Bytes of all agents are none of a group.
    expect(decodeFleet(encodeFleet(createFleet()), createGroupFleet())).toBeNull();
  });

  it('of a baseline comes back from bytes, and the one said last holds in whatever order deltas merge', () => {
    const [left, right] = [createBaseline(), createBaseline()];
    Object.assign(left, { group: 7, groupAtMs: 1000, groupGiven: 64, weight: 64 });
    Object.assign(right, { group: 8, groupAtMs: 2000, groupGiven: 32, weight: 32 });
    const merged = [createBaseline(), createBaseline()];
    for (const [index, order] of [
      [left, right],
      [right, left],
    ].entries()) {
      for (const delta of order) mergeBaseline(merged[index] ?? left, delta);
    }
    const held = { group: 8, groupAtMs: 2000, groupGiven: 32 };
    expect(merged).toMatchObject([held, held]);
    expect(decodeBaseline(encodeBaseline(merged[0] ?? left))).toMatchObject(held);
    expect(createDelta(right)).toMatchObject({ group: 8, groupAtMs: 2000, groupGiven: 0 });
  });
});
