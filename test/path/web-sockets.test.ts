import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeConfiguration } from '../cli/configuration-file.ts';
import { serverCertificate } from '../support/certificates.ts';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, startSidecar, upstreamSecret } from '../support/sidecar.ts';
import {
  frame,
  handshakeLines,
  startWebSocketUpstream,
  switching,
  type WebSocketUpstream,
  webSocketAccept,
} from '../support/web-socket.ts';

type Handshake = {
  readonly path?: string;
  readonly method?: string;
  readonly version?: string;
  readonly token?: string;
  readonly proof?: string;
  readonly scheme?: string;
  /** In place of those of a good handshake. */
  readonly lines?: readonly string[];
  readonly more?: readonly string[];
};

/** A handshake that would be let through if it were not for what is told. */
function written(harness: Harness, handshake: Handshake = {}): string {
  const { path = '/api/feed', method = 'GET', version = 'HTTP/1.1', scheme = 'DPoP', more = [] } = handshake;
  const token = handshake.token ?? harness.mint();
  const proof = handshake.proof ?? harness.proofFor(path, token, method);
  const lines = [
    'host: a',
    `authorization: ${scheme} ${token}`,
    `dpop: ${proof}`,
    ...(handshake.lines ?? handshakeLines),
  ];
  return `${method} ${path} ${version}\r\n${[...lines, ...more].join('\r\n')}\r\n\r\n`;
}

const reasonIn = (text: string) => /"reason":"([a-z_]+)"/.exec(text)?.[1];
const statusIn = (text: string) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1]);
const decisionIn = (text: string) => /^postern-decision: (.*)\r$/im.exec(text)?.[1] ?? '';
const isSwitched = (text: string) => text.includes('\r\n\r\n');
const afterHead = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4);

async function open(harness: Harness, handshake?: Handshake): Promise<RawClient> {
  const client = new RawClient(harness.port).send(written(harness, handshake));
  expect(statusIn(await client.until(isSwitched))).toBe(101);
  return client;
}

/** A sidecar in front of this upstream. */
async function startBefore(upstream: WebSocketUpstream, options: Parameters<typeof startSidecar>[0] = {}) {
  const route = { upstream: `http://127.0.0.1:${upstream.port}`, websocket: true, ...options.route };
  return await startSidecar({ ...options, route });
}

let upstream: WebSocketUpstream;
let harness: Harness;
beforeAll(async () => {
  upstream = await startWebSocketUpstream();
  harness = await startBefore(upstream);
});
afterAll(async () => {
  await harness.close();
  await upstream.close();
});

