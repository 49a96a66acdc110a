import { describe, expect, it } from 'vitest';
import { findAction } from '../../../src/behaviour/drift/action-table.ts';
import { unit } from '../../../src/behaviour/drift/baseline.ts';
import { baselineBytesMax, encodeBaseline } from '../../../src/behaviour/drift/codec.ts';
import { confirmCompromise, confirmSafe, freeze, settle, unfreeze } from '../../../src/behaviour/drift/drift.ts';
import { toMillionths } from '../../../src/behaviour/drift/judgement.ts';
import { createRandom, destination, habit, minuteMs, play, shown } from './agents.ts';

/** Five times the same thing that the agent never did: alarms, once it has a history. */
function intrude({ call }: ReturnType<typeof play>, calls: number) {
  return Array.from({ length: calls }, (_, index) => call(`DELETE /secrets/${index}`));
}

describe('calibration', () => {
  it('gives 0.99 or more to one in a hundred of an agent’s own requests, where all is learned', () => {
    const scores: number[] = [];
    for (const seed of [1, 2, 3]) {
      const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
      for (const { score } of own.live(9000, seed, 'confirmed').slice(3000)) scores.push(score);
    }
    const share = (least: number) => scores.filter((score) => score >= least).length / scores.length;
    expect(share(0.99)).toBeGreaterThan(0.007);
    expect(share(0.99)).toBeLessThan(0.013);
    expect(share(0.999)).toBeLessThan(0.0025);
  });

  it('gives it to no more than one in forty where alarms are learned at a discount', () => {
    for (const seed of [1, 2, 3]) {
      const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
      const later = own.live(9000, seed).slice(3000);
      expect(later.filter(({ score }) => score >= 0.99).length / later.length).toBeLessThan(0.025);
    }
  });

  it('keeps that promise to an agent of one action and to one of ever new actions', () => {
    for (const action of [() => 'GET /only', (index: number) => `GET /new/${index}`]) {
      const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
      let alarms = 0;
      for (let index = 0; index < 4000; index++) {
        const { score } = own.call(action(index));
        if (index >= 2000 && score >= 0.99) alarms++;
      }
      expect(alarms / 2000).toBeLessThan(0.02);
    }
  });

  it('gives no score before 200 requests, and is not ready before 500 and a day', () => {
    const own = play();
    const early = own.live(200);
    expect(early.every(({ score, sequence, rate }) => score === 0 && sequence === 0 && rate === 0)).toBe(true);
    expect(own.live(200).some(({ score }) => score > 0)).toBe(true);
    expect(own.live(100).at(-1)?.ready).toBe(false);
    // A minute a request: 500 of them take eight hours.
    expect(own.live(1000).at(-1)?.ready).toBe(true);
  });

  it('claims no more than the history can show', () => {
    const own = play();
    own.live(400);
    for (const judgement of intrude(own, 20)) {
      const cap = 1 - 1 / (judgement.samples + 1);
      for (const score of [judgement.score, judgement.novelty, judgement.sequence, judgement.rate]) {
        expect(score).toBeLessThanOrEqual(cap);
      }
    }
  });

  it('finds an intruder who does what the agent never does', () => {
    const own = play();
    own.live(3000);
    const [first] = intrude(own, 5);
    expect(first?.novelty).toBeGreaterThan(0.99);
    expect(first?.score).toBeGreaterThan(0.99);
  });

  it('finds who goes on trying what is refused, at the usual pace and with what it usually does', () => {
    const trying = (isRefused: boolean, often: number) => {
      const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
      const random = createRandom(5);
      const { drift, agent } = own;
      let atMs = own.now();
      const call = (action: string, refused: boolean) => {
        atMs += minuteMs * (0.2 + 1.6 * random());
        const judgement = drift.judge(agent, { action, session: null, atMs, destinations: [] });
        drift.learn(agent, judgement, 'allowed');
        if (refused) drift.noteRefusal(agent);
        return judgement;
      };
      for (let index = 0; index < 3000; index++) call(habit(random), random() < often);
      return Array.from({ length: 10 }, () => call('GET /things/1', isRefused));
    };
    const most = (judgements: ReturnType<typeof trying>, of: 'score' | 'rate') =>
      Math.max(...judgements.map((judgement) => judgement[of]));
    expect(most(trying(true, 0), 'rate')).toBeGreaterThan(0.999);
    expect(most(trying(true, 0), 'score')).toBeGreaterThan(0.99);
    // The same calls, where they are answered; and an agent to which that happens all day.
    expect(most(trying(false, 0), 'rate')).toBeLessThan(0.99);
    expect(most(trying(true, 0.5), 'rate')).toBeLessThan(0.99);
  });

  it('finds a flood of ordinary requests', () => {
    const own = play();
    own.live(3000);
    let rate = 0;
    for (let index = 0; index < 100; index++) {
      const event = { action: 'GET /things/0', session: null, atMs: own.now() + index * 20, destinations: [] };
      rate = Math.max(rate, own.drift.judge(own.agent, event).rate);
    }
    expect(rate).toBeGreaterThan(0.999);
  });

  it('gives the same scores for the same history', () => {
    const [left, right] = [play(), play()];
    expect(left.live(1500)).toEqual(right.live(1500));
    expect(encodeBaseline(left.agent.view)).toEqual(encodeBaseline(right.agent.view));
  });

  it('does not let what other agents do change the score', () => {
    const [alone, among] = [play(), play()];
    for (let peer = 0; peer < 30; peer++) {
      among.fleet.peers++;
      among.fleet.weight += 1000 * unit;
      among.fleet.counts.fill(7 * peer);
    }
    const scores = (own: typeof alone) => own.live(1500).map(({ score, sequence }) => [score, sequence]);
    expect(scores(among)).toEqual(scores(alone));
  });
});

