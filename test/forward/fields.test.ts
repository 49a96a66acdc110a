import { describe, expect, it } from 'vitest';
import type { ClientRequest, Injection } from '../../src/exchange.ts';
import { createRequestFields, responseFields } from '../../src/forward/fields.ts';
import { createPathMap } from '../../src/forward/paths.ts';
import { publicOrigin, routeTo } from './gateway.ts';

const injection: Injection = { name: 'key', version: 1, fields: [['authorization', 'Bearer real']] };

/** What the upstream would get of some fields. */
function forwarded(fields: Record<string, string | string[]>, forwardFields: string[] = [], injected = injection) {
  const request = {
    fields: new Map(Object.entries(fields).map(([name, value]) => [name, [value].flat()])),
    bodyBytes: 0,
  } as unknown as ClientRequest;
  return createRequestFields(routeTo('https://api.example', { forwardFields }), 'agent-reason')(request, injected);
}

const credentialOnly = ['authorization', 'Bearer real'];

describe('request fields', () => {
  it('pass in order, with every value', () => {
    expect(forwarded({ accept: 'a', 'x-list': ['1', '2'], 'accept-encoding': 'gzip', range: 'bytes=0-1' })).toEqual([
      'accept',
      'a',
      'x-list',
      '1',
      'x-list',
      '2',
      'accept-encoding',
      'gzip',
      'range',
      'bytes=0-1',
      ...credentialOnly,
    ]);
  });

  it.each([
    'authorization',
    'dpop',
    'proxy-authorization',
    'cookie',
    'txn-token',
    'host',
    'content-length',
    'transfer-encoding',
    'connection',
    'keep-alive',
    'proxy-connection',
    'te',
    'trailer',
    'upgrade',
    'http2-settings',
    'expect',
    'forwarded',
    'via',
    'baggage',
    'x-forwarded-for',
    'x-forwarded-host',
    'x-forwarded-anything',
    'x-forwarded-client-cert',
    'x-real-ip',
    'x-original-url',
    'x-rewrite-url',
    'x-http-method-override',
    'x-http-method',
    'x-method-override',
    'client-cert',
    'client-cert-chain',
    'x-ssl-client-verify',
    'ssl-client-cert',
    'ssl-anything',
    'x-client-cert',
    'agent-reason',
    'postern-decision',
    'postern-anything',
    'proxy-anything',
    'x-envoy-original-path',
    'remote-user',
  ])('lose %s', (name) => {
    expect(forwarded({ [name]: 'agent' })).toEqual(credentialOnly);
  });

  it.each([
    'x_forwarded_for',
    'x.forwarded.for',
    'x_forwarded-for',
    'proxy_authorization',
    'client_cert',
    'ssl_client_cert',
    'postern_decision',
    'agent_reason',
    'agent.reason',
    'x_real_ip',
    'content_length',
    'transfer_encoding',
    'txn_token',
  ])('lose %s, which some servers take for the same as with dashes', (name) => {
    expect(forwarded({ [name]: 'agent' })).toEqual(credentialOnly);
  });

  it('lose every name with underscores or dots, which rules see as one name and some servers as another', () => {
    expect(forwarded({ x_tenant: '1', 'a.b': '2', 'x-tenant': '3' })).toEqual(['x-tenant', '3', ...credentialOnly]);
  });

  it('keep a name with underscores or dots where the route opts in to it', () => {
    const kept = ['x_tenant', '1', 'a.b', '2', ...credentialOnly];
    expect(forwarded({ x_tenant: '1', 'a.b': '2', a_b: '3' }, ['x_tenant', 'a.b'])).toEqual(kept);
  });

  it('lose every spelling of the field of the credential, however it is spelt itself, opted in or not', () => {
    const apiKey: Injection = { name: 'key', version: 1, fields: [['x_api_key', 'real']] };
    const fields = { 'x-api-key': 'agent', x_api_key: 'agent', 'x.api.key': 'agent' };
    expect(forwarded(fields, ['x-api-key', 'x.api.key'], apiKey)).toEqual(['x_api_key', 'real']);
  });

  it('lose every spelling of what is never forwarded, opted in or not', () => {
    const fields = { proxy_authorization: 'agent', transfer_encoding: 'chunked', 'postern.decision': 'x' };
    expect(forwarded(fields, Object.keys(fields))).toEqual(credentialOnly);
  });

  it('lose what Connection names, and the credential is set after that', () => {
    const apiKey: Injection = { name: 'key', version: 1, fields: [['x-api-key', 'real']] };
    const fields = {
      connection: ['close, X-Tenant', 'x-api-key'],
      'x-tenant': '1',
      'x-other': '2',
      'x-api-key': 'agent',
    };
    expect(forwarded(fields, [], apiKey)).toEqual(['x-other', '2', 'x-api-key', 'real']);
  });

  it('lose what the agent puts into the field of the credential, in every spelling, opted in or not', () => {
    const apiKey: Injection = { name: 'key', version: 1, fields: [['x-api-key', 'real']] };
    const fields = { 'x-api-key': 'agent', x_api_key: 'agent', 'x.api.key': 'agent' };
    expect(forwarded(fields, ['x-api-key'], apiKey)).toEqual(['x-api-key', 'real']);
  });

  it('follow the credential when another one is injected', () => {
    const toFields = createRequestFields(routeTo('https://api.example'), 'agent-reason');
    const request = {
      fields: new Map([
        ['x-one', ['agent']],
        ['x-two', ['agent']],
      ]),
      bodyBytes: 0,
    } as unknown as ClientRequest;
    const one: Injection = { name: 'key', version: 1, fields: [['x-one', 'real']] };
    const two: Injection = { name: 'key', version: 2, fields: [['x-two', 'real']] };
    expect(toFields(request, one)).toEqual(['x-two', 'agent', 'x-one', 'real']);
    expect(toFields(request, two)).toEqual(['x-one', 'agent', 'x-two', 'real']);
  });

  it('pass where the route lets them, but never those that are ours', () => {
    const names = [
      'cookie',
      'x-forwarded-for',
      'agent-reason',
      'authorization',
      'dpop',
      'host',
      'transfer-encoding',
      'content-length',
      'connection',
      'postern-decision',
      'expect',
      'proxy-authorization',
    ];
    const fields = Object.fromEntries(names.map((name) => [name, 'agent']));
    expect(forwarded(fields, names)).toEqual([
      'cookie',
      'agent',
      'x-forwarded-for',
      'agent',
      'agent-reason',
      'agent',
      ...credentialOnly,
    ]);
  });
});

