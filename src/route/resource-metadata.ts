/** Protected resource metadata (RFC 9728): where clients learn how to get tokens for a route. */

import type { Config } from '../config/schema.ts';
import { type Deny, deny } from '../decision.ts';
import type { ClientRequest, OwnAnswer, Route } from '../exchange.ts';
import { corsFields } from './cors.ts';
import { isForHost } from './match.ts';

const wellKnown = '/.well-known/oauth-protected-resource';

/** Where the metadata of a route stands. RFC 9728 §3.1: the path goes behind the well-known name. */
export function resourceMetadataUrl(publicOrigin: string, pathPrefix: string): string {
  return `${new URL(publicOrigin).origin}${wellKnown}${pathPrefix === '/' ? '' : pathPrefix}`;
}

type Document = { readonly routes: readonly Route[]; readonly body: string };

/**
 * Answers requests for metadata; null for all others. RFC 9728 §3.3 wants `resource` to be the identifier that the
 * document was found by, and RFC 8707 makes it the audience of tokens: so it is the audience, and a document stands at
 * the path of each prefix and, unless a prefix is the same, at the path of each audience on the public origin.
 */
export function createAnswerMetadata(
  config: Pick<Config, 'listen' | 'issuers' | 'proof'>,
  routes: readonly Route[],
): (request: ClientRequest) => OwnAnswer | Deny | null {
  const describe = createDescribe(config);
  const documents = new Map<string, Document[]>();
  // As with requests, a route that names the host goes before one for any host.
  const ordered = [...routes.filter(({ hosts }) => hosts !== null), ...routes.filter(({ hosts }) => hosts === null)];
  for (const route of ordered) {
    const path = route.pathPrefix === '/' ? '' : route.pathPrefix;
    const found = documents.get(path) ?? [];
    documents.set(path, found);
    if (!found.some((document) => document.routes.includes(route))) {
      const alike = routes.filter((other) => isAlike(route, other) && other.pathPrefix === route.pathPrefix);
      found.push({ routes: alike, body: describe(alike) });
    }
  }
  for (const { audience } of routes) {
    const path = pathOf(audience, config.listen.publicOrigin);
    if (path === null || documents.has(path)) continue;
    const alike = routes.filter((route) => route.audience === audience);
    documents.set(path, [{ routes: alike, body: describe(alike) }]);
  }
  return (request) => {
    const { path } = request.target;
    if (!path.startsWith(wellKnown)) return null;
    const found = documents.get(withoutLastSlash(path.slice(wellKnown.length)));
    const document =
      found?.find(({ routes: [route] }) => route !== undefined && isForHost(route, request.host)) ?? found?.[0];
    if (document === undefined) return null;
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (!isRead) return deny('method_not_allowed', { allowedMethods: ['GET', 'HEAD'] });
    // Nothing of a body would be read, and what is not read breaks the connection.
    return request.bodyBytes === 0 ? answerWith(document, request) : deny('body_too_large');
  };
}

function answerWith({ routes, body }: Document, request: ClientRequest): OwnAnswer {
  const route = routes.find(({ cors }) => cors !== null) ?? null;
  return {
    effect: 'allow',
    rule: 'postern:resource-metadata',
    matches: [],
    status: 200,
    fields: [
      ['content-type', 'application/json'],
      ['cache-control', 'public, max-age=300'],
      ...corsFields(route, request),
    ],
    body,
  };
}

/** Routes that one document speaks for: they differ in methods only. */
function isAlike(left: Route, right: Route): boolean {
  return left.audience === right.audience && `${left.hosts}` === `${right.hosts}`;
}

/** The path of an audience that is a URL on the public origin, as a client would put it behind the well-known name. */
function pathOf(audience: string, publicOrigin: string): string | null {
  if (!URL.canParse(audience)) return null;
  const { origin, pathname, search, hash } = new URL(audience);
  return origin === new URL(publicOrigin).origin && search + hash === '' ? withoutLastSlash(pathname) : null;
}

function withoutLastSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path;
}

/** Names what is accepted, and never more: no algorithms where no proof counts. */
function createDescribe({ issuers, proof }: Pick<Config, 'issuers' | 'proof'>) {
  const servers = issuers.map(({ issuer }) => issuer).filter((issuer) => URL.canParse(issuer));
  return (routes: readonly Route[]): string => {
    const accepts = routes.map((route) => route.accepts);
    const takesDpop = accepts.some((methods) => methods.includes('dpop'));
    const scopes = [...new Set(routes.flatMap((route) => route.scopes))];
    // RFC 9728 §2. Undefined members are left out of the JSON.
    return JSON.stringify({
      resource: routes[0]?.audience,
      resource_name: [...new Set(routes.map(({ name }) => name))].join(', '),
      authorization_servers: servers.length > 0 ? servers : undefined,
      scopes_supported: scopes.length > 0 ? scopes : undefined,
      bearer_methods_supported: ['header'],
      dpop_signing_alg_values_supported: takesDpop ? proof.algorithms : undefined,
      dpop_bound_access_tokens_required: accepts.every((methods) => methods.join() === 'dpop'),
      tls_client_certificate_bound_access_tokens: accepts.some((methods) => methods.includes('mtls')),
    });
  };
}
