/** A real authorization server over TLS that binds access tokens to the client's certificate (RFC 8705 §3). */

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { InvalidTarget } from 'oidc-provider/lib/helpers/errors.js';
import { Provider } from 'oidc-provider/lib/provider.js';
import { serverCertificate } from './certificates.ts';

export type MtlsAuthorizationServer = {
  readonly issuer: string;
  /** Its public keys, for those who do not trust its certificate. */
  readonly jwks: { readonly keys: readonly object[] };
  readonly close: () => Promise<void>;
};

export type MtlsClient = { readonly id: string; readonly secret: string; readonly scope: string };

type Context = { readonly req: IncomingMessage };

/** Its tokens are JWTs, and its clients send no proofs: there is nothing to remember. */
const records = {
  upsert: async () => undefined,
  find: async () => undefined,
  destroy: async () => undefined,
  findByUid: async () => undefined,
  findByUserCode: async () => undefined,
  consume: async () => undefined,
  revokeByGrantId: async () => undefined,
};

export async function startMtlsAuthorizationServer(
  client: MtlsClient,
  audience: string,
): Promise<MtlsAuthorizationServer> {
  const server = createServer({ ...serverCertificate, requestCert: true, rejectUnauthorized: false });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `https://localhost:${(server.address() as AddressInfo).port}`;
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const named = { kid: 'key-1', use: 'sig', alg: 'ES256' };
  const provider = new Provider(issuer, {
    adapter: () => records,
    clients: [
      {
        client_id: client.id,
        client_secret: client.secret,
        scope: client.scope,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: 'client_secret_basic',
        id_token_signed_response_alg: 'ES256',
        tls_client_certificate_bound_access_tokens: true,
      },
    ],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), ...named }] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    clockTolerance: 5,
    ttl: { ClientCredentials: 300 },
    responseTypes: [],
    scopes: client.scope.split(' '),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        getCertificate: ({ req }: Context) => (req.socket as TLSSocket).getPeerX509Certificate(),
      },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context: unknown, resource: string) => {
          if (resource !== audience) throw new InvalidTarget();
          return {
            scope: client.scope,
            audience,
            accessTokenFormat: 'jwt',
            accessTokenTTL: 300,
            jwt: { sign: { alg: 'ES256' } },
          };
        },
      },
    },
  });
  server.on('request', provider.callback());
  return {
    issuer,
    jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), ...named }] },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
