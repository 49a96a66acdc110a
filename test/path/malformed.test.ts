import { expect, it } from 'vitest';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, startSidecar, upstreamSecret } from '../support/sidecar.ts';
import { fieldValues } from '../support/upstream.ts';

const requestsSent = 300;
const seed = 0x9057e412;

/** Mulberry32: the same numbers on every run. */
function createRandom(start: number): (below: number) => number {
  let state = start;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below);
  };
}

const scraps = [
  ...[
    '\r',
    '\n',
    '\r\n',
    '\r\n\r\n',
    '\0',
    '\t',
    ' ',
    '\x0b',
    '\x7f',
    '\xff',
    ':',
    ';',
    ',',
    '"',
    '%',
    '%00',
    '%2f',
    '\\',
  ],
  ...[
    '../',
    '//',
    '?',
    '#',
    '=',
    '{',
    'HTTP/1.0',
    'HTTP/2.0',
    'http://a',
    '__proto__',
    'é',
    '-1',
    '9'.repeat(20),
    '0x',
  ],
];
const lines = [
  ...[
    'content-length: 4',
    'content-length: -1',
    'content-length: 4, 5',
    'content-length:',
    'transfer-encoding: chunked',
  ],
  ...[
    'transfer-encoding: identity',
    'transfer-encoding: chunked, gzip',
    'Transfer-Encoding:\x0bchunked',
    'te: trailers',
  ],
  ...[
    'trailer: authorization',
    'expect: 100-continue',
    'expect: x',
    'upgrade: websocket',
    'upgrade: h2c',
    'host: b',
    'host:',
  ],
  ...[
    'connection: close',
    'connection: upgrade',
    'connection: dpop',
    'connection: ,,,',
    'authorization: DPoP',
    'dpop: a.b.c',
  ],
  ...[
    'authorization: Basic eDp5',
    'authorization: Bearer ..',
    'dpop:',
    'agent-reason: "\\"',
    'cookie: a=b',
    ' folded',
    ': x',
  ],
  ...['__proto__: x', 'constructor: x', 'x-forwarded-for: ,,', 'content-type: application/json', 'range: bytes=a-b'],
];
const bodies = [
  '',
  'abcd',
  '4\r\nabcd\r\n0\r\n\r\n',
  'z\r\n',
  '0\r\nx: y\r\n\r\n',
  '{"a":',
  'GET / HTTP/1.1\r\n\r\n',
  '\xff'.repeat(50),
];
const starts = ['GET', 'POST', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'get', '', 'PRI', '\x16\x03\x01'];
const targets = [
  '/api/x',
  '/api/x?a=b',
  '*',
  '/',
  'a:1',
  'http://a/api/x',
  '/api/%',
  '/api/..',
  '',
  '/api/;',
  '/metrics',
];

/** A request that starts out good, or nearly, and is then spoilt in one to four places. */
function spoil(random: (below: number) => number, harness: Harness, token: string): string {
  const pick = <Item>(items: readonly Item[]) => items[random(items.length)] as Item;
  const isKnown = random(3) > 0;
  const method = isKnown ? pick(['GET', 'POST']) : pick(starts);
  const target = isKnown ? '/api/x' : pick(targets);
  const head = [`${method} ${target} HTTP/1.1`, 'host: a'];
  if (random(4) > 0) head.push(`authorization: DPoP ${token}`, `dpop: ${harness.proofFor('/api/x', token, method)}`);
  for (let count = random(3); count > 0; count--) head.splice(1 + random(head.length), 0, pick(lines));
  let text = `${head.join('\r\n')}\r\n\r\n${pick(bodies)}`;
  for (let count = 1 + random(4); count > 0; count--) {
    const at = random(text.length);
    const kind = random(4);
    if (kind === 0) text = text.slice(0, at) + pick(scraps) + text.slice(at);
    else if (kind === 1) text = text.slice(0, at) + String.fromCharCode(random(256)) + text.slice(at + 1);
    else if (kind === 2) text = text.slice(0, at) + text.slice(at + random(20));
    else text = text.slice(0, at) + text.slice(Math.max(0, at - random(200)), at) + text.slice(at);
  }
  return text;
}

it(`survives ${requestsSent} malformed requests, answers none with 500, and lets nothing through that it did not judge`, async () => {
  const harness = await startSidecar();
  const random = createRandom(seed);
  const token = harness.mint();
  let answered = 0;
  for (let sent = 0; sent < requestsSent; sent += 20) {
    const clients = Array.from({ length: 20 }, () => new RawClient(harness.port).send(spoil(random, harness, token)));
    // A good call, with a token never seen before: when it is through, so is whatever could be made of those bytes.
    expect((await harness.call('/api/well')).status).toBe(200);
    for (const client of clients) client.socket.end();
    for (const text of await Promise.all(clients.map((client) => client.end()))) {
      answered += text === '' ? 0 : 1;
      expect(text).not.toMatch(/^HTTP\/1\.1 5/m);
      expect(text).not.toContain(upstreamSecret);
    }
  }
  expect(answered).toBeGreaterThan(requestsSent / 2);
  for (const { url, rawHeaders } of harness.upstream.requests) {
    expect(url).toMatch(/^\/api\//);
    expect(fieldValues(rawHeaders, 'authorization')).toEqual([`Bearer ${upstreamSecret}`]);
    expect(rawHeaders.join()).not.toContain(token);
  }
  const records = harness.auditText();
  expect(records).not.toContain('internal_error');
  expect(records).not.toContain(upstreamSecret);
  expect(records).not.toContain(token);
  expect(harness.log.filter((line) => line.includes('"level":50'))).toEqual([]);
  await harness.close();
});
