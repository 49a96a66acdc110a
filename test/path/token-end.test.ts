import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { frame, handshakeLines, startWebSocketUpstream, type WebSocketUpstream } from '../support/web-socket.ts';

/** A moment that does not pass, 600 ms before the next full one, where a token of one second expires. */
const nowMs = Math.floor(Date.now() / 1000) * 1000 + 400;
const clock = () => nowMs;
const config = { issuer: { clockSkew: '0s' } };

function written(harness: Harness, path: string, lines: readonly string[] = [], lifetimeSeconds = 1): string {
  const token = harness.mint({ lifetimeSeconds });
  const proof = harness.proofFor(path, token);
  const fields = ['host: a', `authorization: DPoP ${token}`, `dpop: ${proof}`, ...lines];
  return `GET ${path} HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`;
}

const decisionIn = (text: string) => /^postern-decision: (.*)\r$/im.exec(text)?.[1] ?? '';
const afterHead = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4);

/** Sends events as the test says. */
function eventStream(harness: Harness): Promise<ServerResponse> {
  const { promise, resolve } = Promise.withResolvers<ServerResponse>();
  harness.upstream.answerWith((_incoming, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: first\n\n');
    resolve(response);
  });
  return promise;
}

describe('server-sent events and long bodies', () => {
  let ending: Harness;
  let running: Harness;
  beforeAll(async () => {
    ending = await startSidecar({ clock, config, route: { endAtTokenExpiry: true } });
    running = await startSidecar({ clock, config });
  });
  afterAll(async () => {
    await ending.close();
    await running.close();
  });

  it('arrive event by event, and end as the token expires where the route says so, and only there', async () => {
    const streams = [eventStream(ending), eventStream(running)] as const;
    const cut = new RawClient(ending.port).send(written(ending, '/api/events'));
    const kept = new RawClient(running.port).send(written(running, '/api/events'));
    await streams[0];
    expect(await cut.until((text) => text.includes('first'))).toContain('HTTP/1.1 200 ');
    const text = await cut.end();
    // Without its last chunk: nobody takes the part for the whole (RFC 9112 §8).
    expect(text.endsWith('data: first\n\n\r\n')).toBe(true);
    expect(await ending.record(decisionIn(text))).toMatchObject({
      decision: 'allow',
      reason: null,
      status: 200,
      end: 'token_expired',
    });
    // The upstream is not left talking to nobody.
    await expect.poll(async () => (await streams[0]).destroyed).toBe(true);

    (await streams[1]).end('data: second\n\n');
    const rest = await kept.until((received) => received.endsWith('\r\n0\r\n\r\n'));
    expect(rest).toContain('second');
    expect(await running.record(decisionIn(rest))).toMatchObject({ end: 'complete' });
    kept.destroy();
  });

  it('end for a client that does not read as well', async () => {
    ending.upstream.answerWith((_incoming, response) => {
      response.writeHead(200, { 'content-length': 64 * 1024 * 1024 });
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      };
      response.on('drain', more);
      more();
    });
    const client = new RawClient(ending.port).send(written(ending, '/api/long'));
    await client.until((text) => text.includes('\r\n\r\n'));
    client.socket.pause();
    expect(await ending.record(decisionIn(client.received))).toMatchObject({ status: 200, end: 'token_expired' });
    client.destroy();
  });

  it('are refused when the token expires before the upstream has answered', async () => {
    const asked = Promise.withResolvers<ServerResponse>();
    ending.upstream.answerWith((_incoming, response) => asked.resolve(response));
    const client = new RawClient(ending.port).send(written(ending, '/api/slow'));
    const text = await client.end();
    expect(text).toMatch(/^HTTP\/1\.1 401 .*"reason":"token_expired"/s);
    expect(await ending.record(decisionIn(text))).toMatchObject({
      decision: 'allow',
      reason: 'token_expired',
      status: 401,
    });
    await expect.poll(async () => (await asked.promise).destroyed).toBe(true);
  });

  it('are whole where they end before', async () => {
    ending.upstream.answerWith((_incoming, response) => void response.end('short'));
    const client = new RawClient(ending.port).send(written(ending, '/api/short'));
    const text = await client.until((received) => received.endsWith('short'));
    expect(await ending.record(decisionIn(text))).toMatchObject({ end: 'complete' });
    // The connection goes on: nothing of the ended exchange waits for the token.
    client.send('GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n');
    expect(await client.until((received) => received.includes('no_route'))).toContain('no_route');
    client.destroy();
  });
});

describe('a WebSocket', () => {
  let upstream: WebSocketUpstream;
  let harness: Harness;
  beforeAll(async () => {
    upstream = await startWebSocketUpstream();
    const route = { upstream: `http://127.0.0.1:${upstream.port}`, websocket: true };
    harness = await startSidecar({ clock, config, route });
  });
  afterAll(async () => {
    await harness.close();
    await upstream.close();
  });

  it('ends as the token expires, with a frame that says why', async () => {
    const client = new RawClient(harness.port).send(written(harness, '/api/feed', handshakeLines));
    await client.until((text) => text.includes('\r\n\r\n'));
    const said = frame(1, 'hello');
    client.send(said);
    const text = await client.end();
    // RFC 6455 §7.4.1: 1008.
    expect(afterHead(text)).toBe(said + frame(8, '\x03\xf0the access token has expired'));
    expect(await harness.record(decisionIn(text))).toMatchObject({
      decision: 'allow',
      status: 101,
      end: 'token_expired',
      bytes_in: said.length,
    });
    await expect.poll(() => upstream.sockets.at(-1)?.closed).toBe(true);
  });

  it('ends without that frame where it would fall into another, or behind the last', async () => {
    for (const said of [frame(2, 'x'.repeat(300)).slice(0, 100), frame(8, '\x03\xe8')]) {
      const client = new RawClient(harness.port).send(written(harness, '/api/feed', handshakeLines));
      await client.until((text) => text.includes('\r\n\r\n'));
      client.send(said);
      const text = await client.end();
      expect(afterHead(text)).toBe(said);
      expect(await harness.record(decisionIn(text))).toMatchObject({ end: 'token_expired' });
    }
  });

  it('ends for a client that answers nothing and does not go', async () => {
    const client = new RawClient(harness.port).send(written(harness, '/api/feed', handshakeLines));
    client.socket.allowHalfOpen = true;
    const text = await client.until((received) => received.includes('expired'));
    expect(await harness.record(decisionIn(text))).toMatchObject({ end: 'token_expired' });
    client.destroy();
  });

  it('goes on while the token lasts, however long that is', async () => {
    // Fifty days are more than a timer of Node can wait at once: it would fire now.
    const client = new RawClient(harness.port).send(written(harness, '/api/feed', handshakeLines, 50 * 86_400));
    const short = new RawClient(harness.port).send(written(harness, '/api/feed', handshakeLines));
    await short.end();
    client.send('still here');
    expect(afterHead(await client.until((text) => text.includes('still here')))).toBe('still here');
    client.destroy();
  });
});
