/** A real authorization server for the demo: oidc-provider on loopback, with DPoP and RFC 9068 access tokens. */

import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Fault } from '../errors.ts';
import { closeServer, listenOnLoopback, loopback } from './listen.ts';

export type DemoClient = {
  readonly id: string;
  readonly secret: string;
  /** Everything that this client may ask for; a request may ask for less. */
  readonly scopes: readonly string[];
};

export type AuthorizationServerOptions = {
  readonly port: number;
  readonly clients: readonly DemoClient[];
  /** Scopes of each protected resource, by resource indicator (RFC 8707), which becomes the token's audience. */
  readonly resources: ReadonlyMap<string, readonly string[]>;
  /** Whether the token endpoint demands a nonce in proofs (RFC 9449 §8). */
  readonly requireNonce: boolean;
  readonly tokenSeconds?: number;
  readonly onError?: (fault: Error) => void;
};

export type AuthorizationServer = {
  readonly issuer: string;
  readonly jwksUri: string;
  close(): Promise<void>;
};

/** Issues tokens by client credentials only: the agents of the demo have no user in front of them. */
export async function startAuthorizationServer(options: AuthorizationServerOptions): Promise<AuthorizationServer> {
  const { Provider, InvalidTarget } = await importProvider();
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000, maxHeaderSize: 16_384 });
  const port = await listenOnLoopback(server, options.port);
  const issuer = `http://${loopback}:${port}`;
  const tokenSeconds = options.tokenSeconds ?? 600;
  const provider = new Provider(issuer, {
    adapter: createRecords(),
    clients: options.clients.map(clientMetadata),
    jwks: { keys: [createSigningKey()] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    // Clients sign proofs by the agent's clock; both run on this machine, but seconds are whole.
    clockTolerance: 5,
    ttl: { ClientCredentials: tokenSeconds },
    responseTypes: [],
    scopes: [...new Set([...options.resources.values()].flat())],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => options.requireNonce },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context: unknown, resource: string) => {
          const scopes = options.resources.get(resource);
          if (scopes === undefined) throw new InvalidTarget();
          return {
            scope: scopes.join(' '),
            audience: resource,
            accessTokenFormat: 'jwt',
            accessTokenTTL: tokenSeconds,
            jwt: { sign: { alg: 'ES256' } },
          };
        },
      },
    },
  });
  provider.on('server_error', (_context: unknown, fault: Error) => options.onError?.(fault));
  server.on('request', provider.callback());
  return { issuer, jwksUri: `${issuer}/jwks`, close: () => closeServer(server) };
}

/**
 * The two modules of oidc-provider that are needed, rather than its entry: that one prints a warning to the console on
 * every Node release that is not yet LTS. The package's version is pinned exactly.
 */
async function importProvider() {
  try {
    const [{ Provider }, { InvalidTarget }] = await Promise.all([
      import('oidc-provider/lib/provider.js'),
      import('oidc-provider/lib/helpers/errors.js'),
    ]);
    return { Provider, InvalidTarget };
  } catch (fault) {
    throw new Fault(
      'demo_unavailable',
      'the demo needs the optional package oidc-provider; install it with: npm install oidc-provider@9',
      fault,
    );
  }
}

function clientMetadata(client: DemoClient): Readonly<Record<string, unknown>> {
  return {
    client_id: client.id,
    client_secret: client.secret,
    scope: client.scopes.join(' '),
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_basic',
    // RFC 9449 §5.2: this client never gets a token that works without its key.
    dpop_bound_access_tokens: true,
    id_token_signed_response_alg: 'ES256',
  };
}

function createSigningKey(): Readonly<Record<string, unknown>> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'ES256' };
}

/** More records than five minutes of the demo's proofs; the oldest go first. */
const recordsMax = 10_000;

/** What the server remembers: the proofs it has seen. Tokens are JWTs and are not stored. */
function createRecords(): (model: string) => Readonly<Record<string, unknown>> {
  const records = new Map<string, { readonly payload: unknown; readonly expiresAtMs: number }>();
  return (model) => ({
    upsert: async (id: string, payload: unknown, expiresInSeconds: number) => {
      const oldest = records.keys().next();
      if (records.size >= recordsMax && oldest.done !== true) records.delete(oldest.value);
      records.set(`${model}:${id}`, { payload, expiresAtMs: Date.now() + expiresInSeconds * 1000 });
    },
    find: async (id: string) => {
      const record = records.get(`${model}:${id}`);
      return record !== undefined && record.expiresAtMs > Date.now() ? record.payload : undefined;
    },
    destroy: async (id: string) => {
      records.delete(`${model}:${id}`);
    },
    findByUid: async () => undefined,
    findByUserCode: async () => undefined,
    consume: async () => undefined,
    revokeByGrantId: async () => undefined,
  });
}
