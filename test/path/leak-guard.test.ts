import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  brotliCompressSync,
  brotliDecompressSync,
  constants,
  createGzip,
  createZstdCompress,
  deflateRawSync,
  deflateSync,
  gzipSync,
  inflateRawSync,
  unzipSync,
  zstdCompressSync,
} from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { readResponses } from '../support/raw-responses.ts';
import { type Harness, startSidecar, upstreamSecret } from '../support/sidecar.ts';
import { fieldValues } from '../support/upstream.ts';
import { frame, handshakeLines, startWebSocketUpstream, switching } from '../support/web-socket.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startSidecar();
});
afterAll(() => harness.close());

const base64Secret = Buffer.from(upstreamSecret).toString('base64');
/** Enough of the secret to be of use to somebody; no shorter text of an answer is like it. */
const parts = [upstreamSecret.slice(0, 16), upstreamSecret.slice(-14), base64Secret.slice(0, 16)];

function written(sidecar: Harness, { method = 'GET', lines = ['connection: close'], version = '1.1' } = {}): string {
  const token = sidecar.mint();
  const proof = sidecar.proofFor('/api/x', token, method);
  const fields = ['host: a', `authorization: DPoP ${token}`, `dpop: ${proof}`, ...lines];
  return `${method} /api/x HTTP/${version}\r\n${fields.join('\r\n')}\r\n\r\n`;
}

type Answer = (incoming: IncomingMessage, response: ServerResponse) => void;
type Options = Parameters<typeof written>[1];

/** All bytes that the agent gets, until its connection ends. */
async function heardBy(answer: Answer, options?: Options): Promise<string> {
  harness.upstream.answerWith(answer);
  return await new RawClient(harness.port).send(written(harness, options)).end();
}

const statusIn = (text: string) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1]);
const reasonIn = (text: string) => /"reason":"([a-z_]+)"/.exec(text)?.[1];
const decisionIn = (text: string) => /^postern-decision: (.*)\r$/im.exec(text)?.[1] ?? '';
const bodyIn = (text: string, method = 'GET') => readResponses(text, [method], true).responses[0]?.body;

/** One chunk each. */
const inChunks =
  (fields: Record<string, string>, ...chunks: readonly (string | Buffer)[]): Answer =>
  (_incoming, response) => {
    response.writeHead(200, fields);
    for (const chunk of chunks) response.write(chunk);
    response.end();
  };

function expectNothingOfIt(text: string): void {
  for (const part of parts) expect(text).not.toContain(part);
}

async function leaksCounted(): Promise<number> {
  const { text } = await harness.admin('GET', '/metrics');
  return Number(/^postern_credential_leaks_blocked_total (\d+)$/m.exec(text)?.[1]);
}

/** Before the head has gone out, another answer takes its place. */
async function expectHeldBack(answer: Answer, options?: Options): Promise<void> {
  const before = await leaksCounted();
  const text = await heardBy(answer, options);
  expect([statusIn(text), ...(options?.method === 'HEAD' ? [] : [reasonIn(text)])]).toEqual([
    502,
    ...(options?.method === 'HEAD' ? [] : ['credential_leak_blocked']),
  ]);
  expectNothingOfIt(text);
  expect(await leaksCounted()).toBe(before + 1);
  expect(await harness.record(decisionIn(text))).toMatchObject({
    decision: 'allow',
    reason: 'credential_leak_blocked',
    status: 502,
    upstream_status: 200,
    end: 'refused',
  });
}

const codings = [
  ['gzip', gzipSync],
  ['x-gzip', gzipSync],
  ['deflate', deflateSync],
  ['deflate', deflateRawSync],
  ['br', brotliCompressSync],
  ['zstd', zstdCompressSync],
] as const;
/** As much as the first bytes of a coded text give. */
function decodedBeginning(coding: string, coded: Buffer): string {
  const finishFlush = constants.Z_SYNC_FLUSH;
  if (coded.length === 0 || coding === 'zstd') return coded.toString('latin1');
  if (coding === 'br') return brotliDecompressSync(coded, { finishFlush: constants.BROTLI_OPERATION_FLUSH }).toString();
  return unzipOrRaw(coded, finishFlush);
}

