import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAgent } from '../../../src/behaviour/drift/agent.ts';
import { type Baseline, clearBaseline, createBaseline, mergeBaseline } from '../../../src/behaviour/drift/baseline.ts';
import { baselineBytesMax, decodeBaseline, encodeBaseline } from '../../../src/behaviour/drift/codec.ts';
import { adopt, settle, takeDelta } from '../../../src/behaviour/drift/drift.ts';
import { addFields, ageFields, createFieldSketch } from '../../../src/behaviour/drift/field-sketch.ts';
import { createFleet, mergeFleet } from '../../../src/behaviour/drift/fleet.ts';
import { decodeFleet, encodeFleet } from '../../../src/behaviour/drift/fleet-codec.ts';
import { createRandom, destination, play, shown } from './agents.ts';

/** The baseline of an agent that did `requests` things, some of them with destinations. */
function baselineOf(seed: number, requests: number): Baseline {
  const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
  const random = createRandom(seed);
  for (let index = 0; index < requests; index++) {
    const hash = Math.floor(random() * 50) + 1;
    const destinations = random() < 0.3 ? [destination(hash)] : [];
    own.call(`GET /${Math.floor(40 * random() ** 2)}`, { destinations, session: `s${Math.floor(index / 10)}` });
    if (random() < 0.05) own.drift.seenInResponse(own.agent, null, 'GET /1', shown(hash, hash + 1), own.now());
  }
  settle(own.agent, own.fleet);
  return own.agent.view;
}

const copy = (baseline: Baseline): Baseline => {
  const decoded = decodeBaseline(encodeBaseline(baseline));
  if (decoded === null) throw new Error('a baseline did not decode');
  return decoded;
};
const sum = (...baselines: readonly Baseline[]): Uint8Array => {
  const into = createBaseline();
  for (const baseline of baselines) mergeBaseline(into, copy(baseline));
  return encodeBaseline(into);
};

const histories = fc.record({
  seed: fc.integer({ min: 1, max: 1_000_000 }),
  requests: fc.integer({ min: 0, max: 160 }),
});

