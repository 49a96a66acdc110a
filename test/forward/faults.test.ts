import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Route } from '../../src/exchange.ts';
import { createForward, type ForwardArguments } from '../../src/forward/forward.ts';
import { answeringServer, exchangeRaw, listenOn, RawClient, rawServer } from '../support/raw-http.ts';
import { type GatewayOptions, publicOrigin, routeTo, startGateway } from './gateway.ts';

let cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
  cleanups = [];
});

async function gateway(port: number, more: Partial<Route> = {}, options: GatewayOptions = {}) {
  const started = await startGateway(routeTo(port, more), options);
  cleanups.push(() => started.close());
  return started;
}

async function upstreamOf(serve: Parameters<typeof rawServer>[0]) {
  const upstream = await rawServer(serve);
  cleanups.push(upstream.close);
  return upstream;
}

async function scripted(...answers: readonly string[]) {
  const upstream = await answeringServer(...answers);
  cleanups.push(upstream.close);
  return upstream;
}

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const get = 'GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
const bodyOf = (answer: string) => answer.slice(answer.indexOf('\r\n\r\n') + 4);

/** Sends one answer to the first request on a connection, and then closes it. */
const answerAndClose = (answer: string) => (socket: Socket) => {
  socket.once('data', () => socket.end(answer, 'latin1'));
};