describe('response fields', () => {
  const paths = createPathMap(routeTo('https://api.example'), publicOrigin);
  const noStore = ['cache-control', 'private, no-store'];
  const relayed = (fields: Record<string, string | string[]>, { keepsCookies = false, status = 200 } = {}) =>
    responseFields(fields, status, '/items', { paths, keepsCookies });

  it('pass in order, with every value, and are never cached', () => {
    expect(relayed({ 'content-type': 'a', etag: '"1"', 'x-list': ['1', '2'], 'cache-control': 'public' })).toEqual([
      'content-type',
      'a',
      'etag',
      '"1"',
      'x-list',
      '1',
      'x-list',
      '2',
      ...noStore,
    ]);
  });

  it.each([
    'connection',
    'keep-alive',
    'proxy-connection',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
    'set-cookie',
    'set-cookie2',
    'server',
    'x-powered-by',
    'alt-svc',
    'www-authenticate',
    'proxy-authenticate',
    'authentication-info',
    'proxy-authentication-info',
    'dpop-nonce',
    'strict-transport-security',
    'access-control-allow-origin',
    'access-control-expose-headers',
    'clear-site-data',
    'via',
    'postern-decision',
    'refresh',
    'x-accel-redirect',
    'x-sendfile',
    'expires',
    'age',
    'pragma',
    'cdn-cache-control',
    'cloudflare-cdn-cache-control',
    'surrogate-control',
  ])('lose %s', (name) => {
    expect(relayed({ [name]: 'upstream' })).toEqual(noStore);
  });

  it('lose what Connection names', () => {
    expect(relayed({ connection: 'close, X-Hop', 'x-hop': '1', 'x-end': '2' })).toEqual(['x-end', '2', ...noStore]);
  });

  it('keep cookies where the route lets the client send them', () => {
    expect(relayed({ 'set-cookie': ['a=1', 'b=2'] }, { keepsCookies: true })).toEqual([
      'set-cookie',
      'a=1',
      'set-cookie',
      'b=2',
      ...noStore,
    ]);
  });

  it('turn a Location to where the client sees it, and drop one that leads elsewhere or is not alone', () => {
    expect(relayed({ location: 'https://api.example/x' })).toEqual([
      'location',
      'https://agents.example/api/x',
      ...noStore,
    ]);
    expect(relayed({ 'content-location': '/x' })).toEqual(['content-location', '/api/x', ...noStore]);
    expect(relayed({ location: 'https://evil.example/x' })).toEqual(noStore);
    expect(relayed({ location: ['/a', '/b'] })).toEqual(noStore);
  });

  it('announce no length on a 204', () => {
    expect(relayed({ 'content-length': '0' }, { status: 204 })).toEqual(noStore);
    expect(relayed({ 'content-length': '0' })).toEqual(['content-length', '0', ...noStore]);
  });
});
