import { describe, expect, it } from 'vitest';
import { type Agent, createAgent, waitingAt } from '../../../src/behaviour/drift/agent.ts';
import { createBaseline, mergeBaseline } from '../../../src/behaviour/drift/baseline.ts';
import { decodeBaseline, encodeBaseline } from '../../../src/behaviour/drift/codec.ts';
import { adopt, settle, takeDelta } from '../../../src/behaviour/drift/drift.ts';
import { noticeOf } from '../../../src/behaviour/drift/hear.ts';
import { encodeEvidence, recentEntries, uniteRecent } from '../../../src/behaviour/drift/recent.ts';
import { beganMs, minuteMs, play } from './agents.ts';

const shared = () => play({ alarmsMax: Number.POSITIVE_INFINITY }, createAgent('agent-1', createBaseline(), true));
const notice = (atMs: number, evidence = -1, session: string | null = null) => ({
  session,
  action: 7,
  atMs,
  evidence: encodeEvidence(evidence, false),
  actionSurprise: 1,
  sequenceSurprise: 1,
  destinations: [],
});

/** Merges what an agent learned into the stored bytes, and has the agent go on from there. */
function merge(agent: Agent, stored: Uint8Array): Uint8Array {
  const base = decodeBaseline(stored) ?? createBaseline();
  const delta = takeDelta(agent);
  if (delta !== null) mergeBaseline(base, delta);
  const bytes = encodeBaseline(base);
  adopt(agent, base);
  return bytes;
}

describe('a replica that is told of requests elsewhere', () => {
  it('judges its own as coming after them, in their session alone', () => {
    const [here, there] = [shared(), shared()];
    const told = there.call('GET /things/1', { session: 'one' });
    here.drift.hear(here.agent, [noticeOf('one', told)]);
    expect(here.call('GET /things/2', { session: 'one' }).previous).toBe(told.action);
    expect(here.call('GET /things/2', { session: 'other' }).previous).not.toBe(told.action);
  });

  it('does not go back in order for one that comes late', () => {
    const here = shared();
    const own = here.call('GET /things/1');
    here.drift.hear(here.agent, [notice(here.now() - 1000)]);
    expect(here.call('GET /things/2').previous).toBe(own.action);
  });

  it('is stored with those that come late in their place', () => {
    const here = shared();
    here.call('GET /things/1');
    here.drift.hear(here.agent, [notice(here.now() - 1000), notice(here.now() + 1000)]);
    const entries = recentEntries(here.agent.view.recent).map(({ atMs }) => atMs - here.now());
    expect(entries).toEqual([0, -1000, 1000]);
    const decoded = decodeBaseline(encodeBaseline(here.agent.view));
    if (decoded === null) throw new Error('what was encoded did not decode');
    expect(recentEntries(decoded.recent).map(({ atMs }) => atMs - here.now())).toEqual([-1000, 0, 1000]);
  });

  it('counts them in the sustained evidence, the alarms and the rate', () => {
    const [alone, here] = [shared(), shared()];
    const alarm = { ...notice(beganMs + minuteMs - 1), evidence: encodeEvidence(8, true) };
    here.drift.hear(here.agent, [alarm, alarm]);
    const [unaware, aware] = [alone.call('GET /things/1'), here.call('GET /things/1')];
    expect(aware.sustainedValue).toBeCloseTo((unaware.evidence + 16) / 20, 2);
    expect(aware.alarms).toBe(2);
    expect(here.agent.rate).toBeGreaterThan(alone.agent.rate + 1.9);
  });

  it('learns no more of an action in an hour than one replica would', () => {
    const [alone, here] = [shared(), shared()];
    for (let count = 0; count < 40; count++) {
      const { action } = alone.call('GET /things/1', { afterMs: 1000 });
      here.drift.hear(here.agent, [
        { ...notice(here.now()), action },
        { ...notice(here.now()), action },
      ]);
      here.call('GET /things/1', { afterMs: 1000 });
    }
    for (const { agent } of [alone, here]) settle(agent, null);
    // Of 120 requests fifty: all that one made by itself, and of those among 80 elsewhere at most what they left.
    expect(alone.agent.view.weight).toBe(40 * 32);
    expect(here.agent.view.weight).toBeLessThanOrEqual(20 * 32);
    expect(here.agent.view.samples).toBe(40);
  });

  it('decides with them whether the batch is learned, and learns its own part alone', () => {
    for (const [evidence, learned] of [
      [-1, 25 * 32],
      [12, 0],
    ] as const) {
      const here = shared();
      here.live(3000);
      settle(here.agent, here.fleet);
      const { weight } = here.agent.view;
      here.live(25, 2, 'allowed');
      const discount = 25 * 32 - waitingWeight(here.agent);
      here.drift.hear(
        here.agent,
        Array.from({ length: 25 }, () => notice(here.now(), evidence)),
      );
      expect(here.agent.batch.length).toBe(0);
      expect(here.agent.view.weight - weight).toBe(learned === 0 ? 0 : learned - discount);
    }
  });

  it('hears nothing where no other replica serves the agent', () => {
    const own = play();
    own.drift.hear(own.agent, [notice(beganMs)]);
    expect(own.agent.view.recent.length).toBe(0);
    expect(own.agent.batch.heard).toBe(0);
  });

  it('has each request once, whether the store knows of it already or not', () => {
    const [here, there] = [shared(), shared()];
    let stored = encodeBaseline(createBaseline());
    here.call('GET /things/2');
    there.call('GET /things/1');
    const judgement = there.call('GET /things/3');
    here.drift.hear(here.agent, [noticeOf(null, judgement)]);
    settle(here.agent, here.fleet);
    stored = merge(here.agent, stored);
    expect(recentEntries(here.agent.view.recent)).toHaveLength(2);
    // Both began in the same millisecond, alike: two requests that can't be told apart are one among the newest.
    stored = merge(there.agent, stored);
    stored = merge(here.agent, stored);
    expect(recentEntries(here.agent.view.recent)).toHaveLength(2);
    expect(here.agent.view.samples).toBe(3);
    expect(encodeBaseline(here.agent.view)).toEqual(stored);
  });
});

describe('the newest requests', () => {
  it('are united to the same, however often', () => {
    const [left, right] = [shared(), shared()];
    left.live(150, 1);
    right.live(150, 2);
    const { recent } = left.agent.view;
    uniteRecent(recent, right.agent.view.recent);
    const once = recentEntries(recent);
    expect(once).toHaveLength(200);
    uniteRecent(recent, right.agent.view.recent);
    expect(recentEntries(recent)).toEqual(once);
  });
});

function waitingWeight({ batch }: Agent): number {
  return Array.from({ length: batch.length }, (_, index) => waitingAt(batch, index).weight).reduce((a, b) => a + b, 0);
}