function unzipOrRaw(coded: Buffer, finishFlush: number): string {
  const isRaw = (coded[0] ?? 0) !== 0x1f && ((coded[0] ?? 0) & 0x0f) !== 8;
  return (isRaw ? inflateRawSync(coded, { finishFlush }) : unzipSync(coded, { finishFlush })).toString();
}

const echo = `{"headers":{"authorization":"Bearer ${upstreamSecret}"},"more":"${'more '.repeat(50)}"}`;

describe('an answer with the credential in it', () => {
  it.each([
    ['as it is', upstreamSecret],
    ['in Base64', Buffer.from(`Bearer ${upstreamSecret}`).toString('base64')],
    ['in hex', Buffer.from(upstreamSecret).toString('hex').toUpperCase()],
    ['in percent encoding', Buffer.from(upstreamSecret).toString('hex').replace(/../g, '%$&')],
  ])('is held back: %s, in the body or in a field', async (_name, spelling) => {
    await expectHeldBack((_incoming, response) => void response.end(`<p>${spelling}</p>`));
    await expectHeldBack(inChunks({}, `<p>${spelling}</p>`));
    await expectHeldBack(inChunks({ 'x-echo': `a=${spelling}` }, 'harmless'));
    await expectHeldBack(inChunks({ location: `/next?key=${spelling}` }, 'harmless'));
  });

  it('is held back where there is no body', async () => {
    await expectHeldBack(inChunks({ 'x-echo': upstreamSecret, 'content-length': '9' }), { method: 'HEAD' });
  });

  it('is held back or cut wherever two chunks of it meet', async () => {
    const body = `key: ${upstreamSecret}.`;
    for (let at = 1; at < body.length; at++) {
      const text = await heardBy(inChunks({}, body.slice(0, at), body.slice(at)));
      expect(reasonIn(text) ?? 'cut').toBe('credential_leak_blocked');
      expectNothingOfIt(text);
    }
  });

  it('is cut where some of it had been sent, and nothing of the credential goes out', async () => {
    const { promise, resolve } = Promise.withResolvers<ServerResponse>();
    harness.upstream.answerWith((_incoming, response) => {
      response.write('data: first\n\n');
      resolve(response);
    });
    const client = new RawClient(harness.port).send(written(harness));
    await client.until((text) => text.includes('first'));
    const before = await leaksCounted();
    const response = await promise;
    for (const letter of upstreamSecret) response.write(letter);
    response.end('\n\n');
    const text = await client.end();
    expect(statusIn(text)).toBe(200);
    // Without its last chunk: nobody takes the part for the whole (RFC 9112 §8).
    expect(text.endsWith('data: first\n\n\r\n')).toBe(true);
    expect(await leaksCounted()).toBe(before + 1);
    expect(await harness.record(decisionIn(text))).toMatchObject({
      decision: 'allow',
      reason: 'credential_leak_blocked',
      status: 200,
      end: 'leak_blocked',
    });
  });

  it('is cut with a reset for HTTP/1.0, where the end of the connection is the end of the body', async () => {
    const { promise, resolve } = Promise.withResolvers<ServerResponse>();
    harness.upstream.answerWith((_incoming, response) => {
      response.write('first');
      resolve(response);
    });
    const client = new RawClient(harness.port).send(written(harness, { version: '1.0' }));
    let fault: NodeJS.ErrnoException | null = null;
    client.socket.on('error', (error) => {
      fault = error;
    });
    await client.until((text) => text.includes('first'));
    (await promise).end(upstreamSecret);
    expectNothingOfIt(await client.end());
    expect(fault).toMatchObject({ code: 'ECONNRESET' });
  });

  it.each(codings)('is held back in %s', async (coding, encode) => {
    await expectHeldBack(inChunks({ 'content-encoding': coding }, encode(echo)));
    await expectHeldBack(
      inChunks({ 'content-encoding': coding, 'content-length': `${encode(echo).length}` }, encode(echo)),
    );
  });

  it.each(codings)('is never passed in %s, wherever chunks meet', async (coding, encode) => {
    const coded = encode(echo);
    for (const size of [1, 2, 7, 33]) {
      const chunks = Array.from({ length: Math.ceil(coded.length / size) }, (_, at) =>
        coded.subarray(at * size, (at + 1) * size),
      );
      const text = await heardBy(inChunks({ 'content-encoding': coding }, ...chunks));
      const record = await harness.record(decisionIn(text));
      expect(record).toMatchObject({ reason: 'credential_leak_blocked' });
      expectNothingOfIt(text);
      // What came through decodes to less than anybody could use.
      const passed = record.status === 200 ? coded.subarray(0, record.bytes_out) : Buffer.alloc(0);
      expect(decodedBeginning(coding, passed)).not.toContain(upstreamSecret.slice(0, 3));
    }
  });

  it('is found in bytes as they are, whatever coding they are said to have', async () => {
    const stored = deflateRawSync('x'.repeat(10));
    const text = await heardBy(inChunks({ 'content-encoding': 'deflate' }, Buffer.concat([stored, Buffer.from(echo)])));
    expect(statusIn(text)).toBe(502);
    expectNothingOfIt(text);
  });

  it('has neither its trailers nor its reason phrase passed on, nor interim responses', async () => {
    const text = await heardBy((_incoming, response) => {
      response.writeEarlyHints({ link: `</${upstreamSecret}>; rel=preload` });
      response.statusMessage = upstreamSecret;
      response.writeHead(200, { trailer: 'x-end' });
      response.write('whole');
      response.addTrailers({ 'x-end': upstreamSecret });
      response.end();
    });
    expect([statusIn(text), bodyIn(text)]).toEqual([200, 'whole']);
    expectNothingOfIt(text);
  });

  it('is no longer spoken to over that connection', async () => {
    const sockets = new Set<unknown>();
    const answer =
      (body: string): Answer =>
      (incoming, response) => {
        sockets.add(incoming.socket);
        response.writeHead(200);
        response.write(body);
      };
    harness.upstream.answerWith(answer(upstreamSecret));
    const { promise, resolve } = Promise.withResolvers<void>();
    harness.upstream.answerWith((incoming, response) => {
      incoming.socket.once('close', () => resolve());
      answer(upstreamSecret)(incoming, response);
    });
    const text = await new RawClient(harness.port).send(written(harness)).end();
    expect(reasonIn(text)).toBe('credential_leak_blocked');
    await promise;
    expect(sockets.size).toBe(1);
  });
});

