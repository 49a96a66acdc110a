import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect, createServer } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { Config } from '../src/config/schema.ts';
import { configSchema } from '../src/config/schema.ts';
import type { Deny } from '../src/decision.ts';
import type { Handle } from '../src/handle.ts';
import { createListener, type Listener, rawResponse } from '../src/listener.ts';
import { writeConfiguration } from './cli/configuration-file.ts';
import { serverCertificate } from './support/certificates.ts';
import { listenOn, RawClient } from './support/raw-http.ts';

const limits = configSchema.shape.limits.parse({});
const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`;

type Started = {
  readonly listener: Listener;
  readonly port: number;
  /** Reasons for which a connection was refused, in order. */
  readonly refused: readonly string[];
  readonly faults: readonly unknown[];
};

const listeners: Listener[] = [];
afterEach(async () => {
  for (const listener of listeners.splice(0)) await listener.drain(0);
});

async function start(
  handle: Handle,
  { listen = {}, ...more }: Partial<Config['limits']> & { readonly listen?: Partial<Config['listen']> } = {},
): Promise<Started> {
  const refused: string[] = [];
  const faults: unknown[] = [];
  const listener = createListener({
    listen: { address: '127.0.0.1:0', publicOrigin: 'https://x', trustedProxies: [], ...listen },
    limits: { ...limits, ...more },
    handle,
    refuseConnection: (_socket, { reason }: Deny) => {
      refused.push(reason);
      return rawResponse(400, [['x-reason', reason]], '');
    },
    onFault: (fault) => faults.push(fault),
  });
  listeners.push(listener);
  return { listener, port: await listener.start(), refused, faults };
}

const answer: Handle = async (_incoming, response) => void response.end('ok');
const hasAnswer = (received: string) => received.endsWith('ok\r\n0\r\n\r\n') || received.endsWith('\r\n\r\nok');

/** Answers /held when the test says so, anything else at once. */
function holding() {
  const arrived = Promise.withResolvers<ServerResponse>();
  let settled = 0;
  const handle: Handle = async (incoming, response) => {
    if (incoming.url !== '/held') return void response.end('ok');
    arrived.resolve(response);
    await new Promise((resolve) => response.once('close', resolve));
    settled += 1;
  };
  return { handle, held: arrived.promise, settled: () => settled };
}

describe('the listener', () => {
  it('takes no more connections than it may, and one again when one is gone', async () => {
    const { port } = await start(answer, { connections: 1 });
    const first = new RawClient(port).send(get('/'));
    await first.until(hasAnswer);
    expect(await new RawClient(port).send(get('/')).end()).toBe('');
    first.destroy();
    await expect
      .poll(async () => {
        const next = new RawClient(port).send(get('/'));
        const received = await next.until(hasAnswer);
        next.destroy();
        return received;
      })
      .toMatch(/^HTTP\/1\.1 200 /);
  });

  it('closes a connection on which nothing more comes', async () => {
    const { port, refused } = await start(answer, { keepAliveTimeout: 50 });
    const received = await new RawClient(port).send(get('/')).end();
    expect(received).toMatch(/^HTTP\/1\.1 200 /);
    expect(received.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(refused).toEqual([]);
  });

  it.each([
    ['whose header fields never end', 'GET / HTTP/1.1\r\nhost: x\r\n'],
    ['on which nothing was ever said', ''],
  ])('ends a connection %s', async (_name, text) => {
    const { port, refused } = await start(answer, { requestHeadersTimeout: 100 });
    await new RawClient(port).send(text).end();
    expect(refused).toEqual(['request_timeout']);
  });

  it('ends a request whose body never ends, and its exchange with it', async () => {
    const ended = Promise.withResolvers<string>();
    const handle: Handle = (incoming: IncomingMessage) =>
      new Promise((resolve) => {
        incoming.resume();
        incoming.once('error', (fault: NodeJS.ErrnoException) => {
          ended.resolve(fault.code ?? '');
          resolve();
        });
      });
    const { port, refused } = await start(handle, { requestHeadersTimeout: 100, requestTimeout: 200 });
    const client = new RawClient(port).send('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc');
    expect(await client.end()).toBe('');
    expect(await ended.promise).toBe('ECONNRESET');
    // The exchange has the socket: nothing else is written to it.
    expect(refused).toEqual([]);
  });

  it('refuses a tunnel, closes its connection, and outlives its reset', async () => {
    const { port, refused } = await start(answer);
    const text = await new RawClient(port).send('CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n').end();
    expect(text).toContain('x-reason: method_not_allowed');
    for (let round = 0; round < 20; round += 1) {
      const client = new RawClient(port).send('CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\nmore');
      client.socket.once('connect', () => client.socket.resetAndDestroy());
      await client.end();
    }
    expect(await new RawClient(port).send(get('/')).until(hasAnswer)).toMatch(/^HTTP\/1\.1 200 /);
    expect(new Set(refused)).toEqual(new Set(['method_not_allowed']));
  });

  it('ends the connection of a refused tunnel also where the client does not', async () => {
    const { port } = await start(answer);
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    socket.write('CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n');
    const goOn = () => {
      socket.write('still here', (fault) => void (fault ?? setImmediate(goOn)));
    };
    socket.resume().once('end', goOn);
    // Nobody is at the other end any more, so such bytes are answered with a reset.
    const [fault] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(['ECONNRESET', 'EPIPE']).toContain(fault.code);
  });

  it.each([
    ['garbage', 'HELLO THERE\r\n\r\n', 'request_malformed'],
    ['header fields beyond every limit', `GET / HTTP/1.1\r\nx: ${'a'.repeat(40_000)}\r\n\r\n`, 'headers_too_large'],
  ])('refuses a connection of %s', async (_name, text, reason) => {
    const { port, refused } = await start(answer);
    expect(await new RawClient(port).send(text).end()).toContain(`x-reason: ${reason}`);
    expect(refused).toEqual([reason]);
  });

  it('writes nothing into the answer that a pipelined request is still waiting for', async () => {
    const { handle, held, settled } = holding();
    const { port, refused } = await start(handle);
    const client = new RawClient(port).send(get('/') + get('/held'));
    await held;
    await client.until(hasAnswer);
    const received = await client.send('HELLO THERE\r\n\r\n').end();
    expect(received.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    // It has its record all the same.
    expect(refused).toEqual(['request_malformed']);
    await expect.poll(settled).toBe(1);
  });

  it('goes on after an exchange that failed, and tells of it', async () => {
    const bug = new TypeError('a bug');
    const { port, faults } = await start(async (incoming, response) => {
      response.end('ok');
      if (incoming.url === '/bug') throw bug;
    });
    const client = new RawClient(port).send(get('/bug'));
    await client.until(hasAnswer);
    await expect.poll(() => faults).toEqual([bug]);
    expect(await new RawClient(port).send(get('/')).until(hasAnswer)).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('names the key and the remedy where its address cannot be had', async () => {
    const other = createServer();
    const address = `127.0.0.1:${await listenOn(other)}`;
    const fault = await start(answer, { listen: { address } }).catch((error: unknown) => error);
    other.close();
    expect(fault).toMatchObject({ code: 'listen', message: expect.stringContaining(`${address} (listen.address)`) });
    listeners.length = 0;
  });
});

describe('draining', () => {
  it('waits for live requests, closes idle connections, and takes no new ones', async () => {
    const { handle, held } = holding();
    const { listener, port } = await start(handle);
    const idle = new RawClient(port).send(get('/'));
    await idle.until(hasAnswer);
    const live = new RawClient(port).send(get('/held'));
    const response = await held;
    let isDrained = false;
    const drained = listener.drain(60_000).then(() => {
      isDrained = true;
    });
    await idle.end();
    const late = new RawClient(port);
    expect(await late.end()).toBe('');
    expect(isDrained).toBe(false);
    response.end('ok');
    expect(await live.end()).toMatch(/^HTTP\/1\.1 200 /);
    await drained;
  });

  it('cuts at the deadline what is left, and waits until its exchange has ended', async () => {
    const { handle, held, settled } = holding();
    const { listener, port } = await start(handle);
    const client = new RawClient(port).send(get('/held'));
    await held;
    await listener.drain(50);
    expect(settled()).toBe(1);
    expect(await client.end()).toBe('');
  });

  it('is not held up by a handshake that never ends', { timeout: 5000 }, async () => {
    const { write } = writeConfiguration();
    const tls = {
      certFile: write('cert.pem', serverCertificate.cert),
      keyFile: write('key.pem', serverCertificate.key),
      clientCert: 'none' as const,
    };
    const { listener, port } = await start(answer, { listen: { tls } });
    const good = connectTls({ port, host: '127.0.0.1', ca: serverCertificate.cert, servername: 'localhost' });
    await new Promise((resolve) => good.once('secureConnect', resolve));
    const silent = new RawClient(port);
    await new Promise((resolve) => silent.socket.once('connect', resolve));
    good.on('error', () => {});
    // A handshake may take ten seconds, and this connection has not even begun one.
    await listener.drain(0);
    await silent.end();
    good.destroy();
  });

  it('lets clients go before it begins: answers close their connections from then on', async () => {
    const { listener, port } = await start(answer);
    const client = new RawClient(port).send(get('/'));
    await client.until(hasAnswer);
    listener.releaseClients();
    const received = await client.send(get('/')).end();
    expect(received.match(/connection: (keep-alive|close)/gi)).toEqual(['Connection: keep-alive', 'Connection: close']);
  });
});
