import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { afterEach, describe, expect, it } from 'vitest';
import type { Route } from '../../src/exchange.ts';
import { serverCertificate } from '../support/certificates.ts';
import { answeringServer, exchangeRaw, listenOn, RawClient } from '../support/raw-http.ts';
import { type GatewayOptions, routeTo, secret, startGateway } from './gateway.ts';

let cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
  cleanups = [];
});

async function gateway(origin: string | number, more: Partial<Route> = {}, options: GatewayOptions = {}) {
  const started = await startGateway(routeTo(origin, more), options);
  cleanups.push(() => started.close());
  return started;
}

/** An upstream that says what it was told to say, byte for byte. */
async function scripted(...answers: readonly string[]) {
  const upstream = await answeringServer(...answers);
  cleanups.push(upstream.close);
  return upstream;
}

async function serving(listener: RequestListener) {
  const server: Server = createServer(listener);
  const port = await listenOn(server);
  cleanups.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return port;
}

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const get = (lines = '', target = '/api/x') =>
  `GET ${target} HTTP/1.1\r\nHost: agents.example\r\nConnection: close\r\n${lines}\r\n`;
const headOf = (answer: string) => answer.slice(0, answer.indexOf('\r\n\r\n') + 4);
const bodyOf = (answer: string) => answer.slice(answer.indexOf('\r\n\r\n') + 4);

