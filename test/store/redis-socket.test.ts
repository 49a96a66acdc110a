import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { connectorTo, createOpenSocket } from '../../src/store/redis-socket.ts';

const at = { host: '127.0.0.1', port: 1 };

test('hears every error of a socket, as one that nobody hears ends the process', async () => {
  const socket = new Socket();
  const Connector = connectorTo({ locate: async () => at, openSocket: () => socket, onLocated: () => {} });
  const opened = await new Connector().connect();
  expect(opened).toBe(socket);
  for (const text of ['first', 'second']) expect(() => opened.emit('error', new Error(text))).not.toThrow();
});

test('gives a closed socket, and why, where no server is found', async () => {
  const problem = new Error('nobody knows');
  const Connector = connectorTo({
    locate: () => Promise.reject(problem),
    openSocket: () => expect.unreachable('nothing was found'),
    onLocated: () => expect.unreachable('nothing was found'),
  });
  const connector = new Connector();
  expect((await connector.connect()).destroyed).toBe(true);
  expect(connector.firstError).toBe(problem);
});

test('opens nothing once it is told to end, however late the server is found', async () => {
  const found = Promise.withResolvers<typeof at>();
  const Connector = connectorTo({
    locate: () => found.promise,
    openSocket: () => expect.unreachable('it was told to end'),
    onLocated: () => expect.unreachable('it was told to end'),
  });
  const connector = new Connector();
  const connecting = connector.connect();
  connector.disconnect();
  found.resolve(at);
  expect((await connecting).destroyed).toBe(true);
});

test('connects anew to wherever the server is by then', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the operating system gave no port');
  const places = [at, { host: '127.0.0.1', port: address.port }];
  const located: number[] = [];
  const Connector = connectorTo({
    locate: async () => places.shift() ?? at,
    openSocket: createOpenSocket(null),
    onLocated: ({ port }) => located.push(port),
  });
  const connector = new Connector();
  const refused = await connector.connect();
  await new Promise((resolve) => refused.once('close', resolve));
  expect(connector.firstError).toMatchObject({ code: 'ECONNREFUSED' });
  const socket = await connector.connect();
  await once(socket, 'connect');
  expect(located).toEqual([1, address.port]);
  connector.disconnect();
  await once(socket, 'close');
});
