import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTestClock } from '../support/clock.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { answerMail, drift, route, work } from './drift-habit.ts';

/** Nothing is challenged, so that a probe goes on: what is looked at is the scores. */
const rules = `rules:
  - { id: no-vault, when: request.url_path.startsWith("/api/vault/"), effect: deny }
  - { id: all, when: "true", effect: allow }
`;

describe('an agent that tries what it may not, or what is not there', () => {
  const clock = createTestClock();
  let harness: Harness;
  beforeEach(async () => {
    harness = await startSidecar({ config: { drift }, route, rules, clock });
    answerMail(harness, 'Good morning.');
    await work(harness, clock, 250);
  });
  afterEach(() => harness.close());

  /** Ten calls half a minute apart, which is slower than the agent usually calls. */
  async function probe(path: (index: number) => string, status: number) {
    const scores: { score: number; rate: number; novelty: number }[] = [];
    for (let index = 0; index < 10; index++) {
      clock.advance(30_000);
      const answer = await harness.call(path(index));
      expect(answer.status).toBe(status);
      const { drift: seen } = await harness.record(answer.decision);
      if (seen !== null) scores.push(seen);
    }
    expect(scores).toHaveLength(10);
    return scores;
  }

  const answerWith = (status: number) =>
    harness.upstream.answerWith((_, response) => void response.writeHead(status).end());

  it('is conspicuous with every path that it guesses', async () => {
    answerWith(404);
    const scores = await probe((index) => `/api/guess/${'abcdefghij'[index]}`, 404);
    for (const { score, novelty } of scores) {
      expect(score).toBeGreaterThan(0.99);
      expect(novelty).toBeGreaterThan(0.9);
    }
  });

  it('is conspicuous with every call that a rule denies', async () => {
    const before = harness.upstream.requests.length;
    const scores = await probe((index) => `/api/vault/${'abcdefghij'[index]}`, 403);
    for (const { score } of scores) expect(score).toBeGreaterThan(0.99);
    expect(harness.upstream.requests.length).toBe(before);
  });

  it('is conspicuous by its rate where the API refuses what the agent usually does', async () => {
    answerWith(403);
    const refused = await probe(() => '/api/mail', 403);
    expect(refused.at(-1)?.rate).toBeGreaterThan(0.9);
    expect(refused.at(-1)?.novelty).toBe(0);
  });

  it.each([200, 401, 429, 503])('is not where the API answers with %d', async (status) => {
    answerWith(status);
    const scores = await probe(() => '/api/mail', status === 401 ? 502 : status);
    for (const { rate } of scores.slice(1)) expect(rate).toBeLessThan(0.9);
  });
});
