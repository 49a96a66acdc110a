import type { ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { readResponses } from '../support/raw-responses.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

/** What several requests in one packet do to each other's answers. */
let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar();
});
afterEach(() => harness.upstream.answerWith((_incoming, response) => response.end('{"ok":true}')));
afterAll(() => harness.close());

function good(path: string, method: string, lines = '', body = ''): string {
  const token = harness.mint();
  const credentials = `authorization: DPoP ${token}\r\ndpop: ${harness.proofFor(path, token, method)}\r\n`;
  return `${method} ${path} HTTP/1.1\r\nhost: a\r\n${credentials}${lines}\r\n${body}`;
}

/** The upstream keeps this path waiting until it is let go. */
function holdBack(path: string): { readonly arrived: Promise<unknown>; readonly release: () => void } {
  const { promise, resolve } = Promise.withResolvers<ServerResponse>();
  harness.upstream.answerWith((incoming, response) => {
    if (incoming.url === path) resolve(response);
    else response.end('{"ok":true}');
  });
  return { arrived: promise, release: () => void promise.then((response) => response.end('{"ok":true}')) };
}

it('asks for a body only when the answers before it are out', async () => {
  const { arrived, release } = holdBack('/api/first');
  const lines = 'expect: 100-continue\r\ncontent-length: 3\r\n';
  const client = new RawClient(harness.port).send(
    good('/api/first', 'GET') + good('/api/second', 'POST', lines, 'abc'),
  );
  await arrived;
  await expect.poll(() => harness.upstream.requests.length).toBe(2);
  expect(client.received).toBe('');
  release();
  await client.until((text) => readResponses(text, ['GET', 'POST'], false).responses.length === 2);
  const { responses, rest } = readResponses(client.received, ['GET', 'POST'], false);
  expect(responses.map(({ status, body }) => [status, body])).toEqual([
    [200, '{"ok":true}'],
    [200, '{"ok":true}'],
  ]);
  expect(rest).toBe('');
  client.destroy();
});

it('asks a client that waits for it, once the answer before is out', async () => {
  const { arrived, release } = holdBack('/api/first');
  const lines = 'expect: 100-continue\r\ncontent-length: 3\r\n';
  const client = new RawClient(harness.port).send(good('/api/first', 'GET') + good('/api/second', 'POST', lines));
  await arrived;
  release();
  await client.until((text) => text.includes('100 Continue\r\n\r\n'));
  expect(client.received.indexOf('{"ok":true}')).toBeLessThan(client.received.indexOf('100 Continue'));
  client.send('abc');
  await client.until((text) => readResponses(text, ['GET', 'POST'], false).responses.length === 2);
  expect(readResponses(client.received, ['GET', 'POST'], false)).toMatchObject({ interim: [100], rest: '' });
  client.destroy();
});

it('answers a request that asks to close, whatever comes after it', async () => {
  const { arrived, release } = holdBack('/api/last');
  const seen = harness.upstream.requests.length;
  const client = new RawClient(harness.port).send(
    good('/api/last', 'GET', 'connection: close\r\n') + good('/api/late', 'GET'),
  );
  await arrived;
  client.send(good('/api/later', 'GET'));
  release();
  const { responses, rest } = readResponses(await client.end(), ['GET', 'GET', 'GET'], true);
  expect(responses.map(({ status }) => status)).toEqual([200]);
  expect(rest).toBe('');
  expect(harness.upstream.requests.slice(seen).map(({ url }) => url)).toEqual(['/api/last']);
});

it('answers a HEAD request whose coding the parser gives up on', async () => {
  const lines = 'transfer-encoding: xchunked\r\n';
  const text = await new RawClient(harness.port).send(good('/api/x', 'HEAD', lines, '0\r\n\r\n')).end();
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
  expect(text).toMatch(/\r\n\r\n$/);
});