describe('what the upstream gets', () => {
  it('is the vetted request with our credential and nothing of the agent, byte for byte', async () => {
    const upstream = await scripted(ok);
    const { port } = await gateway(upstream.port);
    await exchangeRaw(
      port,
      get(
        'Authorization: DPoP agent-token\r\nDPoP: agent-proof\r\nCookie: a=b\r\nAccept: application/json\r\n' +
          'X-Forwarded-For: 1.2.3.4\r\nAgent-Reason: because\r\nX-List: 1\r\nx-list: 2\r\n' +
          'X-Bytes: caf\xc3\xa9\r\nTE: trailers\r\n',
        '/api/caf%c3%a9/%61?q=%2f&r=[1]',
      ),
    );
    expect(upstream.received).toEqual([
      `GET /caf%C3%A9/a?q=%2f&r=[1] HTTP/1.1\r\nhost: 127.0.0.1:${upstream.port}\r\nconnection: keep-alive\r\n` +
        `accept: application/json\r\nx-list: 1\r\nx-list: 2\r\nx-bytes: caf\xc3\xa9\r\n` +
        `authorization: ${secret}\r\n\r\n`,
    ]);
  });

  it('is framed anew: announced, chunked, and empty bodies', async () => {
    const upstream = await scripted('HTTP/1.1 204 No Content\r\n\r\n');
    const { port } = await gateway(upstream.port);
    const line = 'HTTP/1.1\r\nHost: a\r\nConnection: close\r\n';
    await exchangeRaw(port, `POST /api/a ${line}Content-Length: 5\r\n\r\nhello`);
    await exchangeRaw(
      port,
      `POST /api/b ${line}Transfer-Encoding: chunked\r\n\r\n2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n`,
    );
    await exchangeRaw(port, `POST /api/c ${line}Content-Length: 0\r\n\r\n`);
    await exchangeRaw(port, `POST /api/d ${line}\r\n`);
    await exchangeRaw(port, `DELETE /api/e ${line}Content-Length: 5\r\n\r\nhello`);
    await exchangeRaw(port, `GET /api/f ${line}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`);
    const all = upstream.received.join('');
    const requests = all
      .split(/(?=(?:POST|GET|DELETE) )/)
      .map((text) => text.replace(/host: [^\r]*\r\nconnection: [^\r]*\r\n/, ''));
    expect(requests).toEqual([
      `POST /a HTTP/1.1\r\nauthorization: ${secret}\r\ncontent-length: 5\r\n\r\nhello`,
      `POST /b HTTP/1.1\r\nauthorization: ${secret}\r\ntransfer-encoding: chunked\r\n\r\n` +
        '2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n',
      `POST /c HTTP/1.1\r\nauthorization: ${secret}\r\ncontent-length: 0\r\n\r\n`,
      `POST /d HTTP/1.1\r\nauthorization: ${secret}\r\ncontent-length: 0\r\n\r\n`,
      `DELETE /e HTTP/1.1\r\nauthorization: ${secret}\r\ncontent-length: 5\r\n\r\nhello`,
      `GET /f HTTP/1.1\r\nauthorization: ${secret}\r\n\r\n`,
    ]);
  });

  it('never holds a smuggled second request', async () => {
    const upstream = await scripted(ok);
    const { port } = await gateway(upstream.port);
    const inner = 'GET /admin HTTP/1.1\r\nHost: a\r\n\r\n';
    const line = 'HTTP/1.1\r\nHost: a\r\nConnection: close\r\n';
    await exchangeRaw(port, `GET /api/x ${line}Content-Length: ${inner.length}\r\n\r\n${inner}`);
    await exchangeRaw(
      port,
      `POST /api/x ${line}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
    );
    await exchangeRaw(port, `POST /api/x ${line}Transfer-Encoding: xchunked\r\n\r\n${inner}`);
    await exchangeRaw(port, `POST /api/x ${line}Transfer-Encoding: identity\r\n\r\n${inner}`);
    // The first one's inner text is its body; the others never got that far.
    expect(upstream.received.join('').match(/HTTP\/1\.1\r\nhost/g)).toHaveLength(1);
    expect(upstream.received.join('')).toContain(`content-length: ${inner.length}\r\n\r\n${inner}`);
  });
});

describe('what the client gets', () => {
  it('is status, end-to-end fields and body of the upstream, with ours added', async () => {
    const upstream = await scripted(
      'HTTP/1.1 201 Whatever It Says\r\nContent-Type: text/plain\r\nServer: secret/1\r\nSet-Cookie: a=b\r\n' +
        'Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n' +
        `Location: http://127.0.0.1:1/x\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nok`,
    );
    const { port, through } = await gateway(upstream.port, {}, { extraFields: ['dpop-nonce', 'n1'] });
    const answer = await exchangeRaw(port, get());
    expect(answer).toBe(
      'HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\n' +
        'x-a: 1\r\nx-a: 2\r\n' +
        'content-length: 2\r\ncache-control: private, no-store\r\npostern-decision: decision-1\r\ndpop-nonce: n1\r\n' +
        'Connection: close\r\n\r\nok',
    );
    expect(await through()).toEqual({
      refusal: null,
      fault: null,
      outcome: { status: 201, upstreamStatus: 201, bytesIn: 0, bytesOut: 2, end: 'complete' },
    });
  });

  it('is a redirect, which is not followed', async () => {
    const upstream = await scripted('HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n');
    const { port } = await gateway(upstream.port);
    const answer = await exchangeRaw(port, get());
    expect(answer).toContain('HTTP/1.1 302 Found\r\nlocation: /api/y\r\n');
    expect(upstream.received.join('').match(/GET /g)).toHaveLength(1);
  });

  it('is sent to the public origin by an absolute redirect within the upstream', async () => {
    const upstream = await serving((request, response) => {
      response.writeHead(307, { location: `http://${request.headers.host}/y` }).end();
    });
    const { port } = await gateway(upstream, {}, { publicOrigin: 'https://agents.example/' });
    expect(await exchangeRaw(port, get())).toContain('location: https://agents.example/api/y\r\n');
  });

  it('is a body without a length, chunked to HTTP/1.1 and plain to HTTP/1.0', async () => {
    const upstream = await scripted(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n',
    );
    const { port } = await gateway(upstream.port);
    expect(bodyOf(await exchangeRaw(port, get()))).toBe('5\r\nhello\r\n0\r\n\r\n');
    expect(bodyOf(await exchangeRaw(port, 'GET /api/x HTTP/1.0\r\n\r\n'))).toBe('hello');
  });

  it('is nothing but the head for HEAD, 204 and 304', async () => {
    const upstream = await scripted(
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
      'HTTP/1.1 204 No Content\r\n\r\n',
      'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 5\r\n\r\n',
    );
    const { port } = await gateway(upstream.port);
    const head = await exchangeRaw(port, get().replace('GET', 'HEAD'));
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\ncontent-length: 5\r\n/);
    expect(bodyOf(head)).toBe('');
    expect(bodyOf(await exchangeRaw(port, get()))).toBe('');
    expect(bodyOf(await exchangeRaw(port, get()))).toBe('');
  });

  it('is the final response only, whatever interim ones come before it', async () => {
    const upstream = await scripted(
      `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n${ok}`,
    );
    const { port } = await gateway(upstream.port);
    expect(await exchangeRaw(port, get())).toMatch(/^HTTP\/1\.1 200 OK\r\ncontent-length: 2\r\n(?!link)/);
  });

  it('comes as it comes: a head at once, and each part of a stream when it is there', async () => {
    let write = (_text: string | null) => {};
    const upstream = await serving((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      write = (text) => (text === null ? response.end() : response.write(text));
    });
    const { port, through } = await gateway(upstream);
    const client = new RawClient(port).send(get());
    await client.until((text) => text.includes('\r\n\r\n'));
    expect(bodyOf(client.received)).toBe('');
    write('one');
    await client.until((text) => text.includes('one'));
    write('two');
    await client.until((text) => text.includes('two'));
    write(null);
    expect(bodyOf(await client.end())).toBe('3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n');
    expect((await through()).outcome).toMatchObject({ bytesOut: 6, end: 'complete' });
  });
});

