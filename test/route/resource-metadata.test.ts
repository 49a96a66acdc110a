import { describe, expect, it } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import { isDeny } from '../../src/decision.ts';
import { createAnswerMetadata } from '../../src/route/resource-metadata.ts';
import { createRoutes } from '../../src/route/routes.ts';
import { type ClientRequestChanges, clientRequest } from '../support/client-request.ts';

const base = { name: 'a', match: {}, upstream: 'https://api.example', audience: 'urn:api', credential: 'key' };
const wellKnown = '/.well-known/oauth-protected-resource';

function answers(routes: readonly object[], more: { listen?: object; proof?: object; issuers?: object[] } = {}) {
  const config = configSchema.parse({
    ...more,
    listen: { publicOrigin: 'https://agents.example', ...more.listen },
    issuers: more.issuers ?? [{ issuer: 'https://login.example' }],
    routes: routes.map((route) => ({ ...base, ...route })),
    credentials: { key: { from: { env: 'KEY' }, inject: { header: 'authorization' } } },
    rules: ['rules'],
  });
  const answer = createAnswerMetadata(config, createRoutes(config));
  return (path: string, changes: ClientRequestChanges = {}) => answer(clientRequest({ ...changes, path }));
}

/** The document at this place behind the well-known name; null where there is none. */
function documentAt(ask: ReturnType<typeof answers>, path: string, changes: ClientRequestChanges = {}) {
  const answer = ask(`${wellKnown}${path}`, changes);
  if (answer === null || isDeny(answer)) return answer;
  return JSON.parse(answer.body) as Record<string, unknown>;
}

const tls = { certFile: 'a', keyFile: 'b', clientCert: 'request' };

describe('resource metadata', () => {
  it('says what RFC 9728 §2 has room for, of a route that takes DPoP only', () => {
    const ask = answers([{ match: { pathPrefix: '/orders/' }, scopes: ['read', 'write'] }], {
      proof: { algorithms: ['ES256'] },
    });
    expect(documentAt(ask, '/orders')).toEqual({
      resource: 'urn:api',
      resource_name: 'a',
      authorization_servers: ['https://login.example'],
      scopes_supported: ['read', 'write'],
      bearer_methods_supported: ['header'],
      dpop_signing_alg_values_supported: ['ES256'],
      // Certificates are accepted by default, but none can arrive without TLS.
      dpop_bound_access_tokens_required: true,
      tls_client_certificate_bound_access_tokens: false,
    });
  });

  it.each([
    ['on TLS of its own', { tls }],
    ['in a field', { trustedProxies: ['10.0.0.1'], clientCertificateField: { format: 'xfcc' } }],
  ])('offers certificates where they can arrive %s', (_name, listen) => {
    const ask = answers([{}], { listen });
    expect(documentAt(ask, '')).toMatchObject({
      dpop_bound_access_tokens_required: false,
      tls_client_certificate_bound_access_tokens: true,
    });
  });

  it('never names what is not accepted', () => {
    const certificates = documentAt(answers([{ accept: ['mtls'] }], { listen: { tls } }), '');
    expect(certificates).toMatchObject({
      dpop_bound_access_tokens_required: false,
      tls_client_certificate_bound_access_tokens: true,
    });
    expect(certificates).not.toHaveProperty('dpop_signing_alg_values_supported');
    expect(documentAt(answers([{ accept: ['dpop'] }], { listen: { tls } }), '')).toMatchObject({
      dpop_bound_access_tokens_required: true,
      tls_client_certificate_bound_access_tokens: false,
    });
    const bearer = documentAt(answers([{ accept: ['dpop', 'bearer'] }]), '');
    expect(bearer).toMatchObject({ dpop_bound_access_tokens_required: false });
    expect(bearer).not.toHaveProperty('scopes_supported');
    const issuers = [{ issuer: 'https://login.example' }, { issuer: 'internal', jwksFile: 'keys' }];
    expect(documentAt(answers([{}], { issuers }), '')).toMatchObject({
      authorization_servers: ['https://login.example'],
    });
  });

  it('stands at the path of each prefix, with a slash at its end or without', () => {
    const ask = answers([{ match: { pathPrefix: '/a/b' } }, { name: 'root', audience: 'urn:root' }]);
    for (const path of ['/a/b', '/a/b/']) expect(documentAt(ask, path)).toMatchObject({ resource: 'urn:api' });
    for (const path of ['', '/']) expect(documentAt(ask, path)).toMatchObject({ resource: 'urn:root' });
    for (const path of ['/a', '/a/b/c', '/A/b', 'x', '//']) expect(documentAt(ask, path)).toBeNull();
    expect(ask('/a/b')).toBeNull();
  });

  it('stands at the path of an audience on the public origin too, for all its routes together', () => {
    const audience = 'https://agents.example/v1';
    const ask = answers([
      { name: 'one', match: { pathPrefix: '/one' }, audience, scopes: ['a', 'b'], accept: ['dpop'] },
      { name: 'two', match: { pathPrefix: '/two' }, audience, scopes: ['b', 'c'], accept: ['bearer'] },
      { name: 'else', match: { pathPrefix: '/else' }, audience: 'https://elsewhere.example/v2', scopes: ['d'] },
    ]);
    expect(documentAt(ask, '/v1')).toMatchObject({
      resource: audience,
      resource_name: 'one, two',
      scopes_supported: ['a', 'b', 'c'],
      dpop_signing_alg_values_supported: ['ES256', 'EdDSA', 'PS256'],
      dpop_bound_access_tokens_required: false,
    });
    expect(documentAt(ask, '/one')).toMatchObject({ scopes_supported: ['a', 'b'], resource_name: 'one' });
    expect(documentAt(ask, '/v2')).toBeNull();
  });

  it('is one for routes that differ in methods only, and one a host', () => {
    const ask = answers([
      { name: 'read', match: { methods: ['GET'] }, scopes: ['r'] },
      { name: 'write', match: { methods: ['POST'] }, scopes: ['w'] },
      { name: 'other', match: { hosts: ['other.example'] }, audience: 'urn:other' },
    ]);
    expect(documentAt(ask, '')).toMatchObject({ resource: 'urn:api', scopes_supported: ['r', 'w'] });
    expect(documentAt(ask, '', { host: 'other.example' })).toMatchObject({ resource: 'urn:other' });
  });

  it('is read only, and with nothing sent along', () => {
    const ask = answers([{}]);
    expect(documentAt(ask, '', { method: 'HEAD' })).toMatchObject({ resource: 'urn:api' });
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      expect(documentAt(ask, '', { method })).toMatchObject({
        reason: 'method_not_allowed',
        allowedMethods: ['GET', 'HEAD'],
      });
    }
    for (const bodyBytes of [3, null]) expect(documentAt(ask, '', { bodyBytes })).toMatchObject({ effect: 'deny' });
  });
});