describe('learning', () => {
  const countOf = (own: ReturnType<typeof play>, action: string) => {
    const { action: key } = own.drift.judge(own.agent, { action, session: 'x', atMs: own.now(), destinations: [] });
    const slot = findAction(own.agent.view.actions, key);
    return slot === -1 ? 0 : (own.agent.view.actions.counts[slot] ?? 0);
  };

  it('takes nothing over from a denied request', () => {
    const own = play();
    own.live(1000);
    own.call('POST /denied', { outcome: 'denied', destinations: [destination(9)] });
    settle(own.agent, own.fleet);
    expect(countOf(own, 'POST /denied')).toBe(0);
    expect(own.call('POST /denied', { destinations: [destination(9)] }).destination).toBeGreaterThan(0);
  });

  it('takes an allowed alarm over at a fraction, and in full once confirmed', () => {
    const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
    own.live(1600);
    const alarm = own.call('POST /odd');
    expect(alarm.isAlarm).toBe(true);
    const confirmed = own.call('POST /vouched', { outcome: 'confirmed' });
    expect(confirmed.isAlarm).toBe(true);
    settle(own.agent, own.fleet);
    expect(countOf(own, 'POST /odd')).toBe(1);
    expect(countOf(own, 'POST /vouched')).toBe(unit);
  });

  it('latches after repeated alarms, and then learns nothing', () => {
    const own = play();
    own.live(3000);
    settle(own.agent, own.fleet);
    intrude(own, 4);
    expect(own.agent.view.standing).toBe('latched');
    const { weight, calibrated } = own.agent.view;
    own.live(200);
    expect(own.agent.view.weight).toBe(weight);
    expect(own.agent.view.calibrated).toBe(calibrated);
    expect(own.agent.view.standing).toBe('latched');
  });

  it('learns what waited in quarantine once a person confirms the agent as safe', () => {
    const own = play();
    own.live(3000);
    intrude(own, 4);
    own.live(200);
    const { weight } = own.agent.view;
    confirmSafe(own.agent, own.now());
    expect(own.agent.view.standing).toBe('learning');
    expect(own.agent.view.weight).toBeGreaterThan(weight + 100 * unit);
    expect(own.call('GET /things/0').alarms).toBe(0);
  });

  it('drops what waited in quarantine once a person confirms a compromise', () => {
    const own = play();
    own.live(3000);
    settle(own.agent, own.fleet);
    intrude(own, 4);
    for (let index = 0; index < 200; index++) own.call('DELETE /secrets/1');
    const { weight } = own.agent.view;
    confirmCompromise(own.agent, own.now());
    expect(own.agent.view.weight).toBe(weight);
    expect(own.call('DELETE /secrets/1').novelty).toBeGreaterThan(0.99);
  });

  it('learns nothing while frozen, and goes on afterwards', () => {
    const own = play();
    own.live(1000);
    settle(own.agent, own.fleet);
    const before = own.agent.view.weight;
    freeze(own.agent, own.now());
    own.live(200);
    expect(own.agent.view.weight).toBe(before);
    expect(own.agent.view.samples).toBe(1200);
    unfreeze(own.agent, own.now());
    own.live(200);
    expect(own.agent.view.weight).toBeGreaterThan(before);
  });

  it('stays within its bytes whatever an agent does', () => {
    const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
    const random = createRandom(5);
    for (let index = 0; index < 30_000; index++) {
      const hash = Math.floor(random() * 2 ** 32);
      own.call(`GET /${Math.floor(random() * 5000)}`, { destinations: [destination(hash), destination(hash ^ 1)] });
      if (index % 10 === 0) own.drift.seenInResponse(own.agent, null, 'GET /1', shown(hash ^ 2, hash ^ 3), own.now());
    }
    const { length } = encodeBaseline(own.agent.view);
    expect(length).toBeLessThan(16 * 1024);
    expect(length).toBeLessThan(baselineBytesMax);
    expect(own.agent.view.actions.used).toBeLessThanOrEqual(192);
  });
});

