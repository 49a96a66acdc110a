/** A real authorization server, oidc-provider, that issues opaque access tokens and introspects them. */

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Provider } from 'oidc-provider/lib/provider.js';
import { request } from 'undici';
import { createKey, type SigningKey } from './keys.ts';
import { mintProof } from './tokens.ts';

export const gate = { id: 'postern', secret: 'gate-secret-0123456789abcdef' };
const agent = { id: 'agent-7', secret: 'agent-secret-0123456789abcdef' };

export type OpaqueAuthorizationServer = {
  readonly issuer: string;
  readonly jwksUri: string;
  readonly introspectionUrl: string;
  /** An access token of client `agent-7`, bound to the key where there is one. */
  issue(audience: string, agentKey: SigningKey | null): Promise<string>;
  /** Ends a token before its time (RFC 7009). */
  revoke(token: string): Promise<void>;
  close(): Promise<void>;
};

export async function startOpaqueAuthorizationServer(): Promise<OpaqueAuthorizationServer> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const key = createKey('ES256');
  const client = (id: string, secret: string, more: object) => ({
    client_id: id,
    client_secret: secret,
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: 'ES256',
    introspection_signed_response_alg: 'ES256',
    ...more,
  });
  const provider = new Provider(issuer, {
    adapter: createRecords(),
    clients: [
      client(agent.id, agent.secret, { grant_types: ['client_credentials'], scope: 'read write' }),
      client(gate.id, gate.secret, { grant_types: [] }),
    ],
    jwks: { keys: [{ ...key.privateJwk, kid: key.kid, use: 'sig', alg: 'ES256' }] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    responseTypes: [],
    ttl: { ClientCredentials: 600 },
    scopes: ['read', 'write'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      revocation: { enabled: true, allowedPolicy: () => true },
      introspection: {
        enabled: true,
        allowedPolicy: (_context: unknown, { clientId }: { readonly clientId: string }) => clientId === gate.id,
      },
      jwtIntrospection: { enabled: true },
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context: unknown, resource: string) => ({
          scope: 'read write',
          audience: resource,
          accessTokenFormat: 'opaque',
          accessTokenTTL: 600,
        }),
      },
    },
  });
  server.on('request', provider.callback());

  const post = async (path: string, form: Record<string, string>, headers: Record<string, string> = {}) => {
    const basic = Buffer.from(`${agent.id}:${agent.secret}`).toString('base64');
    const { statusCode, body } = await request(`${issuer}${path}`, {
      method: 'POST',
      headers: { authorization: `Basic ${basic}`, 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body: new URLSearchParams(form).toString(),
    });
    const text = await body.text();
    if (statusCode !== 200) throw new Error(`${path} answered ${statusCode}: ${text}`);
    return text;
  };

  return {
    issuer,
    jwksUri: `${issuer}/jwks`,
    introspectionUrl: `${issuer}/token/introspection`,
    async issue(audience, agentKey) {
      const claims = { ath: undefined };
      const url = `${issuer}/token`;
      const proof =
        agentKey === null ? {} : { dpop: mintProof({ key: agentKey, method: 'POST', url, accessToken: '', claims }) };
      const form = { grant_type: 'client_credentials', resource: audience, scope: 'read' };
      return (JSON.parse(await post('/token', form, proof)) as { access_token: string }).access_token;
    },
    async revoke(token) {
      await post('/token/revocation', { token });
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function createRecords(): (model: string) => Readonly<Record<string, unknown>> {
  const records = new Map<string, unknown>();
  return (model) => ({
    upsert: async (id: string, payload: unknown) => void records.set(`${model}:${id}`, payload),
    find: async (id: string) => records.get(`${model}:${id}`),
    destroy: async (id: string) => void records.delete(`${model}:${id}`),
    findByUid: async () => undefined,
    findByUserCode: async () => undefined,
    consume: async () => undefined,
    revokeByGrantId: async () => undefined,
  });
}
