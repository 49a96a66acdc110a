import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createAgent } from '../../src/behaviour/drift/agent.ts';
import { createEngine } from '../../src/behaviour/drift/engine.ts';
import { createRedisConnection } from '../../src/store/redis-connection.ts';
import { createRedisDrift } from '../../src/store/redis-drift.ts';
import { createTestClock } from '../support/clock.ts';
import { uniquePrefix } from '../support/redis-server.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { drift, rules } from './drift-habit.ts';

const secret = Buffer.alloc(32, 5);
const minuteMs = 60_000;

/** What twelve agents of the group "readers" and twelve of "payers" have done under another sidecar. */
async function fillStore(url: string, prefix: string): Promise<void> {
  const connection = createRedisConnection({ url, timeoutMs: 5000 });
  await connection.whenUp();
  const settings = { readySamples: 200, readyAfterMs: 0, discountScore: 0.99, alarmScore: 0.997, alarmsMax: 5 };
  const engine = createEngine({ secret, settings, sessionsMax: 100, fields: [], documented: new Set() });
  const work = { readers: 'api GET /api/mail', payers: 'api POST /api/payments' };
  for (const [group, action] of Object.entries(work)) {
    for (let index = 0; index < 12; index++) {
      const agent = createAgent(`${group}-${index}`);
      for (let call = 0; call < 600; call++) {
        const event = { action, session: null, atMs: Date.UTC(2026, 2, 2) + call * minuteMs, destinations: [], group };
        engine.drift.learn(agent, engine.drift.judge(agent, event), 'allowed');
      }
    }
  }
  await engine.share(createRedisDrift(connection, prefix));
  await connection.close();
}

describe('a new agent of a group that the store knows', () => {
  const clock = createTestClock();
  const store = { kind: 'redis', url: inject('redisUrl'), prefix: uniquePrefix(), timeout: '2s' };
  let harness: Harness;
  beforeAll(async () => {
    const secretFile = join(mkdtempSync(join(tmpdir(), 'postern-groups-')), 'secret');
    writeFileSync(secretFile, secret);
    await fillStore(store.url, store.prefix);
    const agents = { claims: { group: 'job' } };
    harness = await startSidecar({ store, config: { drift: { ...drift, secretFile }, agents }, rules, clock });
  });
  afterAll(() => harness.close());

  async function read(agent: string, group: string) {
    clock.advance(minuteMs);
    const answer = await harness.call('/api/mail', {
      token: harness.mint({ claims: { client_id: agent, job: group } }),
    });
    return (await harness.record(answer.decision)).drift;
  }

  it('is compared with it as soon as it has been read', async () => {
    await expect.poll(async () => (await read('first', 'readers'))?.peers, { timeout: 5000 }).toBe(12);
    expect((await read('stranger', 'nobodys'))?.peers).toBe(24);
  });

  it('is conspicuous within ten calls where it does what another group does, and only there', async () => {
    await expect.poll(async () => (await read('other', 'payers'))?.peers, { timeout: 5000 }).toBe(12);
    for (let call = 0; call < 9; call++) {
      await read('reader', 'readers');
      await read('payer', 'payers');
    }
    const [reader, payer] = [await read('reader', 'readers'), await read('payer', 'payers')];
    expect(reader).toMatchObject({ ready: false, peers: 12 });
    expect(reader?.sustained).toBeLessThan(0.5);
    expect(payer).toMatchObject({ ready: false, peers: 12 });
    expect(payer?.sustained).toBeGreaterThan(0.9);
  });
});
