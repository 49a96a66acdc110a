import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { RawClient, type RawServer, rawServer } from '../support/raw-http.ts';
import { routeTo, startGateway } from './gateway.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

it('resets the connection of a client that reads nothing, so that nothing is kept for it', async () => {
  const upstream: RawServer = await rawServer((socket) => {
    socket.once('data', () =>
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n${'x'.repeat(39_000_000)}`),
    );
  });
  closers.push(upstream.close);
  const gateway = await startGateway(routeTo(upstream.port, { bodyTimeoutMs: 200 }));
  closers.push(gateway.close);
  const client = new RawClient(gateway.port);
  client.socket.pause();
  client.send('GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n');
  expect((await gateway.through()).outcome.end).toBe('client_aborted');
  const failed = once(client.socket, 'error');
  client.socket.resume();
  expect(((await failed) as [NodeJS.ErrnoException])[0].code).toBe('ECONNRESET');
});
