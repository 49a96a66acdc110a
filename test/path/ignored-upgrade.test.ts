import { afterAll, beforeAll, expect, it } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar();
});
afterAll(() => harness.close());

function good(path: string, method: string, lines = '', body = ''): string {
  const token = harness.mint();
  const credentials = `authorization: DPoP ${token}\r\ndpop: ${harness.proofFor(path, token, method)}\r\n`;
  return `${method} ${path} HTTP/1.1\r\nhost: a\r\n${credentials}${lines}\r\n${body}`;
}

const upgrade = 'connection: upgrade\r\nupgrade: h2c\r\n';

/** Node's parser drops the rest of a packet after such a request, and would read the next packet as a request. */
it.each([
  ['without a body', () => good('/api/first', 'GET', upgrade)],
  ['with a body', () => good('/api/first', 'POST', `${upgrade}content-length: 3\r\n`, 'abc')],
])('reads nothing more from a connection after a request %s that asks to upgrade', async (_name, write) => {
  const before = harness.upstream.requests.length;
  const hidden = good('/api/hidden', 'GET');
  const cover = `POST /api/cover HTTP/1.1\r\nhost: a\r\ncontent-length: ${hidden.length}\r\n\r\n`;
  const client = new RawClient(harness.port).send(write() + cover);
  await client.until((received) => received.includes('\r\n\r\n'));
  const text = await client.send(hidden).end();
  expect(text).toMatch(/^HTTP\/1\.1 200 /);
  expect(text.toLowerCase()).toContain('connection: close');
  expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  expect(harness.upstream.requests.slice(before).map(({ url }) => url)).toEqual(['/api/first']);
});

/** Of these Node's parser reports no error, so a broken one would hold its connection until the request times out. */
it.each(['3\r\nabc\r\n0\r\n\r\n', '0\r\nnonsense\r\n\r\n', '3x\r\nabc'])(
  'refuses chunks in a request that asks to upgrade: %j',
  async (chunks) => {
    const before = harness.upstream.requests.length;
    const lines = `${upgrade}transfer-encoding: chunked\r\n`;
    const text = await new RawClient(harness.port).send(good('/api/first', 'POST', lines, chunks)).end();
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain('"reason":"request_malformed"');
    expect(harness.upstream.requests.slice(before)).toEqual([]);
  },
);
