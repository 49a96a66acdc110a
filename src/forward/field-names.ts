/** Which fields end at Postern, in either direction. */

import { plainSpelling, proxyFieldNames, proxyFieldPrefixes } from '../proxy-fields.ts';

/** RFC 9110 §7.6.1 and RFC 9113 §8.2.2: for one hop only. Framing is made anew on each side. */
const hopByHop = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
];

/** Never from a client to an upstream, whatever configuration says: the client's own credentials, framing and host. */
const neverForwarded: ReadonlySet<string> = new Set([
  ...hopByHop,
  'authorization',
  'dpop',
  'proxy-authorization',
  'proxy-authenticate',
  'host',
  'content-length',
  // RFC 9110 §10.1.1: Postern has answered it itself.
  'expect',
]);

/** Not from a client to an upstream unless the route's forwardFields names them. */
const strippedFromRequests: ReadonlySet<string> = new Set([
  'cookie',
  'cookie2',
  'txn-token',
  // RFC 9110 §7.6.3 asks a gateway to add itself to Via. Postern does not tell who is behind it, nor pass on who claims
  // to be.
  'via',
  // Free text about the caller; it propagates on its own through whatever it reaches (W3C Baggage §4).
  'baggage',
  ...proxyFieldNames,
  // What servers take for the original target or the real method.
  'x-original-url',
  'x-original-uri',
  'x-original-method',
  'x-original-host',
  'x-original-remote-addr',
  'x-rewrite-url',
  'x-host',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-http-path-override',
  // What servers take for the result of somebody else's authentication.
  'remote-user',
  'x-remote-user',
  'x-remote-group',
  'x-webauth-user',
  'x-auth-request-user',
  'x-auth-request-email',
  'x-auth-request-groups',
  'x-authenticated-user',
  'x-authenticated-userid',
  'x-ms-client-principal',
  'x-ms-client-principal-id',
  'x-ms-client-principal-name',
  'x-goog-iap-jwt-assertion',
  'x-goog-authenticated-user-email',
  'x-goog-authenticated-user-id',
  'x-amzn-oidc-data',
  'x-amzn-oidc-identity',
  'x-amzn-oidc-accesstoken',
]);

/** Grouped by first letter, so that most names cost one comparison. */
const strippedPrefixes: Readonly<Record<string, readonly string[]>> = {
  x: [...proxyFieldPrefixes.x, 'x-envoy-'],
  p: ['postern-', 'proxy-'],
  s: ['ssl-'],
};

function isSpoofable(name: string): boolean {
  if (neverForwarded.has(name) || strippedFromRequests.has(name)) return true;
  const prefixes = strippedPrefixes[name.charAt(0)];
  return prefixes?.some((prefix) => name.startsWith(prefix)) ?? false;
}

/**
 * Whether a request field stays behind by default. Servers that hand fields on as variables (CGI, WSGI, PHP) make one
 * of `x-tenant`, `x_tenant` and `x.tenant`, where rules see three: what was judged would not be what arrives. So only
 * dashes pass, as with nginx. `also` holds further names in plain spelling.
 */
export function isStrippedFromRequest(name: string, also: ReadonlySet<string>): boolean {
  return isSpoofable(name) || also.has(name) || name.includes('_') || name.includes('.');
}

/** Whether a route may opt in to a request field. */
export function mayBeForwarded(name: string): boolean {
  const plain = plainSpelling(name);
  return !neverForwarded.has(plain) && !plain.startsWith('postern-');
}

/** Never from an upstream to a client. */
const strippedFromResponses: ReadonlySet<string> = new Set([
  ...hopByHop,
  // About the credential that Postern holds, not the one that the client has (RFC 9110 §11, RFC 9449 §9).
  'www-authenticate',
  'proxy-authenticate',
  'authentication-info',
  'proxy-authentication-info',
  'dpop-nonce',
  // The same: how much that credential may do. Where Postern has quotas, it tells its own.
  'ratelimit',
  'ratelimit-policy',
  // They would hold for Postern's own origin, which the upstream does not speak for.
  'strict-transport-security',
  'public-key-pins',
  'clear-site-data',
  'alt-svc',
  'alt-used',
  'nel',
  'report-to',
  'reporting-endpoints',
  'origin-agent-cluster',
  'service-worker-allowed',
  'refresh',
  // What runs behind Postern is nobody's business.
  'server',
  'via',
  'x-powered-by',
  'x-aspnet-version',
  'x-aspnetmvc-version',
  'x-runtime',
  // Commands to a proxy in front of Postern.
  'x-sendfile',
  'x-accel-redirect',
  'x-accel-expires',
  'x-accel-buffering',
  'x-reproxy-url',
  // RFC 9111 §3.5 keeps answers to requests with Authorization out of shared caches; the one that we replaced it with
  // made this answer, so nothing that could say otherwise stays (RFC 9213: targeted fields overrule Cache-Control).
  'cache-control',
  'expires',
  'pragma',
  'age',
  'cdn-cache-control',
  'surrogate-control',
  'surrogate-key',
]);

/** Cookies of the upstream are for whoever holds its credential. */
const cookieNames: ReadonlySet<string> = new Set(['set-cookie', 'set-cookie2']);

export function isStrippedFromResponse(name: string, keepsCookies: boolean): boolean {
  if (strippedFromResponses.has(name)) return true;
  if (cookieNames.has(name)) return !keepsCookies;
  if (name.startsWith('access-control-') || name.startsWith('postern-')) return true;
  return name.endsWith('-cdn-cache-control');
}