describe('a WebSocket', () => {
  it('is opened with the credential of the route and nothing of the agent, and carries bytes both ways', async () => {
    const token = harness.mint();
    const more = ['origin: https://page.example', 'cookie: a=b', 'sec-websocket-extensions: permessage-deflate'];
    const client = await open(harness, { token, more });
    const head = upstream.heads.at(-1) ?? '';
    expect(head).toMatch(/^GET \/api\/feed HTTP\/1\.1\r\n/);
    expect(head.match(/^host: .*$/gim)).toEqual([`host: 127.0.0.1:${upstream.port}`]);
    expect(head.match(/^upgrade: .*$/gim)).toEqual(['upgrade: websocket']);
    expect(head.match(/^authorization: .*$/gim)).toEqual([`authorization: Bearer ${upstreamSecret}`]);
    expect(head).toContain('origin: https://page.example');
    for (const gone of [token, 'dpop:', 'cookie:', 'sec-websocket-extensions']) expect(head).not.toContain(gone);
    expect(client.received).toContain(`sec-websocket-accept: ${webSocketAccept}\r\n`);
    expect(client.received.match(/^(connection|upgrade): .*$/gim)).toEqual([
      'connection: upgrade',
      'upgrade: websocket',
    ]);

    const sent = frame(1, 'hello', true);
    client.send(sent);
    expect(afterHead(await client.until((text) => afterHead(text) === sent))).toBe(sent);
    client.destroy();
  });

  it('has one record, written when it has ended', async () => {
    const client = await open(harness);
    const decision = decisionIn(client.received);
    client.send('12345');
    await client.until((text) => afterHead(text) === '12345');
    expect(harness.auditText()).not.toContain(decision);
    client.socket.end();
    await client.end();
    expect(await harness.record(decision)).toMatchObject({
      decision: 'allow',
      rule: 'reads-need-read',
      request: { method: 'GET', path: '/api/feed' },
      status: 101,
      upstream_status: 101,
      bytes_in: 5,
      bytes_out: 5,
      end: 'complete',
    });
    expect(harness.auditText().split(decision)).toHaveLength(2);
  });

  it('passes on what was sent before the upstream had answered', async () => {
    const client = new RawClient(harness.port).send(`${written(harness)}early`);
    expect(afterHead(await client.until((text) => afterHead(text) === 'early'))).toBe('early');
    client.destroy();
  });

  it('lets a client that sends no more hear the rest', async () => {
    const client = await open(harness);
    client.send('last words');
    client.socket.end();
    expect(afterHead(await client.end())).toBe('last words');
  });

  it('loses nothing to a client that does not read for a while', async () => {
    const client = await open(harness);
    client.socket.pause();
    const block = 'x'.repeat(65_536);
    for (let round = 0; round < 64; round += 1) client.send(block);
    client.socket.end();
    // The first megabytes have nowhere to go now but into buffers that are full soon.
    expect((await harness.call('/nowhere')).reason).toBe('no_route');
    client.socket.resume();
    expect(afterHead(await client.end()).length).toBe(64 * 65_536);
  });

  it('ends for the upstream when the client breaks off', async () => {
    const client = await open(harness);
    const decision = decisionIn(client.received);
    client.socket.resetAndDestroy();
    expect(await harness.record(decision)).toMatchObject({ end: 'client_aborted', status: 101 });
    await expect.poll(() => upstream.sockets.every((socket) => socket.closed)).toBe(true);
  });

  it('ends for the client when the upstream breaks off', async () => {
    const client = await open(harness);
    upstream.sockets.at(-1)?.resetAndDestroy();
    const decision = decisionIn(await client.end());
    expect(await harness.record(decision)).toMatchObject({ end: 'upstream_aborted', status: 101 });
  });
});

