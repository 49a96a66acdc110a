/** A vetted request and a route for tests that begin behind the listener. */

import type { ClientRequest, Route } from '../../src/exchange.ts';

export type ClientRequestChanges = Partial<Omit<ClientRequest, 'fields' | 'target'>> & {
  readonly path?: string;
  readonly query?: string | null;
  /** By lower-case name; undefined stands for no such field. */
  readonly fields?: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Thumbprint of the client's certificate. */
  readonly certificate?: string;
};

/** `GET /v1/items`, from a client without a certificate. */
export function clientRequest(changes: ClientRequestChanges = {}): ClientRequest {
  const { path = '/v1/items', query = null, fields = {}, certificate, ...rest } = changes;
  const values = new Map<string, readonly string[]>();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) values.set(name, typeof value === 'string' ? [value] : value);
  }
  return {
    method: 'GET',
    host: 'api.example.com',
    bodyBytes: 0,
    source: {
      address: '127.0.0.1',
      port: 40_000,
      tls: certificate !== undefined,
      certificate: certificate === undefined ? null : { thumbprint: certificate, uriSan: null },
    },
    ...rest,
    target: { path, query },
    fields: values,
  };
}

/** To an API whose audience is https://api.example.com. */
export function route(changes: Partial<Route> = {}): Route {
  return {
    name: 'api',
    pathPrefix: '/',
    hosts: null,
    methods: ['GET', 'POST'],
    upstream: { origin: 'https://upstream.test', basePath: '' },
    stripPrefix: false,
    audience: 'https://api.example.com',
    credential: 'api-key',
    accepts: ['dpop', 'mtls'],
    bodyBytesMax: 1_048_576,
    bodyBinding: 'verify',
    jsonBytesMax: null,
    headersTimeoutMs: 1000,
    bodyTimeoutMs: 1000,
    forwardFields: [],
    scopes: [],
    resourceMetadata: 'https://api.example.com/.well-known/oauth-protected-resource',
    cors: null,
    ...changes,
  };
}