describe('an answer without it', () => {
  const nearMiss = `${upstreamSecret.slice(0, -1)}${base64Secret.slice(0, -4)}${upstreamSecret.slice(0, 9)}`;

  it('passes byte for byte, near misses and all, in every coding and every kind of chunk', async () => {
    for (const size of [1, 5, 64, 1000]) {
      const chunks = nearMiss.match(new RegExp(`.{1,${size}}`, 'g')) ?? [];
      expect(bodyIn(await heardBy(inChunks({}, ...chunks)))).toBe(nearMiss);
      for (const [coding, encode] of codings) {
        const coded = encode(nearMiss);
        const pieces = Array.from({ length: Math.ceil(coded.length / size) }, (_, at) =>
          coded.subarray(at * size, (at + 1) * size),
        );
        const text = await heardBy(inChunks({ 'content-encoding': coding }, ...pieces));
        expect(bodyIn(text), coding).toBe(coded.toString('latin1'));
        expect(text).toContain(`content-encoding: ${coding}`);
      }
    }
  });

  it('passes without a body, whatever its fields say of one', async () => {
    const fields = { 'content-encoding': 'unheard-of', 'content-type': 'text/plain' };
    for (const [method, status] of [
      ['HEAD', 200],
      ['GET', 204],
      ['GET', 304],
    ] as const) {
      const answer: Answer = (_incoming, response) => void response.writeHead(status, fields).end();
      expect(statusIn(await heardBy(answer, { method }))).toBe(status);
    }
    expect(bodyIn(await heardBy(inChunks({ 'content-encoding': 'gzip' })))).toBe('');
    expect(bodyIn(await heardBy(inChunks({ 'content-encoding': 'identity' }, 'a')))).toBe('a');
  });

  it('passes large, with backpressure, and is not gathered on the way', async () => {
    const bytes = 48 * 1024 * 1024;
    let sent = 0;
    let isFull = false;
    harness.upstream.answerWith((_incoming, response) => {
      response.writeHead(200, { 'content-length': bytes });
      const chunk = Buffer.alloc(65_536, 'sk-upstream-');
      const more = () => {
        while (sent < bytes) {
          sent += chunk.length;
          if (!response.write(chunk)) {
            isFull = true;
            return;
          }
        }
        response.end();
      };
      response.on('drain', more);
      more();
    });
    const client = new RawClient(harness.port);
    client.socket.pause();
    client.send(written(harness));
    let before = -1;
    await expect
      .poll(() => {
        const isStill = isFull && sent === before;
        before = sent;
        return isStill;
      })
      .toBe(true);
    expect(sent).toBeLessThan(bytes);
    client.socket.resume();
    const text = await client.end();
    expect(text.length).toBeGreaterThan(bytes);
    expect(sent).toBe(bytes);
  });

  it('arrives event by event, coded or not', async () => {
    for (const coding of [null, 'gzip'] as const) {
      const { promise, resolve } = Promise.withResolvers<ServerResponse>();
      harness.upstream.answerWith((_incoming, response) => {
        response.writeHead(200, {
          'content-type': 'text/event-stream',
          ...(coding === null ? {} : { 'content-encoding': coding }),
        });
        response.flushHeaders();
        resolve(response);
      });
      const client = new RawClient(harness.port).send(written(harness));
      const response = await promise;
      await client.until((text) => text.includes('\r\n\r\n'));
      const coder = createGzip({ flush: constants.Z_SYNC_FLUSH });
      coder.on('data', (bytes: Buffer) => response.write(bytes));
      for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
        const { length } = client.received;
        if (coding === null) response.write(event);
        else coder.write(event);
        const text = await client.until((received) => received.length > length);
        if (coding === null) expect(text.endsWith(`${event}\r\n`)).toBe(true);
      }
      expect(response.writableEnded).toBe(false);
      response.destroy();
      client.destroy();
    }
  });
});