describe('a handshake is judged as any request', () => {
  async function expectRefused(bytes: string, reason: string, status: number, sidecar = harness): Promise<string> {
    const before = upstream.heads.length;
    const text = await new RawClient(sidecar.port).send(bytes).end();
    expect([reasonIn(text), statusIn(text)]).toEqual([reason, status]);
    expect(text.toLowerCase().match(/^connection: .*$/gm)).toEqual(['connection: close']);
    expect(upstream.heads.length).toBe(before);
    expect(await sidecar.record(decisionIn(text))).toMatchObject({ decision: 'deny', reason, status, end: 'refused' });
    return text;
  }

  it('wants a token', async () => {
    const bytes = `GET /api/feed HTTP/1.1\r\nhost: a\r\n${handshakeLines.join('\r\n')}\r\n\r\n`;
    expect(await expectRefused(bytes, 'token_missing', 401)).toMatch(/^www-authenticate: DPoP algs=/im);
  });

  it('wants a proof for its own URL', async () => {
    const token = harness.mint();
    const proof = harness.proofFor('/api/other', token);
    await expectRefused(written(harness, { token, proof }), 'proof_invalid', 401);
  });

  it('takes no proof twice', async () => {
    const bytes = written(harness);
    const client = new RawClient(harness.port).send(bytes);
    await client.until(isSwitched);
    client.destroy();
    await expectRefused(bytes, 'proof_replayed', 401);
  });

  // RFC 9449 §7.2.
  it('takes no bound token as Bearer, with a good proof beside it', async () => {
    const text = await expectRefused(written(harness, { scheme: 'Bearer' }), 'token_invalid', 401);
    expect(text).toContain('error="invalid_token"');
  });

  it('asks whether the token is revoked', async () => {
    const token = harness.mint({ claims: { client_id: 'agent-gone' } });
    await harness.admin('POST', '/v1/revocations', { agent: 'agent-gone', reason: 'test' });
    await expectRefused(written(harness, { token }), 'token_revoked', 401);
  });

  it('asks the rules', async () => {
    await expectRefused(written(harness, { path: '/api/forbidden' }), 'rule_denied', 403);
  });

  it('is refused where the route does not allow it', async () => {
    const other = await startSidecar();
    await expectRefused(written(other), 'request_malformed', 400, other);
    await other.close();
    const elsewhere = { path: '/api/x', method: 'POST' };
    await expectRefused(written(harness, elsewhere), 'request_malformed', 400);
  });

  it.each<[string, Handshake]>([
    ['no key', { lines: handshakeLines.filter((line) => !line.startsWith('sec-websocket-key')) }],
    ['two keys', { more: ['sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=='] }],
    ['a short key', { lines: handshakeLines.map((line) => line.replace(/key: .*/, 'key: AAAA')) }],
    [
      'a key of 17 bytes',
      { lines: handshakeLines.map((line) => line.replace(/key: .*/, 'key: AAAAAAAAAAAAAAAAAAAAAAA=')) },
    ],
    ['no version', { lines: handshakeLines.filter((line) => !line.startsWith('sec-websocket-version')) }],
    ['version 8', { lines: handshakeLines.map((line) => line.replace('version: 13', 'version: 8')) }],
    ['two versions', { more: ['sec-websocket-version: 13'] }],
    ['no Connection: upgrade', { lines: handshakeLines.map((line) => line.replace(': Upgrade', ': keep-alive')) }],
    [
      'Connection naming the key',
      { lines: handshakeLines.map((line) => line.replace(': Upgrade', ': upgrade, sec-websocket-key')) },
    ],
    ['a list of protocols', { lines: handshakeLines.map((line) => line.replace(': websocket', ': websocket, h2c')) }],
    ['HTTP/1.0', { version: 'HTTP/1.0' }],
    ['an expectation', { more: ['expect: 100-continue'] }],
    ['a body', { more: ['content-length: 3'] }],
    ['chunks', { more: ['transfer-encoding: chunked'] }],
  ])('is malformed with %s', async (_name, handshake) => {
    await expectRefused(written(harness, handshake), 'request_malformed', 400);
  });

  it('is refused on a connection with an answer still to come', async () => {
    const before = upstream.heads.length;
    const token = harness.mint();
    const first = `GET /nowhere HTTP/1.1\r\nhost: a\r\nauthorization: DPoP ${token}\r\n\r\n`;
    const text = await new RawClient(harness.port).send(first + written(harness)).end();
    expect(text.match(/"reason":"[a-z_]+"/g)).toEqual(['"reason":"no_route"', '"reason":"request_malformed"']);
    expect(upstream.heads.length).toBe(before);
  });

  it('leaves other upgrades what they were: requests', async () => {
    const plain = await startSidecar({ route: { websocket: true } });
    const lines = ['connection: upgrade, http2-settings', 'upgrade: h2c', 'http2-settings: AA'];
    const client = new RawClient(plain.port).send(written(plain, { lines }));
    expect(statusIn(await client.until((text) => text.includes('{"ok":true}')))).toBe(200);
    expect(plain.upstream.lastField('upgrade')).toEqual([]);
    client.destroy();
    await plain.close();
  });
});

describe('the answer of the upstream', () => {
  async function answerFor(answer: (head: string) => string, handshake?: Handshake): Promise<string> {
    const other = await startWebSocketUpstream(answer);
    const sidecar = await startBefore(other);
    const text = await new RawClient(sidecar.port).send(written(sidecar, handshake)).end();
    const record = await sidecar.record(decisionIn(text));
    expect(record).toMatchObject({ decision: 'allow', status: statusIn(text) });
    await sidecar.close();
    await other.close();
    return text;
  }

  it.each<[string, (head: string) => string]>([
    ['another accept', (head) => switching(head).replace(webSocketAccept, 'AAAAAAAAAAAAAAAAAAAAAAAAAAA=')],
    ['no accept', (head) => switching(head).replace(/sec-websocket-accept: .*\r\n/, '')],
    ['two accepts', (head) => switching(head, `sec-websocket-accept: ${webSocketAccept}`)],
    ['another protocol', (head) => switching(head).replace('upgrade: websocket', 'upgrade: h2c')],
    ['no Upgrade', (head) => switching(head).replace('upgrade: websocket\r\n', '')],
    ['no Connection', (head) => switching(head).replace('connection: Upgrade\r\n', '')],
    ['a subprotocol that nobody offered', (head) => switching(head, 'sec-websocket-protocol: chat')],
    ['an extension that nobody offered', (head) => switching(head, 'sec-websocket-extensions: permessage-deflate')],
  ])('opens nothing with %s', async (_name, answer) => {
    const text = await answerFor(answer);
    expect([reasonIn(text), statusIn(text)]).toEqual(['upstream_failed', 502]);
  });

  it('opens the subprotocol that it chose among those offered', async () => {
    const other = await startWebSocketUpstream((head) => switching(head, 'sec-websocket-protocol: chat'));
    const sidecar = await startBefore(other);
    const client = await open(sidecar, { more: ['sec-websocket-protocol: talk, chat'] });
    expect(client.received).toContain('sec-websocket-protocol: chat\r\n');
    client.destroy();
    await sidecar.close();
    await other.close();
  });

  it('is relayed as any other where it is no 101, and the connection closed', async () => {
    const text = await answerFor(() => 'HTTP/1.1 404 Not Found\r\nserver: x\r\ncontent-length: 4\r\n\r\ngone');
    expect(statusIn(text)).toBe(404);
    expect(afterHead(text)).toBe('gone');
    expect(text.toLowerCase()).toContain('connection: close\r\n');
    expect(text).not.toMatch(/^server:/im);
  });

  it('does not tell of the credential that it refused', async () => {
    const text = await answerFor(
      () => 'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-length: 0\r\n\r\n',
    );
    expect([reasonIn(text), statusIn(text)]).toEqual(['upstream_auth_failed', 502]);
    expect(text).not.toContain('Basic');
  });
});

