import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createEngine } from '../../../src/behaviour/drift/engine.ts';
import { decodeNews, encodeNews, newsCharsMax } from '../../../src/behaviour/drift/notices.ts';
import { createTelling } from '../../../src/behaviour/drift/telling.ts';
import type { ChannelListener } from '../../../src/store/drift-port.ts';
import { beganMs, play } from './agents.ts';

const settings = { readySamples: 500, readyAfterMs: 0, discountScore: 0.99, alarmScore: 0.999, alarmsMax: 5 };

/** A replica on a channel whose other members are the test's to say. */
function open(others: number) {
  const told: string[] = [];
  const state = { others, isStuck: false, release: () => {} };
  let listener: ChannelListener | null = null;
  const secret = Buffer.alloc(32, 1);
  const telling = createTelling({
    store: {
      join: (_name, joined) => {
        listener = joined;
        return {
          tell: (text) => {
            told.push(text);
            const { promise, resolve } = Promise.withResolvers<number>();
            state.release = () => resolve(state.others);
            if (!state.isStuck) state.release();
            return promise;
          },
          close: () => {},
        };
      },
    },
    channel: 'c',
    clock: () => beganMs,
    engine: createEngine({ secret, settings, sessionsMax: 10, fields: [], documented: new Set() }),
    keeper: { peek: () => undefined, follow: () => {} },
    onUnheard: () => {},
    onFault: (fault) => {
      throw fault;
    },
  });
  const judgement = play().call('GET /things/1');
  const judge = (requests: number) => {
    for (let request = 0; request < requests; request++) telling.judged('agent-1', 's', judgement);
  };
  return { telling, told, state, judge, hear: (text: string) => listener?.onTold(text) };
}

describe('what a replica tells', () => {
  it('is one message for all of a turn', async () => {
    const { told, judge } = open(1);
    judge(10);
    await expect.poll(() => told.length).toBe(1);
    expect(JSON.parse(told[0] ?? '')).toHaveLength(10);
  });

  it('is kept back where nobody hears it, but for what all must follow, until somebody speaks', async () => {
    const { telling, told, judge, hear } = open(0);
    judge(1);
    await expect.poll(() => told.length).toBe(1);
    await setImmediate();
    judge(100);
    telling.changed('agent-1');
    await expect.poll(() => told.length).toBe(2);
    expect(told[1]).toBe('[[2,"agent-1"]]');
    await setImmediate();
    hear('[]');
    judge(1);
    await expect.poll(() => told.length).toBe(3);
  });

  it('is bounded while the store does not answer, message by message and in all', async () => {
    const { told, state, judge } = open(1);
    state.isStuck = true;
    judge(1);
    await expect.poll(() => told.length).toBe(1);
    judge(50_000);
    state.isStuck = false;
    state.release();
    const chars = () => told.reduce((sum, { length }) => sum + length, 0);
    await expect.poll(chars).toBeGreaterThan(7 * newsCharsMax);
    expect(chars()).toBeLessThan(9 * newsCharsMax);
    expect(Math.max(...told.map(({ length }) => length))).toBeLessThanOrEqual(newsCharsMax);
  });
});

describe('news', () => {
  it('are read as they were told', () => {
    const notice = {
      ...{ session: 's', action: 7, atMs: beganMs, evidence: -513 },
      ...{ actionSurprise: 1.5, sequenceSurprise: 0.25, destinations: [1, 2, 4294967295] },
    };
    const shown = { session: null, action: 4294967295, atMs: beganMs - 1000, hashes: [5, 6] };
    const all = [
      { kind: 'judged', agent: 'ä"\\\n', notice },
      { kind: 'shown', agent: 'a', shown },
      { kind: 'changed', agent: 'a' },
    ] as const;
    expect(decodeNews(`[${all.map(encodeNews).join()}]`, beganMs)).toEqual(all);
  });
});
