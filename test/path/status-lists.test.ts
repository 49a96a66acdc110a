/** Token Status Lists (draft-ietf-oauth-status-list) of a real server, from the wire to the decision. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTestClock, type TestClock } from '../support/clock.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { type StatusListServer, startStatusListServer } from '../support/status-list-server.ts';

let lists: StatusListServer;
let harness: Harness;
let clock: TestClock;

beforeEach(async () => {
  lists = await startStatusListServer();
  clock = createTestClock(Math.floor(Date.now() / 1000) * 1000);
});

afterEach(async () => {
  await harness.close();
  await lists.close();
});

async function start(statusList: object = {}): Promise<void> {
  harness = await startSidecar({
    clock,
    config: { issuer: { statusList: { origins: [lists.origin], timeout: '500ms', ...statusList } } },
  });
}

const publish = (statuses: readonly number[]) =>
  lists.publish('1', { statuses, nowMs: clock(), key: harness.issuer.key });
const tokenAt = (idx: number, uri = lists.uri('1')) =>
  harness.mint({ claims: { status: { status_list: { idx, uri } } } });
const call = (token: string) => harness.call('/api/items', { token });

describe('an access token with a status list', () => {
  it('passes while its status is valid, and is refused with the others', async () => {
    await start();
    publish([0, 1]);
    expect((await call(tokenAt(0))).status).toBe(200);
    const refused = await call(tokenAt(1));
    expect([refused.status, refused.reason]).toEqual([401, 'token_revoked']);
    expect(refused.headers['www-authenticate']).toContain('error="invalid_token"');
    expect(lists.requests('1')).toBe(1);
    expect(harness.upstream.requests).toHaveLength(1);
    expect(await harness.record(refused.decision)).toMatchObject({
      reason: 'token_revoked',
      cause: 'revoked: its status list says that the token is invalid',
      agent: { id: 'agent-7' },
      pop: null,
    });
  });

  it('that is remembered is refused once its list has changed and its ttl has passed', async () => {
    await start();
    publish([0]);
    const token = tokenAt(0);
    expect((await call(token)).status).toBe(200);
    publish([1]);
    expect((await call(token)).status).toBe(200);
    clock.advance(60_000);
    expect((await call(token)).reason).toBe('token_revoked');
    publish([0]);
    clock.advance(60_000);
    expect((await call(token)).status).toBe(200);
  });

  it('is answered with 503 while the list is away, and the log says why', async () => {
    await start();
    publish([0]);
    const token = tokenAt(0);
    expect((await call(token)).status).toBe(200);
    lists.setFault('reset');
    clock.advance(60_000);
    const answer = await call(token);
    expect([answer.status, answer.reason, answer.headers['retry-after']]).toEqual([503, 'issuer_unavailable', '1']);
    expect(answer.headers['www-authenticate']).toBeUndefined();
    expect(harness.log.join('')).toContain(`${lists.uri('1')} could not be fetched`);
    const { text } = await harness.admin('GET', '/metrics');
    const series = `postern_status_list_fetches_total{issuer="${harness.issuer.issuer}"`;
    expect(text).toContain(`${series},outcome="fetched"} 1`);
    expect(text).toContain(`${series},outcome="failed"} 1`);
    lists.setFault(null);
    clock.advance(1000);
    expect((await call(token)).status).toBe(200);
  });

  it('is refused where the list is at a place that nobody allowed, which is not called', async () => {
    await start({ origins: [] });
    publish([0]);
    expect((await call(tokenAt(0))).reason).toBe('token_invalid');
    expect(lists.requests('1')).toBe(0);
  });

  it('makes nobody fetch a list who has no proof for it', async () => {
    await start();
    publish([0]);
    const token = tokenAt(0);
    const stolen = harness.proofFor('/api/other', token);
    expect((await harness.call('/api/items', { token, proof: stolen })).reason).toBe('proof_invalid');
    expect(lists.requests('1')).toBe(0);
  });

  it('is required where the configuration says so', async () => {
    await start({ check: 'required' });
    publish([0]);
    expect((await call(harness.mint())).reason).toBe('token_invalid');
    expect((await call(tokenAt(0))).status).toBe(200);
  });
});