describe('connections to the upstream', () => {
  it('are used again, one request at a time', async () => {
    const upstream = await scripted(ok);
    const { port } = await gateway(upstream.port);
    const client = new RawClient(port);
    for (let count = 1; count <= 5; count++) {
      client.send('GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n');
      await client.until((text) => text.split('\r\n\r\nok').length === count + 1);
    }
    client.destroy();
    expect(upstream.sockets).toHaveLength(1);
  });

  it('are dropped when bytes follow a response, and nobody gets those bytes', async () => {
    const upstream = await scripted(`${ok}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison`, ok);
    const { port } = await gateway(upstream.port);
    for (let count = 0; count < 3; count++) expect(bodyOf(await exchangeRaw(port, get()))).toBe('ok');
    expect(upstream.sockets.length).toBeGreaterThan(1);
  });

  it('are bounded, and so is who waits for one', async () => {
    const upstream = await scripted('');
    const limits = { maxConnections: 2, maxWaiting: 1, connectTimeoutMs: 60_000 };
    const { port, through } = await gateway(upstream.port, {}, limits);
    const requests = (count: number) => upstream.until((text) => text.split('GET ').length === count + 1);
    const clients = [1, 2, 3, 4].map(() => new RawClient(port).send(get()));
    // Three hold or await a connection; one too many is refused, while nothing else is through.
    expect((await through()).refusal).toMatchObject({ reason: 'upstream_failed', retryAfterSeconds: 1 });
    await requests(2);
    expect(upstream.sockets).toHaveLength(2);
    for (const client of clients) client.destroy();
    expect((await through(3)).outcome.end).toBe('client_aborted');
    await upstream.closed(2);
    // The places of those that left are free again; the one that waited was never sent.
    const again = new RawClient(port).send(get());
    await requests(3);
    again.destroy();
    expect((await through(4)).refusal).toBeNull();
  });

  it('are not waited for longer than connecting may take', async () => {
    const upstream = await scripted('');
    const limits = { maxConnections: 1, maxWaiting: 1, connectTimeoutMs: 100 };
    const { port, through } = await gateway(upstream.port, {}, limits);
    const clients = [new RawClient(port).send(get()), new RawClient(port).send(get())];
    // One of the two holds the only connection.
    expect(bodyOf(await Promise.race(clients.map((client) => client.end())))).toBe('upstream_timeout');
    expect((await through()).refusal).toMatchObject({ reason: 'upstream_timeout' });
    for (const client of clients) client.destroy();
    expect((await through(1)).outcome.end).toBe('client_aborted');
  });

  it('use TLS with the name of the origin, and trust only who is to be trusted', async () => {
    let servername: string | false | null = null;
    const server = createTlsServer(serverCertificate, (incoming, response) => {
      servername = 'servername' in incoming.socket ? (incoming.socket.servername as string) : null;
      response.end(incoming.headers.host);
    });
    const upstreamPort = await listenOn(server);
    cleanups.push(async () => {
      server.closeAllConnections();
      server.close();
    });
    const origin = `https://localhost:${upstreamPort}`;
    const trusting = await gateway(origin, {}, { tls: { ca: serverCertificate.cert } });
    expect(bodyOf(await exchangeRaw(trusting.port, get()))).toContain(`localhost:${upstreamPort}`);
    expect(servername).toBe('localhost');
    const wary = await gateway(origin);
    expect(bodyOf(await exchangeRaw(wary.port, get()))).toBe('upstream_failed');
    const other = await gateway(`https://127.0.0.2:${upstreamPort}`, {}, { tls: { ca: serverCertificate.cert } });
    expect(bodyOf(await exchangeRaw(other.port, get()))).toBe('upstream_failed');
  });
});