describe('merging', () => {
  it('gives the same baseline in whatever order deltas come', () => {
    fc.assert(
      fc.property(histories, histories, histories, (...parts) => {
        const [a, b, c] = parts.map(({ seed, requests }) => baselineOf(seed, requests));
        if (a === undefined || b === undefined || c === undefined) return;
        const left = copy(a);
        mergeBaseline(left, copy(b));
        const right = copy(b);
        mergeBaseline(right, copy(c));
        expect(sum(left, c)).toEqual(sum(a, right));
        expect(sum(a, b, c)).toEqual(sum(c, a, b));
        expect(sum(a, b, c)).toEqual(sum(b, c, a));
      }),
      { numRuns: 40 },
    );
  });

  it('aligns epochs, to within a unit a cell', () => {
    const [a, b, c] = [baselineOf(1, 150), baselineOf(2, 150), baselineOf(3, 150)];
    b.epoch = 1;
    c.epoch = 2;
    const orders = [sum(a, b, c), sum(c, b, a), sum(b, a, c)].map((bytes) => decodeBaseline(bytes));
    for (const merged of orders) {
      expect(merged?.epoch).toBe(2);
      expect(Math.abs((merged?.weight ?? 0) - (orders[0]?.weight ?? 0))).toBeLessThanOrEqual(2);
    }
  });

  it('keeps the share of what is new in a field, however much is added up', () => {
    const sketches = Array.from({ length: 40 }, () => createFieldSketch());
    for (const { named, fresh } of sketches) {
      named[3] = 60;
      fresh[3] = 15;
    }
    const into = createFieldSketch();
    for (const sketch of sketches) addFields(into, sketch);
    expect(into.named[3]).toBeGreaterThan(100);
    expect((into.fresh[3] ?? 0) / (into.named[3] ?? 1)).toBeCloseTo(0.25, 1);
    ageFields(into);
    expect(into.named[3]).toBeLessThanOrEqual(128);
    expect((into.fresh[3] ?? 0) / (into.named[3] ?? 1)).toBeCloseTo(0.25, 1);
  });

  it('lets the latest decision about an agent hold', () => {
    const [a, b] = [createBaseline(), createBaseline()];
    Object.assign(a, { standing: 'latched', standingAtMs: 5 });
    Object.assign(b, { standing: 'learning', standingAtMs: 9 });
    expect(decodeBaseline(sum(a, b))?.standing).toBe('learning');
    expect(decodeBaseline(sum(b, a))?.standing).toBe('learning');
  });

  it('costs little whatever epoch a delta claims', () => {
    const [a, b] = [baselineOf(1, 100), createBaseline()];
    b.epoch = 1_000_000;
    b.calibrationEpoch = 1_000_000;
    mergeBaseline(a, b);
    expect(a.weight).toBe(0);
    expect(a.epoch).toBe(1_000_000);
  });

  it('brings two replicas to the same baseline through their deltas', () => {
    const replicas = [1, 2].map((seed) => {
      const own = play({ alarmsMax: Number.POSITIVE_INFINITY }, createAgent('agent-1', createBaseline(), true));
      own.live(300, seed);
      settle(own.agent, own.fleet);
      return own.agent;
    });
    let stored = encodeBaseline(createBaseline());
    for (const agent of [...replicas, ...replicas]) {
      const base = decodeBaseline(stored) ?? createBaseline();
      const delta = takeDelta(agent);
      if (delta !== null) mergeBaseline(base, copy(delta));
      stored = encodeBaseline(base);
      adopt(agent, base);
    }
    for (const agent of replicas) expect(encodeBaseline(agent.view)).toEqual(stored);
    expect(decodeBaseline(stored)?.samples).toBe(600);
    expect(decodeBaseline(stored)?.weight).toBe(600 * 32);
    expect(replicas.map(takeDelta)).toEqual([null, null]);
  });
});

describe('an agent that has learned nothing yet', () => {
  /** Bytes of the buffers behind a baseline that no other has. */
  const bytesOf = (baseline: Baseline): number => {
    const { actions, pairs, histograms, hours, fields, destinations, recent } = baseline;
    const { newer, older } = baseline.shown;
    const memories = [destinations.newer, destinations.older, newer, older, recent.atMs, recent.evidence, fields.named];
    const views: readonly unknown[] = [...Object.values(actions), pairs, histograms, hours, ...memories];
    const shared = createBaseline();
    const common = new Set([shared.pairs.buffer, shared.destinations.newer.buffer, shared.recent.atMs.buffer]);
    const buffers = new Set(views.filter((view) => ArrayBuffer.isView(view)).map(({ buffer }) => buffer));
    return [...buffers].reduce((sum, buffer) => sum + (common.has(buffer) ? 0 : buffer.byteLength), 0);
  };

  it('takes next to nothing, nor does a delta, and a long-lived one some 15 KB', () => {
    const own = play({}, createAgent('agent-1', createBaseline(), true));
    own.call('GET /1');
    expect(bytesOf(own.agent.view)).toBeLessThan(200);
    expect(bytesOf(copy(own.agent.view))).toBeLessThan(200);
    own.live(400);
    own.drift.seenInResponse(own.agent, null, 'GET /1', shown(1, 2), own.now());
    settle(own.agent, own.fleet);
    takeDelta(own.agent);
    expect(bytesOf(own.agent.view)).toBeGreaterThan(10_000);
    expect(bytesOf(own.agent.view)).toBeLessThan(15_000);
    expect(own.agent.delta === null ? 0 : bytesOf(own.agent.delta)).toBe(0);
  });

  it('shares tables with others that nobody ever writes to', () => {
    const [left, right] = [baselineOf(1, 160), baselineOf(2, 160)];
    right.epoch = 3;
    mergeBaseline(left, right);
    mergeBaseline(left, createBaseline());
    const ahead = createBaseline();
    Object.assign(ahead, { epoch: 9, calibrationEpoch: 9 });
    const behind = createBaseline();
    mergeBaseline(behind, ahead);
    clearBaseline(left);
    const reread = copy(left);
    for (const baseline of [createBaseline(), behind, left, reread]) {
      expect(baseline.actions.used).toBe(0);
      const { actions, pairs, histograms, hours, fields, destinations } = baseline;
      const { newer, older } = baseline.shown;
      const tables = [actions.keys, actions.counts, actions.followers, pairs, histograms, hours, newer, older];
      const isEmpty = (cells: Iterable<number>) => [...cells].every((cell) => cell === 0);
      expect(tables.every(isEmpty)).toBe(true);
      expect([fields.named, fields.fresh, destinations.newer, destinations.older].every(isEmpty)).toBe(true);
    }
  });
});