describe('an answer that cannot be searched', () => {
  it.each([['aws-chunked'], ['gzip, gzip'], ['compress'], ['br, unheard-of']])(
    'is held back: coded with %s',
    async (coding) => {
      const text = await heardBy(inChunks({ 'content-encoding': coding }, 'any'));
      expect([statusIn(text), reasonIn(text)]).toEqual([502, 'upstream_failed']);
    },
  );

  it('is held back or cut where it does not decode, or not to its end', async () => {
    const cases: readonly (readonly [string, Buffer])[] = [
      ['gzip', Buffer.from('not gzip at all')],
      ['br', Buffer.from('not compressed at all')],
      ['gzip', Buffer.concat([gzipSync('first'), Buffer.from('and more')])],
      ['zstd', zstdCompressSync('x'.repeat(3) + echo.slice(0, 20)).subarray(0, -3)],
    ];
    for (const [coding, bytes] of cases) {
      const text = await heardBy(inChunks({ 'content-encoding': coding }, bytes));
      expect(await harness.record(decisionIn(text)), coding).toMatchObject({ reason: 'upstream_failed' });
      expect(text.endsWith('0\r\n\r\n')).toBe(false);
    }
  });

  it('is held back where decoding it would take a window that HTTP has no room for (RFC 9659)', async () => {
    const coded = async (windowLog: number) => {
      const coder = createZstdCompress({ params: { [constants.ZSTD_c_windowLog]: windowLog } });
      coder.end('harmless'.repeat(9));
      return Buffer.concat(await coder.toArray());
    };
    const tooWide = await heardBy(inChunks({ 'content-encoding': 'zstd' }, await coded(24)));
    expect([statusIn(tooWide), reasonIn(tooWide)]).toEqual([502, 'upstream_failed']);
    const bytes = await coded(23);
    expect(bodyIn(await heardBy(inChunks({ 'content-encoding': 'zstd' }, bytes)))).toBe(bytes.toString('latin1'));
  });

  it('is held back where it decodes to far too much', async () => {
    const bomb = zstdCompressSync(Buffer.alloc(80 * 1024 * 1024));
    const text = await heardBy(inChunks({ 'content-encoding': 'zstd' }, bomb));
    expect([statusIn(text), reasonIn(text)]).toEqual([502, 'upstream_failed']);
  });

  it('is not asked for: codings that can be read, and no parts', async () => {
    const lines = [
      'connection: close',
      'accept-encoding: gzip;q=1.0, snappy, br, *;q=0.1, zstd',
      'range: bytes=0-9',
      'if-range: "a"',
      'request-range: bytes=0-9',
      'x-ms-range: bytes=0-9',
    ];
    await heardBy(inChunks({}, 'whole'), { lines });
    expect(harness.upstream.lastField('accept-encoding')).toEqual(['gzip;q=1.0, br, zstd']);
    expect(harness.upstream.lastField('range')).toEqual([]);
    for (const name of ['if-range', 'request-range', 'x-ms-range']) {
      expect(harness.upstream.lastField(name)).toEqual([]);
    }
    await heardBy(inChunks({}, 'whole'), { lines: ['connection: close', 'accept-encoding: snappy'] });
    expect(harness.upstream.lastField('accept-encoding')).toEqual(['identity']);
    await heardBy(inChunks({}, 'whole'));
    expect(harness.upstream.lastField('accept-encoding')).toEqual([]);
  });
});