describe('large bodies', () => {
  const size = 3_000_000;

  it('come down with backpressure, whole', async () => {
    const total = 60_000_000;
    let sent = 0;
    let isWaiting = false;
    const upstream = await serving((_request, response) => {
      const chunk = Buffer.alloc(50_000, 'x');
      const push = () => {
        isWaiting = false;
        while (sent < total) {
          sent += chunk.length;
          if (response.write(chunk)) continue;
          isWaiting = true;
          return void response.once('drain', push);
        }
        response.end();
      };
      push();
    });
    const { port, through } = await gateway(upstream);
    const client = new RawClient(port);
    client.socket.pause();
    client.send(get());
    // Nobody reads: the buffers on the way fill, and then the upstream has to wait, however often it is looked at.
    const looks: number[] = [];
    await expect
      .poll(() => looks.unshift(sent) > 5 && isWaiting && new Set(looks.slice(0, 5)).size === 1, { timeout: 15_000 })
      .toBe(true);
    expect(sent).toBeLessThan(total);
    client.socket.resume();
    await client.end();
    expect((await through()).outcome).toMatchObject({ bytesOut: total, end: 'complete' });
  });

  it('go up whole', async () => {
    let received = 0;
    const upstream = await serving((request, response) => {
      request.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      request.on('end', () => response.end(String(received)));
    });
    const { port, through } = await gateway(upstream, { bodyBytesMax: size });
    const answer = await exchangeRaw(
      port,
      `POST /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n${'x'.repeat(size)}`,
    );
    expect(bodyOf(answer)).toContain(String(size));
    expect((await through()).outcome).toMatchObject({ bytesIn: size, end: 'complete' });
  });

  it('that run over the bound are refused, and the upstream sees no end of them', async () => {
    let wasComplete: boolean | null = null;
    let onClosed = () => {};
    const closed = new Promise<void>((resolve) => {
      onClosed = resolve;
    });
    const upstream = await serving((request) => {
      request.resume();
      request.on('error', () => {});
      request.on('close', () => {
        wasComplete = request.complete;
        onClosed();
      });
    });
    const { port, through } = await gateway(upstream, { bodyBytesMax: 100_000 });
    const client = new RawClient(port);
    client.send('POST /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let count = 0; count < 6; count++) client.send(`4e20\r\n${'x'.repeat(20_000)}\r\n`);
    const answer = await client.end();
    expect(bodyOf(answer)).toBe('body_too_large');
    expect((await through()).refusal).toMatchObject({ reason: 'body_too_large', close: true });
    await closed;
    expect(wasComplete).toBe(false);
  });

  it('that run over the bound after the answer began cut the answer', async () => {
    const upstream = await serving((request, response) => {
      request.resume();
      response.write('begun');
    });
    const { port, through } = await gateway(upstream, { bodyBytesMax: 1000 });
    const client = new RawClient(port);
    client.send('POST /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n');
    await client.until((text) => text.includes('begun'));
    client.send(`3e8\r\n${'x'.repeat(1000)}\r\n`);
    expect(await client.end()).not.toContain('\r\n0\r\n');
    expect(await through()).toMatchObject({ refusal: null, outcome: { status: 200, end: 'client_aborted' } });
  });

  it('that the upstream does not wait for are dropped, and the connection goes on', async () => {
    const upstream = await serving((request, response) => {
      response.statusCode = request.method === 'POST' ? 422 : 200;
      response.end('early');
    });
    const { port, through } = await gateway(upstream);
    const client = new RawClient(port);
    client.send('POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\nx');
    await client.until((text) => text.includes('early'));
    expect(client.received).toMatch(/^HTTP\/1\.1 422 /);
    client.send(`${'x'.repeat(299_999)}${get()}`);
    expect(await client.end()).toMatch(/HTTP\/1\.1 422 .*early.*HTTP\/1\.1 200 OK.*early/s);
    expect((await through(0)).outcome).toMatchObject({ end: 'complete', status: 422 });
    expect((await through(1)).outcome).toMatchObject({ end: 'complete', status: 200 });
  });
});

describe('Expect: 100-continue', () => {
  it('is answered just before the body is read, and not passed on', async () => {
    const upstream = await scripted(ok);
    const { port } = await gateway(upstream.port);
    const client = new RawClient(port);
    client.send(
      `POST /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`,
    );
    await client.until((text) => text.includes('\r\n\r\n'));
    expect(client.received).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    expect(upstream.received.join('')).toBe('');
    client.send('hello');
    expect(await client.end()).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
    expect(upstream.received.join('')).toMatch(/content-length: 5\r\n\r\nhello$/);
    expect(upstream.received.join('')).not.toMatch(/expect/i);
  });

  it('is not answered to HTTP/1.0', async () => {
    const upstream = await scripted(ok);
    const { port } = await gateway(upstream.port);
    const answer = await exchangeRaw(
      port,
      'POST /api/x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(upstream.received.join('')).toMatch(/\r\n\r\nhello$/);
  });

  it('is not answered where the upstream can not be reached', async () => {
    const { port } = await gateway(1);
    const answer = await exchangeRaw(
      port,
      'POST /api/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n',
    );
    expect(answer).not.toContain('100 Continue');
    expect(bodyOf(answer)).toBe('upstream_failed');
    expect(headOf(answer).toLowerCase()).toContain('connection: close');
  });
});