describe('bytes', () => {
  it('come back as the baseline they were', () => {
    fc.assert(
      fc.property(histories, ({ seed, requests }) => {
        const baseline = baselineOf(seed, requests);
        const decoded = copy(baseline);
        expect(encodeBaseline(decoded)).toEqual(encodeBaseline(baseline));
        expect(decoded.pairs).toEqual(baseline.pairs);
        expect(decoded.histograms).toEqual(baseline.histograms);
        expect(decoded.destinations).toEqual(baseline.destinations);
        expect(decoded.fields).toEqual(baseline.fields);
        expect(decoded.recent.sum).toBe(baseline.recent.sum);
        expect(decoded.recent.alarms).toBe(baseline.recent.alarms);
      }),
      { numRuns: 30 },
    );
  });

  it('are refused where cut, lengthened or of another version', () => {
    const bytes = encodeBaseline(baselineOf(3, 150));
    for (let length = 0; length < bytes.length; length += 7) expect(decodeBaseline(bytes.slice(0, length))).toBeNull();
    expect(decodeBaseline(Uint8Array.from([...bytes, 0]))).toBeNull();
    expect(decodeBaseline(new Uint8Array(baselineBytesMax + 1))).toBeNull();
    const version = bytes.slice();
    version[4] = 99;
    expect(decodeBaseline(version)).toBeNull();
  });

  it('never give a baseline that scores outside 0 to 1, whatever they hold', () => {
    const bytes = encodeBaseline(baselineOf(4, 160));
    const change = fc.record({ at: fc.nat({ max: bytes.length - 1 }), to: fc.nat({ max: 255 }) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const hostile = bytes.slice();
        for (const { at, to } of changes) hostile[at] = to;
        const decoded = decodeBaseline(hostile);
        if (decoded === null) return;
        const own = play({}, createAgent('agent-1', decoded));
        for (const action of ['GET /1', 'POST /new']) {
          const judgement = own.call(action, { destinations: [destination(3)] });
          for (const name of ['score', 'novelty', 'sequence', 'destination', 'rate', 'sustained'] as const) {
            expect(judgement[name]).toBeGreaterThanOrEqual(0);
            expect(judgement[name]).toBeLessThanOrEqual(1);
          }
        }
        settle(own.agent, own.fleet);
      }),
      { numRuns: 400 },
    );
  });

  it('are refused where they are noise', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 4000 }), (noise) => decodeBaseline(noise) === null));
  });
});

describe('the fleet', () => {
  it('adds up, and comes back from bytes', () => {
    const [left, right] = [play(), play()];
    left.live(600, 1);
    right.live(600, 2);
    const [one, other] = [createFleet(), createFleet()];
    for (const fleet of [left.fleet, right.fleet]) mergeFleet(one, fleet);
    for (const fleet of [right.fleet, left.fleet]) mergeFleet(other, fleet);
    expect(one).toEqual(other);
    expect(one.peers).toBe(2);
    expect(decodeFleet(encodeFleet(one), createFleet())).toEqual(one);
    expect(decodeFleet(encodeFleet(one).slice(0, -1), createFleet())).toBeNull();
  });
});