describe('a WebSocket has an end', () => {
  it('is cut when nobody says anything for as long as the route allows', async () => {
    const sidecar = await startBefore(upstream, { route: { timeouts: { body: '100ms' } } });
    const client = await open(sidecar);
    const decision = decisionIn(await client.end());
    expect(await sidecar.record(decision)).toMatchObject({ end: 'upstream_aborted', status: 101 });
    await sidecar.close();
  });

  it('is cut at the deadline of the shutdown, and recorded', async () => {
    const sidecar = await startBefore(upstream, { config: { shutdown: { delay: '0s', deadline: '50ms' } } });
    const client = await open(sidecar);
    const decision = decisionIn(client.received);
    await sidecar.sidecar.drain();
    await client.end();
    expect(await sidecar.record(decision)).toMatchObject({ decision: 'allow', status: 101 });
    await sidecar.close();
  });

  it('has nothing to do with the time for a request', async () => {
    const limits = { requestHeadersTimeout: '100ms', requestTimeout: '1s', keepAliveTimeout: '1s' };
    const sidecar = await startBefore(upstream, { config: { limits } });
    const client = await open(sidecar);
    // This one is cut when its time is over, and the tunnel was there before it.
    const token = sidecar.mint();
    const fields = `authorization: DPoP ${token}\r\ndpop: ${sidecar.proofFor('/api/x', token, 'POST')}\r\n`;
    const slow = `POST /api/x HTTP/1.1\r\nhost: a\r\n${fields}content-length: 9\r\n\r\nabc`;
    await new RawClient(sidecar.port).send(slow).end();
    client.send('still here');
    expect(afterHead(await client.until((text) => text.endsWith('still here')))).toBe('still here');
    client.destroy();
    await sidecar.close();
  });

  it('counts among the connections while it stands', async () => {
    const sidecar = await startBefore(upstream, { config: { limits: { connections: 1 } } });
    const client = await open(sidecar);
    expect(await new RawClient(sidecar.port).send(written(sidecar)).end()).toBe('');
    client.destroy();
    await sidecar.close();
  });
});

describe('a WebSocket on a TLS connection', () => {
  it('is opened, carries bytes, and ends with its connection', async () => {
    const { write } = writeConfiguration();
    const tls = {
      certFile: write('cert.pem', serverCertificate.cert),
      keyFile: write('key.pem', serverCertificate.key),
    };
    const sidecar = await startBefore(upstream, { config: { listen: { tls } } });
    const client = connect({
      port: sidecar.port,
      host: '127.0.0.1',
      ca: serverCertificate.cert,
      servername: 'localhost',
    });
    client.setEncoding('latin1');
    let received = '';
    const echoed = new Promise<void>((resolve) => {
      client.on('data', (text: string) => {
        if (received === '') client.write('over TLS');
        received += text;
        if (received.endsWith('over TLS')) resolve();
      });
    });
    client.write(written(sidecar));
    await echoed;
    expect(statusIn(received)).toBe(101);
    client.end();
    expect(await sidecar.record(decisionIn(received))).toMatchObject({ end: 'complete', bytes_in: 8, bytes_out: 8 });
    await sidecar.close();
  });
});