describe('an upstream that fails before its head', () => {
  it('is refused as failed when nobody listens', async () => {
    const closed = createServer();
    const port = await listenOn(closed);
    closed.close();
    await once(closed, 'close');
    const { port: gatewayPort, through } = await gateway(port);
    expect(bodyOf(await exchangeRaw(gatewayPort, get))).toBe('upstream_failed');
    expect(await through()).toMatchObject({
      refusal: { reason: 'upstream_failed', cause: 'ECONNREFUSED' },
      outcome: { status: 0, upstreamStatus: null },
    });
  });

  it.each([
    ['nothing at all', ''],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.7\r\n'],
    ['half a head', 'HTTP/1.1 200 OK\r\nContent-Le'],
    ['HTTP/0.9', '<html>'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['a status below 100', 'HTTP/1.1 042 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a status above 599', 'HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['an upgrade', 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nxxx'],
    ['a 101 without an upgrade', `HTTP/1.1 101 Switching Protocols\r\n\r\n${ok}`],
    // Stricter than RFC 9110 §15.2, which would have a client ignore it; undici closes the connection.
    ['100 to a request that expects none', `HTTP/1.1 100 Continue\r\n\r\n${ok}`],
    ['length and coding', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['coding and length', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok'],
    ['a list of lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok'],
    ['another coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    ['an unknown coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok'],
    ['a folded field', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok'],
    ['a NUL in a field', 'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok'],
    ['a bare carriage return', 'HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok'],
    ['a huge head', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(70_000)}\r\nContent-Length: 2\r\n\r\nok`],
  ])('is refused as failed when it says %s', async (_name, answer) => {
    const upstream = await upstreamOf(answerAndClose(answer));
    const { port, through } = await gateway(upstream.port);
    const received = await exchangeRaw(port, get);
    expect(bodyOf(received)).toBe('upstream_failed');
    const { refusal } = await through();
    expect(refusal).toMatchObject({ reason: 'upstream_failed' });
    // What the upstream said is not repeated, not even to the audit log.
    expect(JSON.stringify(refusal)).not.toMatch(/OpenSSH|aaaa|Set-Cookie|html/);
  });

  it('is refused as failed when it resets the connection, and is asked once', async () => {
    const upstream = await upstreamOf((socket) => socket.once('data', () => socket.resetAndDestroy()));
    const { port } = await gateway(upstream.port);
    expect(bodyOf(await exchangeRaw(port, get))).toBe('upstream_failed');
    expect(upstream.sockets).toHaveLength(1);
  });

  it('is refused as timed out when its head does not come', async () => {
    const upstream = await upstreamOf(() => {});
    const { port, through } = await gateway(upstream.port, { headersTimeoutMs: 100 });
    expect(bodyOf(await exchangeRaw(port, get))).toBe('upstream_timeout');
    expect((await through()).refusal).toMatchObject({ reason: 'upstream_timeout', cause: 'UND_ERR_HEADERS_TIMEOUT' });
    await upstream.closed(1);
  });

  it('is refused as timed out when it does not read', async () => {
    const upstream = await upstreamOf((socket) => socket.pause());
    const { port, through } = await gateway(upstream.port, { headersTimeoutMs: 200, bodyBytesMax: 50_000_000 });
    const client = new RawClient(port);
    client.send(`POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n${'x'.repeat(30_000_000)}`);
    expect((await through()).refusal).toMatchObject({ reason: 'upstream_timeout' });
    client.destroy();
  });

  it('leaves the next request unharmed', async () => {
    const upstream = await scripted('garbage\r\n\r\n', ok);
    const { port } = await gateway(upstream.port);
    const client = new RawClient(port).send('GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until((text) => text.includes('upstream_failed'));
    client.send(get);
    expect(await client.end()).toMatch(/upstream_failed.*HTTP\/1\.1 200 OK\r\n.*ok$/s);
  });

  it.each([401, 407])('is refused as ours when it refuses the credential with %i', async (status) => {
    const upstream = await scripted(
      `HTTP/1.1 ${status} No\r\nWWW-Authenticate: Bearer realm="inner"\r\nDPoP-Nonce: n\r\n` +
        'Content-Length: 9\r\n\r\ntop scret',
      ok,
    );
    const { port, through } = await gateway(upstream.port);
    const answer = await exchangeRaw(port, get);
    expect(bodyOf(answer)).toBe('upstream_auth_failed');
    expect(answer).not.toMatch(/scret|inner|nonce/i);
    expect(await through()).toMatchObject({
      refusal: { reason: 'upstream_auth_failed' },
      outcome: { upstreamStatus: status, bytesOut: 0 },
    });
    // Its short answer was read to the end, so the connection is good for the next request.
    expect(bodyOf(await exchangeRaw(port, get))).toBe('ok');
    expect(upstream.sockets).toHaveLength(1);
  });

  it('has its connection dropped when it refuses the credential at length', async () => {
    const upstream = await scripted(`HTTP/1.1 401 No\r\nContent-Length: 9000000\r\n\r\n${'x'.repeat(200_000)}`);
    const { port } = await gateway(upstream.port);
    expect(bodyOf(await exchangeRaw(port, get))).toBe('upstream_auth_failed');
    await upstream.closed(1);
  });
});

describe('an upstream that fails after its head', () => {
  it.each([
    ['less than it announced', 'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nsome'],
    ['no last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n'],
    ['a broken chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nzz\r\n'],
  ])('is cut visibly when it sends %s', async (_name, answer) => {
    const upstream = await upstreamOf(answerAndClose(answer));
    const { port, through } = await gateway(upstream.port);
    const received = await exchangeRaw(port, get);
    expect(received).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(received).not.toContain('\r\n0\r\n');
    expect(await through()).toMatchObject({
      refusal: null,
      outcome: { status: 200, upstreamStatus: 200, end: 'upstream_aborted' },
    });
  });

  it('is reset to an HTTP/1.0 client, to which a plain end would look complete', async () => {
    const upstream = await upstreamOf((socket) => {
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n'));
    });
    const { port } = await gateway(upstream.port);
    const client = new RawClient(port);
    let code = '';
    client.socket.on('error', (fault: NodeJS.ErrnoException) => {
      code = fault.code ?? '';
    });
    client.send('GET /api/x HTTP/1.0\r\n\r\n');
    await client.until((text) => text.includes('some'));
    upstream.sockets[0]?.destroy();
    await client.end();
    expect(code).toBe('ECONNRESET');
  });

  it('is cut when it stops in the middle', async () => {
    const upstream = await upstreamOf((socket) => {
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nsome'));
    });
    const { port, through } = await gateway(upstream.port, { bodyTimeoutMs: 100 });
    expect(bodyOf(await exchangeRaw(port, get))).toBe('some');
    expect((await through()).outcome).toMatchObject({ end: 'upstream_aborted', bytesOut: 4 });
  });
});

describe('a client that leaves', () => {
  /** An upstream that never answers, and tells when its connection is closed. */
  async function silent(head = '') {
    let onRequest = () => {};
    const requested = new Promise<void>((resolve) => {
      onRequest = resolve;
    });
    const upstream = await upstreamOf((socket) => {
      socket.once('data', () => {
        if (head !== '') socket.write(head);
        onRequest();
      });
    });
    return { ...upstream, requested };
  }

  it('before the answer cancels the upstream request', async () => {
    const upstream = await silent();
    const { port, through } = await gateway(upstream.port);
    const client = new RawClient(port).send(get);
    await upstream.requested;
    client.destroy();
    await upstream.closed(1);
    expect(await through()).toMatchObject({ refusal: null, outcome: { status: 0, end: 'client_aborted' } });
  });

  it('during the answer cancels the upstream request', async () => {
    const upstream = await silent('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nsome');
    const { port, through } = await gateway(upstream.port);
    const client = new RawClient(port).send(get);
    await client.until((text) => text.includes('some'));
    client.destroy();
    await upstream.closed(1);
    expect((await through()).outcome).toMatchObject({ status: 200, end: 'client_aborted' });
  });

  it('in the middle of its body cancels the upstream request, which never looks complete', async () => {
    const upstream = await silent();
    const { port, through } = await gateway(upstream.port);
    const client = new RawClient(port);
    client.send('POST /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n');
    await upstream.requested;
    client.destroy();
    await upstream.closed(1);
    expect(upstream.received.join('')).not.toContain('\r\n0\r\n');
    expect((await through()).outcome.end).toBe('client_aborted');
  });

  it('while it waits for a connection is never forwarded', async () => {
    const upstream = await upstreamOf((socket) => {
      socket.on('data', (text: string) => {
        if (!text.includes('/first')) socket.write(ok);
      });
    });
    const limits = { maxConnections: 1, connectTimeoutMs: 60_000 };
    const { port, through } = await gateway(upstream.port, {}, limits);
    const first = new RawClient(port).send(get.replace('/x', '/first'));
    await upstream.until((text) => text.includes('/first'));
    // Behind the second on the same connection comes garbage, so it is closed when the second has been seen.
    const second = new RawClient(port).send(
      `${get.replace('/x', '/second').replace('Connection: close\r\n', '')}GARBAGE\r\n\r\n`,
    );
    await second.end();
    expect((await through()).outcome).toMatchObject({ end: 'client_aborted', status: 0 });
    upstream.sockets[0]?.write(ok);
    expect(bodyOf(await first.end())).toBe('ok');
    expect(bodyOf(await exchangeRaw(port, get.replace('/x', '/third')))).toBe('ok');
    expect(upstream.received.join('')).toContain('/third');
    expect(upstream.received.join('')).not.toContain('/second');
    // The connection that the second waited for was in order, and stays in use.
    expect(upstream.sockets).toHaveLength(1);
  });

  it('behind a pipelined request cancels both', async () => {
    const upstream = await silent();
    const { port, through } = await gateway(upstream.port);
    const request = 'GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n';
    const client = new RawClient(port).send(request + request);
    await upstream.requested;
    client.destroy();
    expect((await through(0)).outcome.end).toBe('client_aborted');
    expect((await through(1)).outcome.end).toBe('client_aborted');
  });

  it('by not reading is cut off after the body timeout', async () => {
    const upstream = await upstreamOf((socket) => {
      socket.once('data', () =>
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n${'x'.repeat(39_000_000)}`),
      );
    });
    const { port, through } = await gateway(upstream.port, { bodyTimeoutMs: 300 });
    const client = new RawClient(port);
    client.socket.pause();
    client.send(get);
    expect((await through()).outcome).toMatchObject({ status: 200, end: 'client_aborted' });
    await upstream.closed(1);
    client.destroy();
  });
});

describe('pipelined requests', () => {
  it('are answered in their order', async () => {
    const upstream = await upstreamOf((socket) => {
      socket.on('data', (text: string) => {
        const path = text.split(' ')[1] ?? '';
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
      });
    });
    const { port, through } = await gateway(upstream.port);
    const request = (path: string) => `GET /api${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const client = new RawClient(port).send(request('/one') + request('/two') + request('/three'));
    await client.until((text) => text.includes('/three'));
    expect(client.received).toMatch(/\/one.*\/two.*\/three/s);
    expect((await through(2)).outcome.end).toBe('complete');
    client.destroy();
  });
});

describe('a fault of our own', () => {
  it('is thrown, and not taken for one of the upstream', async () => {
    const upstream = await scripted(ok);
    const injection = { name: 'key', version: 1, fields: [['authorization', 'a\nb']] as [string, string][] };
    const { port, through } = await gateway(upstream.port, {}, { injection });
    expect(bodyOf(await exchangeRaw(port, get))).toBe('internal_error');
    expect((await through()).fault).toMatchObject({ code: 'UND_ERR_INVALID_ARG' });
    expect(upstream.received.join('')).toBe('');
  });

  it('is a route that was never set up', () => {
    const { forward } = createForward({
      routes: [],
      publicOrigin,
      reasonHeader: 'agent-reason',
      maxConnections: 1,
      maxWaiting: 1,
      connectTimeoutMs: 1000,
    });
    expect(() => forward({ route: routeTo(1) } as ForwardArguments)).toThrow(
      expect.objectContaining({ code: 'unknown_route' }),
    );
  });
});

describe('close', () => {
  it('fails what is under way', async () => {
    const upstream = await upstreamOf(() => {});
    const started = await startGateway(routeTo(upstream.port));
    const client = new RawClient(started.port).send(get);
    await upstream.until((text) => text.includes('\r\n\r\n'));
    const closed = started.close();
    expect((await started.through()).refusal).toMatchObject({ reason: 'upstream_failed' });
    await closed;
    await client.end();
  });
});
