/** The CORS protocol (Fetch standard), for routes that name the origins of web pages. Never a wildcard, never cookies. */

import { isDeny } from '../decision.ts';
import type { ClientRequest, OwnAnswer, Route } from '../exchange.ts';
import { createMatchRoute } from './match.ts';

type Asked = Pick<ClientRequest, 'fields'> | null;
type Field = readonly [string, string];

// RFC 9449 §7.1 and §8: a page cannot answer a challenge that it may not read, nor slow down unless it is told.
const readable = 'DPoP-Nonce, WWW-Authenticate, postern-decision, RateLimit, RateLimit-Policy, Retry-After';
const exposed: Field = ['access-control-expose-headers', readable];
const vary: Field = ['vary', 'Origin'];
const none: readonly Field[] = [];

/**
 * What an answer of this route says to the page that asked. An origin that is not listed gets nothing but `Vary`, which
 * keeps a cache from giving one origin's answer to another; the request itself is judged like any.
 */
export function corsFields(route: Pick<Route, 'cors'> | null, request: Asked): readonly Field[] {
  if (route === null || route.cors === null) return none;
  const origin = listedOrigin(route, request);
  return origin === null ? [vary] : [['access-control-allow-origin', origin], exposed, vary];
}

/** The one Origin of the request, if the route lists it. `null` and lists never are. */
function listedOrigin({ cors }: Pick<Route, 'cors'>, request: Asked): string | null {
  const origins = request?.fields.get('origin');
  const origin = origins?.length === 1 ? origins[0] : undefined;
  return origin !== undefined && cors?.origins.has(origin) === true ? origin : null;
}

/**
 * Answers preflights from listed origins, for methods that a route takes. Everything else is null, and judged like any
 * request: without a token it gets nowhere.
 */
export function createAnswerPreflight(
  routes: readonly Route[],
  reasonHeader: string,
): (request: ClientRequest) => OwnAnswer | null {
  if (routes.every(({ cors }) => cors === null)) return () => null;
  const matchRoute = createMatchRoute(routes);
  const allowedFields = ['authorization', 'dpop', 'content-type', reasonHeader].join(', ');
  return (request) => {
    // Fetch §4.8: OPTIONS, with an Origin and the method to come. It has no body.
    if (request.method !== 'OPTIONS' || request.bodyBytes !== 0) return null;
    const methods = request.fields.get('access-control-request-method');
    const method = methods?.[0];
    if (method === undefined || methods?.length !== 1) return null;
    const route = matchRoute({ ...request, method });
    if (isDeny(route) || route.cors === null) return null;
    const origin = listedOrigin(route, request);
    if (origin === null) return null;
    return {
      effect: 'allow',
      rule: 'postern:cors-preflight',
      matches: [],
      status: 204,
      fields: [
        ['access-control-allow-origin', origin],
        ['access-control-allow-methods', route.methods.join(', ')],
        ['access-control-allow-headers', allowedFields],
        ['access-control-max-age', String(route.cors.maxAgeSeconds)],
        vary,
        ['cache-control', 'no-store'],
      ],
      body: '',
    };
  };
}
