/** A real HTTP server that publishes an issuer's metadata and keys, counts who asks, and fails as it is told. */

import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createKey, type Jwk, publishedJwk, type SigningKey } from './keys.ts';
import { type AccessTokenOptions, mintAccessToken } from './tokens.ts';

/** What is wrong with every answer: a status, or one of these. */
export type JwksFault = number | 'hang' | 'reset' | 'redirect' | 'too_large' | 'not_json' | 'html' | 'stall';

export type JwksServer = {
  readonly origin: string;
  /** What tokens and metadata say. */
  readonly issuer: string;
  readonly jwksUri: string;
  /** Signs tokens. Published until setKeys says otherwise. */
  readonly key: SigningKey;
  /** Requests so far, by path. */
  readonly requests: ReadonlyMap<string, number>;
  /** Requests so far for the key set. */
  keyRequests(): number;
  /** Publishes these keys from now on: pairs, or JWKs as they are. */
  setKeys(keys: readonly (SigningKey | Jwk)[]): void;
  /** Publishes any document at a path; undefined takes it away. */
  setDocument(path: string, document: unknown): void;
  /** Applies to requests from now on; null ends it. */
  setFault(fault: JwksFault | null): void;
  /** Holds answers back until the returned function is called. */
  hold(): () => void;
  /** An access token of this issuer. */
  mint(options: Omit<AccessTokenOptions, 'issuer' | 'issuerKey'> & { readonly issuerKey?: SigningKey }): string;
  close(): Promise<void>;
};

export type JwksServerOptions = {
  readonly key?: SigningKey;
  /** Path of the issuer, such as /tenant. */
  readonly path?: string;
  /** Which metadata there is. */
  readonly metadata?: readonly ('oauth' | 'openid')[];
};

/** Starts on a free port of 127.0.0.1. */
export async function startJwksServer(options: JwksServerOptions = {}): Promise<JwksServer> {
  const { key = createKey('ES256'), path = '', metadata = ['oauth', 'openid'] } = options;
  const documents = new Map<string, unknown>();
  const requests = new Map<string, number>();
  let fault: JwksFault | null = null;
  let held: Promise<void> = Promise.resolve();

  const server = createServer(async (request, response) => {
    const url = request.url ?? '';
    requests.set(url, (requests.get(url) ?? 0) + 1);
    await held;
    const document = documents.get(url);
    if (fault !== null) return fail(fault, document, response);
    response.writeHead(document === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(document ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const issuer = `${origin}${path}`;
  const jwksUri = `${origin}/jwks`;
  const setKeys = (keys: readonly (SigningKey | Jwk)[]) =>
    documents.set('/jwks', {
      keys: keys.map((item) => ('privateKey' in item ? publishedJwk(item as SigningKey) : item)),
    });
  setKeys([key]);
  const bare = path.replace(/\/$/, '');
  if (metadata.includes('oauth'))
    documents.set(`/.well-known/oauth-authorization-server${bare}`, { issuer, jwks_uri: jwksUri });
  if (metadata.includes('openid'))
    documents.set(`${bare}/.well-known/openid-configuration`, { issuer, jwks_uri: jwksUri });

  return {
    origin,
    issuer,
    jwksUri,
    key,
    requests,
    keyRequests: () => requests.get('/jwks') ?? 0,
    setKeys,
    setDocument: (at, document) => void documents.set(at, document),
    setFault: (next) => {
      fault = next;
    },
    hold: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
    mint: (more) => mintAccessToken({ issuer, issuerKey: key, ...more }),
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function fail(fault: JwksFault, document: unknown, response: ServerResponse): void {
  if (typeof fault === 'number') {
    response.writeHead(fault, { 'content-type': 'application/json' }).end(JSON.stringify(document));
    return;
  }
  switch (fault) {
    case 'hang':
      return;
    case 'stall':
      response.writeHead(200, { 'content-type': 'application/json' }).write('{"keys":[');
      return;
    case 'reset':
      response.destroy();
      return;
    case 'redirect':
      response
        .writeHead(302, { location: '/elsewhere', 'content-type': 'application/json' })
        .end(JSON.stringify(document));
      return;
    case 'too_large':
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ ...Object(document), padding: 'x'.repeat(300 * 1024) }));
      return;
    case 'not_json':
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"keys":');
      return;
    case 'html':
      response.writeHead(200, { 'content-type': 'text/html' }).end(JSON.stringify(document));
      return;
  }
}
