import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Deny, isDeny } from '../../src/decision.ts';
import type { ClientRequest } from '../../src/exchange.ts';
import { createVet, type VetOptions } from '../../src/receive/vet.ts';
import { exchangeRaw, listenOn, RawClient } from '../support/raw-http.ts';

const options: VetOptions = {
  limits: { headers: 4096, headerCount: 20, url: 1024 },
  hosts: undefined,
  trustedProxies: [],
  protectedFields: ['x-api-key'],
};

/** What the vet said to each request, in order; and a server as strict as Node's parser is by default. */
let seen: (ClientRequest | Deny)[] = [];
let server: Server;
let port: number;

beforeAll(async () => {
  const vet = createVet(options);
  server = createServer({ maxHeaderSize: 65_536, requireHostHeader: false, insecureHTTPParser: false });
  server.maxHeadersCount = 0;
  const serve = (incoming: IncomingMessage, response: { end: (text: string) => void }) => {
    seen.push(vet(incoming));
    response.end('vetted');
  };
  server.on('request', serve).on('checkContinue', serve).on('checkExpectation', serve);
  server.on('clientError', (fault: Error & { code?: string }, socket) => socket.end(`parser ${fault.code}`));
  port = await listenOn(server);
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

/** The last verdict on some bytes, or what Node's parser said to them. The connection ends with the answer. */
async function verdict(text: string): Promise<ClientRequest | Deny | string> {
  seen = [];
  const answer = await exchangeRaw(port, text.replace('\r\n', '\r\nConnection: close\r\n'));
  return seen.at(-1) ?? answer;
}

const get = (lines: string, target = '/a') => `GET ${target} HTTP/1.1\r\nHost: api.example\r\n${lines}\r\n`;

describe('framing, which Node lets pass and the vet refuses', () => {
  it.each([
    ['codings before chunked', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    ['the identity coding', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n'],
    ['an unknown coding', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n'],
    ['a coding with a parameter', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n'],
    ['chunked on HTTP/1.0', 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['HTTP/0.9', 'GET / HTTP/0.9\r\nHost: a\r\n\r\n'],
    ['HTTP/2.0 on a request line', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n'],
    ['a length beyond every number', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\nx'],
  ])('refuses %s and closes', async (_name, text) => {
    expect(await verdict(text)).toMatchObject({ reason: 'request_malformed', close: true });
  });
});

describe('framing, which Node refuses by itself', () => {
  it.each([
    ['repeated lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx'],
    ['conflicting lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx'],
    ['a list of lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx'],
    ['a signed length', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx'],
    [
      'length and coding',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [
      'coding and length',
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n',
    ],
    ['chunked twice', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n'],
    ['a folded field', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n'],
    ['a bare line feed', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n'],
    ['a bare carriage return', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n'],
    ['a NUL in a field', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n'],
    ['a blank before the colon', 'GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n'],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ])('never sees %s', async (_name, text) => {
    expect(await verdict(text)).toMatch(/^parser HPE_/);
  });
});

describe('framing, on what a lenient parser would hand over', () => {
  const vet = createVet(options);
  const incoming = (rawHeaders: string[], httpVersion = '1.1') =>
    ({
      rawHeaders: ['Host', 'a', ...rawHeaders],
      httpVersion,
      method: 'POST',
      url: '/',
      socket: {},
    }) as IncomingMessage;

  it.each([
    ['repeated lengths', ['Content-Length', '1', 'Content-Length', '1']],
    ['a list of lengths', ['Content-Length', '1, 1']],
    ['a signed length', ['Content-Length', '+1']],
    ['a hexadecimal length', ['Content-Length', '0x10']],
    ['an empty length', ['Content-Length', '']],
    ['length and coding', ['Content-Length', '1', 'Transfer-Encoding', 'chunked']],
    ['chunked twice in a list', ['Transfer-Encoding', 'chunked, chunked']],
    ['chunked twice in two lines', ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked']],
    ['an empty coding', ['Transfer-Encoding', '']],
    ['a vertical tab before the coding', ['Transfer-Encoding', '\x0bchunked']],
    ['a line feed in a value', ['X', 'a\nAuthorization: b']],
    ['a NUL in a value', ['X', 'a\x00']],
    ['a character beyond a byte in a value', ['X', '\u0100']],
  ])('refuses %s and closes', (_name, rawHeaders) => {
    expect(vet(incoming(rawHeaders))).toMatchObject({ reason: 'request_malformed', close: true });
  });
});

describe('bodies', () => {
  it.each([
    ['no body', get(''), 0],
    ['a length of none', get('Content-Length: 0\r\n'), 0],
    ['a length on GET', `${get('Content-Length: 5\r\n')}hello`, 5],
    ['chunked', `${get('Transfer-Encoding: chunked\r\n')}0\r\n\r\n`, null],
    ['chunked in any case', `${get('Transfer-Encoding: ChunKed\r\n')}0\r\n\r\n`, null],
  ])('announces %s', async (_name, text, bodyBytes) => {
    expect(await verdict(text)).toMatchObject({ bodyBytes });
  });
});

describe('fields', () => {
  it('keeps every line of a repeated field, in order, under its lower-case name', async () => {
    const request = await verdict(
      get('Authorization: a\r\nauthorization: b\r\nDPoP: c\r\ndpop: d\r\nX-Caf\xe9: 1\r\n'.replace('X-Caf\xe9', 'X-B')),
    );
    expect(request).toMatchObject({ host: 'api.example', method: 'GET' });
    const { fields } = request as ClientRequest;
    expect(fields.get('authorization')).toEqual(['a', 'b']);
    expect(fields.get('dpop')).toEqual(['c', 'd']);
    expect(fields.get('x-b')).toEqual(['1']);
  });

  it('keeps bytes beyond ASCII as they are', async () => {
    expect(((await verdict(get('X: caf\xc3\xa9\r\n'))) as ClientRequest).fields.get('x')).toEqual(['caf\xc3\xa9']);
  });

  it('counts fields that Node would drop without a word', async () => {
    expect(await verdict(get('a: b\r\n'.repeat(18)))).toMatchObject({ method: 'GET' });
    expect(await verdict(get('a: b\r\n'.repeat(19)))).toMatchObject({ reason: 'headers_too_large' });
    expect(await verdict(get('a: b\r\n'.repeat(3000)))).toMatchObject({ reason: 'headers_too_large' });
  });

  it('counts bytes of fields', async () => {
    expect(await verdict(get(`a: ${'b'.repeat(4000)}\r\n`))).toMatchObject({ method: 'GET' });
    expect(await verdict(get(`a: ${'b'.repeat(4100)}\r\n`))).toMatchObject({ reason: 'headers_too_large' });
  });

  it('does not mix up fields with members of an object', async () => {
    const { fields } = (await verdict(get('__proto__: a\r\nconstructor: b\r\n'))) as ClientRequest;
    expect(fields.get('__proto__')).toEqual(['a']);
    expect(fields.get('constructor')).toEqual(['b']);
    expect(fields.get('tostring')).toBeUndefined();
  });
});

describe('host', () => {
  it.each([
    ['none on HTTP/1.1', 'GET / HTTP/1.1\r\n\r\n'],
    ['two', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
    ['two that agree', 'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n'],
    ['an empty one', 'GET / HTTP/1.1\r\nHost:\r\n\r\n'],
    ['one with a path', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n'],
    ['one with user information', 'GET / HTTP/1.1\r\nHost: a@b\r\n\r\n'],
    ['one with a port that is none', 'GET / HTTP/1.1\r\nHost: a:b\r\n\r\n'],
    ['a list', 'GET / HTTP/1.1\r\nHost: a, b\r\n\r\n'],
  ])('refuses %s', async (_name, text) => {
    expect(await verdict(text)).toMatchObject({ reason: 'request_malformed', close: true });
  });

  it.each([
    ['API.Example:8443', 'api.example:8443'],
    ['[2001:db8::1]:80', '[2001:db8::1]:80'],
    ['127.0.0.1', '127.0.0.1'],
  ])('takes %s in lower case', async (host, expected) => {
    expect(await verdict(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)).toMatchObject({ host: expected });
  });

  it('takes HTTP/1.0 without a host', async () => {
    expect(await verdict('GET / HTTP/1.0\r\n\r\n')).toMatchObject({ host: '' });
  });

  it('knows no route for a host that is not on the list, with or without its port', () => {
    const vet = createVet({ ...options, hosts: ['api.example', 'other.example:8443'] });
    const reasonFor = (host: string) => {
      const rawHeaders = ['Host', host];
      const incoming = { rawHeaders, httpVersion: '1.1', method: 'GET', url: '/', socket: {} } as IncomingMessage;
      const request = vet(incoming);
      return isDeny(request) ? request.reason : 'taken';
    };
    expect(reasonFor('api.example')).toBe('taken');
    expect(reasonFor('API.example:80')).toBe('taken');
    expect(reasonFor('other.example:8443')).toBe('taken');
    expect(reasonFor('other.example')).toBe('no_route');
    expect(reasonFor('evil.example')).toBe('no_route');
  });
});

describe('connection, expectation, upgrade and method', () => {
  it.each([
    'authorization',
    'DPoP',
    'host',
    'content-length',
    'cookie',
    'x-api-key',
    'X_Api_Key',
    'postern-decision',
    'agent-reason',
    'transfer-encoding',
    'close, authorization',
    'proxy-authorization',
    'expect',
  ])('refuses a Connection field that names %s', async (names) => {
    expect(await verdict(get(`Connection: ${names}\r\n`))).toMatchObject({ reason: 'request_malformed', close: true });
  });

  it('hides fields that Connection names from rules and from forwarding', async () => {
    const { fields } = (await verdict(
      get('Connection: X-Tenant, keep-alive\r\nX-Tenant: a\r\nX-Other: b\r\n'),
    )) as ClientRequest;
    expect(fields.has('x-tenant')).toBe(false);
    expect(fields.get('x-other')).toEqual(['b']);
  });

  it('refuses expectations other than 100-continue', async () => {
    expect(await verdict(get('Expect: 200-ok\r\n'))).toMatchObject({ reason: 'request_malformed' });
    expect(await verdict(get('Expect: 100-continue, x\r\n'))).toMatchObject({ reason: 'request_malformed' });
    expect(await verdict(get('Expect: 100-Continue\r\n'))).toMatchObject({ method: 'GET' });
  });

  it('refuses an upgrade to WebSocket and ignores one to h2c', async () => {
    const upgrade = (protocol: string) => get(`Connection: Upgrade\r\nUpgrade: ${protocol}\r\n`);
    expect(await verdict(upgrade('websocket'))).toMatchObject({ reason: 'request_malformed' });
    expect(await verdict(upgrade('h2c, WebSocket'))).toMatchObject({ reason: 'request_malformed' });
    expect(await verdict(upgrade('h2c'))).toMatchObject({ method: 'GET' });
  });

  it('refuses TRACE without naming other methods', async () => {
    const refusal = await verdict('TRACE / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(refusal).toMatchObject({ reason: 'method_not_allowed' });
    expect(refusal).not.toHaveProperty('allowedMethods');
  });

  it('refuses an ambiguous target as it came over the wire', async () => {
    for (const target of ['//evil/x', '/a/../b', '/a\\b', '/a#b', 'http://evil/', '*', '/a"b']) {
      expect(await verdict(get('', target)), target).toMatchObject({ reason: 'target_ambiguous' });
    }
    expect(await verdict(get('', `/${'a'.repeat(1024)}`))).toMatchObject({ reason: 'target_too_long' });
  });
});

describe('pipelined requests', () => {
  it('are each vetted alone', async () => {
    seen = [];
    const client = new RawClient(port).send(
      get('', '/one') + get('', '/a/../b') + get('Connection: close\r\n', '/three'),
    );
    await client.end();
    expect(seen).toHaveLength(3);
    expect(seen[0]).toMatchObject({ target: { path: '/one' } });
    expect(seen[1]).toMatchObject({ reason: 'target_ambiguous' });
    expect(seen[2]).toMatchObject({ target: { path: '/three' } });
  });
});