describe('destinations', () => {
  /** An agent that pays the same two people, over and over. */
  function payer() {
    const own = play();
    for (let index = 0; index < 400; index++) {
      const session = `s${index}`;
      own.call('GET /bills', { session });
      own.call('POST /payments', { session, destinations: [destination(100 + (index % 2))] });
    }
    settle(own.agent, own.fleet);
    return own;
  }

  it('scores a destination this operation never had, and no known one', () => {
    const own = payer();
    expect(own.call('POST /payments', { destinations: [destination(100)] }).destination).toBe(0);
    const fresh = own.call('POST /payments', { destinations: [destination(7)] });
    expect(fresh.destination).toBeGreaterThan(0.95);
    expect(fresh.tainted).toBe(false);
  });

  it('scores one known from another operation less than a stranger', () => {
    const known = payer().call('POST /refunds', { destinations: [destination(100)] });
    const stranger = payer().call('POST /refunds', { destinations: [destination(7)] });
    expect(known.destination).toBeGreaterThan(0);
    expect(stranger.destination).toBeGreaterThan(known.destination);
  });

  it('learns of each field how often it holds something new', () => {
    const own = play();
    const [place, title, inText] = [2, 3, 4];
    const booking = (hotel: number, words: number) => [
      destination(hotel, 'plain', place),
      destination(words, 'plain', title),
      destination(0, 'text', inText),
    ];
    for (let index = 0; index < 300; index++) {
      own.call('POST /bookings', { destinations: booking(500 + (index % 3), 10_000 + index) });
    }
    settle(own.agent, own.fleet);
    const usual = own.call('POST /bookings', { destinations: booking(501, 20_000) });
    const elsewhere = own.call('POST /bookings', { destinations: booking(7, 20_001) });
    const linked = own.call('POST /bookings', { destinations: [destination(8, 'reach', inText)] });
    expect(usual.destination).toBeLessThan(0.1);
    expect(elsewhere.destination).toBeGreaterThan(0.75);
    expect(own.drift.explain(own.agent, elsewhere).top.map(({ text }) => text)).toContainEqual(
      expect.stringMatching(/^POST \/bookings has a value in recipient that this agent never used there \(\d\.\d% of/),
    );
    expect(linked.destination).toBeGreaterThan(0.95);
    expect([elsewhere.isStrange, linked.isStrange]).toEqual([false, true]);
  });

  it('looks at whom a request reaches beyond the first few', () => {
    const own = payer();
    const many = Array.from({ length: 15 }, (_, index) => destination(100 + (index % 2)));
    const { freshIndex, destination: score } = own.call('POST /payments', { destinations: [...many, destination(7)] });
    expect(freshIndex).toBe(15);
    expect(score).toBeGreaterThan(0.95);
  });

  it('has room for so many of a batch, and learns the rest when they come again', () => {
    const own = play();
    const many = (from: number) => Array.from({ length: 16 }, (_, index) => destination(from + index));
    for (let index = 0; index < 50; index++) own.call('POST /mails', { destinations: many(1000 + 16 * index) });
    const isNew = (from: number) => own.call('POST /mails', { destinations: many(from) }).freshIndex !== -1;
    expect([isNew(1000), isNew(1000 + 16 * 49)]).toEqual([false, true]);
  });

  it('is tainted where a response of the same session showed the new destination first', () => {
    const own = payer();
    own.drift.seenInResponse(own.agent, 'now', 'GET /bills', shown(7), own.now());
    const event = { action: 'POST /payments', destinations: [destination(7)], atMs: own.now() + 1000 };
    const judgement = own.drift.judge(own.agent, { ...event, session: 'now' });
    expect(judgement.tainted).toBe(true);
    const [reason] = own.drift.explain(own.agent, judgement).top;
    expect(reason).toMatchObject({ feature: 'destination', seen: 'UNSEEN', fromResponseOf: 'GET /bills' });
    expect(own.drift.judge(own.agent, { ...event, session: 'other' }).tainted).toBe(false);
  });

  it('is not tainted where the agent named it first, the response is old, or it is the id of a thing', () => {
    const own = payer();
    own.call('GET /people', { session: 'own', destinations: [destination(7)] });
    own.drift.seenInResponse(own.agent, 'own', 'GET /people', shown(7), own.now());
    expect(own.call('POST /payments', { session: 'own', destinations: [destination(7)] }).tainted).toBe(false);
    own.drift.seenInResponse(own.agent, 'late', 'GET /bills', shown(8), own.now() - 20 * 60_000);
    expect(own.call('POST /payments', { session: 'late', destinations: [destination(8)] }).tainted).toBe(false);
    own.drift.seenInResponse(own.agent, 'id', 'GET /bills', shown(9), own.now());
    expect(own.call('POST /payments', { session: 'id', destinations: [destination(9, 'id')] }).tainted).toBe(false);
  });

  it('remembers a destination that an alarm named only when it comes again', () => {
    const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
    own.live(1600);
    const seen: number[] = [];
    for (let round = 0; round < 3; round++) {
      seen.push(own.call('POST /odd', { destinations: [destination(7)] }).freshIndex);
      settle(own.agent, own.fleet);
    }
    expect(seen).toEqual([0, 0, -1]);
  });
});

describe('explanation', () => {
  it('says what is unusual, in order of weight, and what is usual there', () => {
    const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
    own.live(3000);
    const judgement = own.call('DELETE /secrets/1');
    const explanation = own.drift.explain(own.agent, judgement);
    expect(explanation).toMatchObject({
      agent: 'agent-1',
      score: toMillionths(judgement.score),
      ready: true,
      standing: 'learning',
    });
    expect(explanation.top.map(({ feature }) => feature).sort()).toEqual(['action', 'sequence']);
    expect(explanation.top.every(({ seen, text }) => seen === 'UNSEEN' && text.includes('DELETE /secrets/1'))).toBe(
      true,
    );
    const sequence = explanation.top.find(({ feature }) => feature === 'sequence');
    expect(sequence?.usual?.length).toBe(3);
    expect(explanation.top.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 1);
  });

  it('gives each reason the share that it has in the score, and leaves out what explains nothing', () => {
    const own = play({ alarmsMax: Number.POSITIVE_INFINITY });
    const usual = () => own.call('POST /payments', { session: 'one', destinations: [destination(1)] });
    for (let index = 0; index < 1500; index++) usual();
    const judgement = own.call('POST /payments', { session: 'one', destinations: [destination(2)] });
    const { top } = own.drift.explain(own.agent, judgement);
    expect(top).toHaveLength(1);
    expect(top[0]).toMatchObject({ feature: 'destination', field: 'recipient' });
    expect(top[0]?.share).toBeCloseTo(judgement.destinationEvidence / judgement.combinedValue, 2);
    expect(top[0]?.text).toMatch(
      /^POST \/payments names a destination in recipient that this agent never used there \(less than 0\.1% of its calls/,
    );
    for (let index = 0; index < 100; index++) own.call('POST /invites', { destinations: [destination(3)] });
    const elsewhere = own.call('POST /payments', { session: 'one', destinations: [destination(3)] });
    expect(own.drift.explain(own.agent, elsewhere).top[0]?.text).toContain('though it has met it elsewhere');
  });
});