describe('a route', () => {
  it('may let parts through, and may have no guard', async () => {
    const lines = ['connection: close', 'range: bytes=0-9', 'accept-encoding: snappy'];
    const inParts = await startSidecar({ route: { forwardFields: ['range'] } });
    await new RawClient(inParts.port).send(written(inParts, { lines })).end();
    expect(inParts.upstream.lastField('range')).toEqual(['bytes=0-9']);
    expect(inParts.upstream.lastField('accept-encoding')).toEqual(['identity']);
    await inParts.close();

    const unguarded = await startSidecar({ route: { leakGuard: 'off' } });
    unguarded.upstream.answerWith((incoming, response) => {
      response.end(fieldValues(incoming.rawHeaders, 'authorization').join());
    });
    const text = await new RawClient(unguarded.port).send(written(unguarded, { lines })).end();
    expect(bodyIn(text)).toBe(`Bearer ${upstreamSecret}`);
    expect(unguarded.upstream.lastField('accept-encoding')).toEqual(['snappy']);
    await unguarded.close();
  });
});

describe('a WebSocket', () => {
  const handshake = (sidecar: Harness, ...more: string[]) => written(sidecar, { lines: [...handshakeLines, ...more] });

  /** What the agent gets of this after the handshake, each element in a packet of its own. */
  async function heardOver(...packets: readonly string[]) {
    let hasStarted = false;
    const upstream = await startWebSocketUpstream(undefined, (socket) => {
      socket.setNoDelay(true);
      if (!hasStarted) {
        hasStarted = true;
        socket.write(frame(1, 'hello'), 'latin1');
        return;
      }
      const next = (at: number) => {
        const packet = packets[at];
        if (packet === undefined) socket.end();
        else socket.write(packet, 'latin1', () => setImmediate(next, at + 1));
      };
      next(0);
    });
    const route = { upstream: `http://127.0.0.1:${upstream.port}`, websocket: true };
    const sidecar = await startSidecar({ route });
    const client = new RawClient(sidecar.port).send(handshake(sidecar));
    await client.until((text) => text.includes('\r\n\r\n'));
    client.send(frame(1, 'hello?', true));
    await client.until((text) => text.endsWith(frame(1, 'hello')));
    client.send(frame(1, 'go', true));
    const text = await client.end();
    const record = await sidecar.record(decisionIn(text));
    await sidecar.close();
    await upstream.close();
    return { received: text.slice(text.indexOf('\r\n\r\n') + 4), record };
  }

  const firstOf = (payload: string) => `\x01${frame(1, payload).slice(1)}`;
  const middleOf = (payload: string) => `\x00${frame(1, payload).slice(1)}`;
  const lastOf = (payload: string) => frame(0, payload);
  const [head, tail] = [upstreamSecret.slice(0, 9), upstreamSecret.slice(9)];

  it.each([
    ['in a message', [frame(1, `key ${upstreamSecret}`)]],
    ['in Base64', [frame(1, base64Secret)]],
    ['in one message of several frames', [firstOf(`key ${head}`), frame(9, 'ping'), middleOf(''), lastOf(tail)]],
    ['in a control frame', [frame(9, upstreamSecret)]],
    ['in pieces of a frame', [...frame(2, `key ${upstreamSecret}`)]],
  ])('is cut with the credential %s', async (_name, packets) => {
    const { received, record } = await heardOver(...packets);
    expect(received.startsWith(frame(1, 'hello'))).toBe(true);
    expectNothingOfIt(received);
    expect(received).not.toContain(head);
    expect(record).toMatchObject({ reason: 'credential_leak_blocked', status: 101, end: 'leak_blocked' });
  });

  it('passes everything else, byte for byte', async () => {
    const packets = [
      frame(1, `ends with ${head}`),
      frame(1, tail),
      firstOf(head),
      frame(10, head),
      lastOf('and not the rest'),
      frame(2, '\x00'.repeat(200)),
      frame(8, ''),
    ];
    for (const sent of [packets, [...packets.join('')]]) {
      const { received, record } = await heardOver(...sent);
      expect(received).toBe(frame(1, 'hello') + packets.join(''));
      expect(record).toMatchObject({ reason: null, end: 'complete' });
    }
  });

  it('keeps no whole message back, whatever it ends with', async () => {
    const upstream = await startWebSocketUpstream();
    const route = { upstream: `http://127.0.0.1:${upstream.port}`, websocket: true };
    const sidecar = await startSidecar({ route });
    const client = new RawClient(sidecar.port).send(handshake(sidecar));
    await client.until((text) => text.includes('\r\n\r\n'));
    client.send(frame(1, head));
    await client.until((text) => text.endsWith(frame(1, head)));
    expect(client.received.endsWith(frame(1, head))).toBe(true);
    client.destroy();
    await sidecar.close();
    await upstream.close();
  });

  it('has no extension, which would hide what it carries', async () => {
    for (const lines of [[], ['sec-websocket-extensions: permessage-deflate']]) {
      const upstream = await startWebSocketUpstream((text) => switching(text, ...lines));
      const route = { upstream: `http://127.0.0.1:${upstream.port}`, websocket: true };
      const sidecar = await startSidecar({ route });
      const client = new RawClient(sidecar.port);
      client.send(handshake(sidecar, 'sec-websocket-extensions: permessage-deflate'));
      const text = await client.until((received) => received.includes('\r\n\r\n'));
      expect(upstream.heads[0]?.toLowerCase()).not.toContain('sec-websocket-extensions');
      expect(statusIn(text)).toBe(lines.length === 0 ? 101 : 502);
      client.destroy();
      await sidecar.close();
      await upstream.close();
    }
  });
});
