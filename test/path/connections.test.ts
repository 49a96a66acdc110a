import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AuditRecord } from '../../src/record/audit-record.ts';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar();
});
afterAll(() => harness.close());
beforeEach(() => harness.upstream.answerWith((_incoming, response) => response.end('{"ok":true}')));

/** A good GET, whose token the sidecar knows already: the decision takes as little time as it ever does. */
async function knownCall(path = '/api/x'): Promise<() => string> {
  const token = harness.mint();
  expect((await harness.call(path, { token })).status).toBe(200);
  return () =>
    `GET ${path} HTTP/1.1\r\nhost: a\r\nauthorization: DPoP ${token}\r\ndpop: ${harness.proofFor(path, token)}\r\n\r\n`;
}

function recordsSince(count: number): AuditRecord[] {
  const lines = harness.auditText().trimEnd().split('\n');
  return lines.slice(count).map((line) => JSON.parse(line) as AuditRecord);
}

async function recorded(): Promise<number> {
  // Whatever came before has been written when a later exchange has.
  const { decision } = await harness.call('/nowhere');
  await harness.record(decision);
  return harness.auditText().trimEnd().split('\n').length;
}

const anonymous = 'GET /api/x HTTP/1.1\r\nhost: a\r\n\r\n';

describe('a connection that is to be closed', () => {
  it.each([
    [
      'codings that two parsers could frame differently',
      'POST /api/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    ],
    ['two Host fields', 'GET /api/x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n'],
    ['a Connection field that names Authorization', 'GET /api/x HTTP/1.1\r\nhost: a\r\nconnection: dpop\r\n\r\n'],
    ['an unknown expectation', 'GET /api/x HTTP/1.1\r\nhost: a\r\nexpect: miracles\r\n\r\n'],
  ])('because of %s serves no request that follows', async (_name, first) => {
    const good = await knownCall();
    const before = { calls: harness.upstream.requests.length, records: await recorded() };
    const answer = await new RawClient(harness.port).send(first + good() + good()).end();
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400']);
    expect(answer.toLowerCase()).toContain('connection: close');
    await expect.poll(() => recordsSince(before.records).length).toBe(3);
    const outcomes = recordsSince(before.records).map(({ decision, reason }) => ({ decision, reason }));
    expect(outcomes).toEqual(Array(3).fill({ decision: 'deny', reason: 'request_malformed' }));
    expect(harness.upstream.requests.length).toBe(before.calls);
  });

  it('because a refused body is not read to its end serves no request that follows it', async () => {
    const good = await knownCall();
    const before = { calls: harness.upstream.requests.length, records: await recorded() };
    const client = new RawClient(harness.port).send('POST /api/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab');
    await client.until((received) => received.includes('token_missing'));
    client.send(`cd${good()}`);
    expect((await client.end()).match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401']);
    await expect.poll(() => recordsSince(before.records).length).toBeGreaterThan(0);
    expect(recordsSince(before.records).map(({ decision }) => decision)).not.toContain('allow');
    expect(harness.upstream.requests.length).toBe(before.calls);
  });
});

describe('bytes that are no request', () => {
  it('are recorded, and end the connection, while the request before them is still being answered', async () => {
    const good = await knownCall();
    const before = { calls: harness.upstream.requests.length, records: await recorded() };
    harness.upstream.answerWith(() => {});
    const client = new RawClient(harness.port).send(good());
    await expect.poll(() => harness.upstream.requests.length).toBe(before.calls + 1);
    expect(await client.send('GARBAGE\r\n\r\n').end()).toBe('');
    await expect.poll(() => recordsSince(before.records).length).toBe(2);
    const outcomes = recordsSince(before.records).map(({ reason, end }) => ({ reason, end }));
    expect(outcomes).toContainEqual({ reason: 'request_malformed', end: 'refused' });
    expect(outcomes).toContainEqual({ reason: null, end: 'client_aborted' });
  });

  it('never get into the answer to the request before them', async () => {
    const good = await knownCall();
    harness.upstream.answerWith((_incoming, response) => {
      response.writeHead(200, { 'content-length': '10' }).write('begun');
    });
    const client = new RawClient(harness.port).send(anonymous + good());
    await client.until((received) => received.includes('begun'));
    expect(await client.send('GARBAGE\r\n\r\n').end()).toMatch(/begun$/);
  });
});

describe('requests on one connection', () => {
  it('are decided each alone and answered in order', async () => {
    const good = await knownCall();
    const before = harness.upstream.requests.length;
    const client = new RawClient(harness.port).send(
      `${good()}${anonymous}${good()}${anonymous.replace('/api', '/no')}`,
    );
    const text = await client.until((received) => (received.match(/HTTP\/1\.1 /g)?.length ?? 0) === 4);
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 401', 'HTTP/1.1 200', 'HTTP/1.1 404']);
    expect(harness.upstream.requests.length).toBe(before + 2);
    client.destroy();
  });

  it('take one proof once, however they arrive', async () => {
    const one = (await knownCall())();
    const before = harness.upstream.requests.length;
    const client = new RawClient(harness.port).send(one.repeat(5));
    const text = await client.until((received) => (received.match(/"reason":"proof_replayed"/g)?.length ?? 0) === 4);
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(1);
    expect(harness.upstream.requests.length).toBe(before + 1);
    client.destroy();
  });

  it('are all recorded, once each, when the client leaves while they wait behind a slow one', async () => {
    const good = await knownCall();
    const before = { calls: harness.upstream.requests.length, records: await recorded() };
    harness.upstream.answerWith(() => {});
    const client = new RawClient(harness.port).send(good() + anonymous.repeat(3) + good());
    await expect.poll(() => harness.upstream.requests.length).toBe(before.calls + 2);
    client.destroy();
    await expect.poll(() => recordsSince(before.records).length).toBe(5);
    const ends = recordsSince(before.records).map(({ end }) => end);
    expect(ends.sort()).toEqual(['client_aborted', 'client_aborted', 'refused', 'refused', 'refused']);
    expect(new Set(recordsSince(before.records).map(({ id }) => id)).size).toBe(5);
  });
});

describe('a sidecar that is closed', () => {
  it('still records the exchange that waits for the keys of an issuer', async () => {
    const closing = await startSidecar();
    const token = closing.mint();
    const text = `GET /api/x HTTP/1.1\r\nhost: a\r\nauthorization: DPoP ${token}\r\ndpop: ${closing.proofFor('/api/x', token)}\r\n\r\n`;
    const release = closing.issuer.hold();
    const client = new RawClient(closing.port).send(text);
    await expect.poll(() => closing.issuer.requests.size).toBeGreaterThan(0);
    // Sent after it and to the same process: when this is answered, the request has been read.
    expect((await closing.admin('GET', '/livez')).status).toBe(200);
    await closing.sidecar.close();
    expect(closing.auditText()).toContain('"reason":"issuer_unavailable"');
    client.destroy();
    release();
    await closing.close();
  });
});
