/** Routes from configuration, and what stands against them. */

import { Server } from 'node:http';
import type { Config } from '../config/schema.ts';
import type { ConfigurationProblem } from '../errors.ts';
import type { PossessionMethod, Route } from '../exchange.ts';
import { resourceMetadataUrl } from './resource-metadata.ts';

/** Assumes a configuration without routeProblems. */
export function createRoutes(config: Config): readonly Route[] {
  return config.routes.map((route) => {
    const upstream = new URL(route.upstream);
    const pathPrefix = withoutLastSlash(route.match.pathPrefix) || '/';
    return Object.freeze({
      name: route.name,
      pathPrefix,
      hosts: route.match.hosts ?? null,
      methods: route.match.methods,
      upstream: { origin: upstream.origin, basePath: withoutLastSlash(upstream.pathname) },
      stripPrefix: route.stripPrefix,
      audience: route.audience,
      credential: route.credential,
      accepts: acceptedMethods(config, route.accept),
      bodyBytesMax: route.maxBody ?? config.limits.body,
      bodyBinding: route.bodyBinding,
      jsonBytesMax: route.inspectBody.json ? route.inspectBody.max : null,
      headersTimeoutMs: route.timeouts.headers,
      bodyTimeoutMs: route.timeouts.body,
      forwardFields: route.forwardFields,
      webSocket: route.websocket,
      endsAtTokenExpiry: route.endAtTokenExpiry,
      leakGuard: route.leakGuard === 'on',
      allowInPath: route.allowInPath,
      scopes: route.scopes,
      resourceMetadata: resourceMetadataUrl(config.listen.publicOrigin, pathPrefix),
      cors: route.cors === undefined ? null : corsOf(route.cors),
    });
  });
}

/** Ways to present a token that can work here: where no client certificate ever arrives, none is asked for. */
export function acceptedMethods({ listen, proof }: Config, accept: readonly PossessionMethod[] = proof.accept) {
  const hasCertificates = (listen.tls?.clientCert ?? 'none') !== 'none' || listen.clientCertificateField !== undefined;
  return accept.filter((method) => method !== 'mtls' || hasCertificates);
}

/** Origins in the form in which browsers send them: lower case, no default port, no slash at the end. */
function corsOf({ origins, maxAge }: NonNullable<Config['routes'][number]['cors']>): Route['cors'] {
  return { origins: new Set(origins.map((text) => new URL(text).origin)), maxAgeSeconds: Math.floor(maxAge / 1000) };
}

/** An older Node takes every upgrade for one, or none: an agent that merely offers h2c would find no answer. */
export const canSelectUpgrades = 'shouldUpgradeCallback' in new Server();

/** Names that are not there or there twice, routes that can never be reached, prefixes that nothing can match. */
export function routeProblems(config: Config): readonly ConfigurationProblem[] {
  const problems: ConfigurationProblem[] = [];
  const credentials = Object.keys(config.credentials);
  const names = new Set<string>();
  config.routes.forEach((route, index) => {
    const report = (message: string, ...rest: string[]) => problems.push({ path: ['routes', index, ...rest], message });
    if (names.has(route.name)) report('is the name of an earlier route', 'name');
    names.add(route.name);
    if (!credentials.includes(route.credential)) {
      report(`names no declared credential; declared: ${credentials.join(', ') || 'none'}`, 'credential');
    }
    if (route.bodyBinding === 'required' && (route.accept ?? config.proof.accept).some((method) => method !== 'dpop')) {
      report('required needs accept: [dpop] on the route: only a proof can bind a body', 'bodyBinding');
    }
    if (!isCanonical(route.match.pathPrefix)) {
      report('is not in the form in which paths are matched: no empty or dot segments, upper-case hex', 'match');
    }
    if (route.websocket && !route.match.methods.includes('GET')) {
      report('needs GET among match.methods: WebSockets are opened with it', 'websocket');
    }
    if (route.websocket && !canSelectUpgrades) report('needs Node 24.9 or later', 'websocket');
    const earlier = config.routes.slice(0, index).find((other) => isShadowed(route.match, other.match));
    if (earlier !== undefined) report(`shares prefix, host and method with route ${earlier.name}`, 'match');
  });
  return problems;
}

type Match = Config['routes'][number]['match'];

/** Two routes that could both take one request of the same prefix tier: nobody could say which one does. */
function isShadowed(left: Match, right: Match): boolean {
  if (withoutLastSlash(left.pathPrefix) !== withoutLastSlash(right.pathPrefix)) return false;
  if (!left.methods.some((method) => right.methods.includes(method))) return false;
  if (left.hosts === undefined || right.hosts === undefined) return left.hosts === right.hosts;
  return left.hosts.some((host) => right.hosts?.includes(host));
}

// RFC 3986 §2.3: unreserved characters, which are never encoded in a canonical path, and others that are refused there.
const neverEncoded = /^[A-Za-z0-9\-._~/\\%;]$/;

/** Whether a prefix is written as the paths that it is compared with. */
function isCanonical(prefix: string): boolean {
  const segments = prefix.split('/').slice(1, -1);
  const last = prefix.slice(prefix.lastIndexOf('/') + 1);
  if (segments.includes('') || [...segments, last].some((segment) => segment === '.' || segment === '..')) return false;
  return prefix
    .split('%')
    .slice(1)
    .every((part) => {
      const octet = part.slice(0, 2);
      const code = Number.parseInt(octet, 16);
      const isControl = code < 0x20 || code === 0x7f;
      return /^[0-9A-F]{2}$/.test(octet) && !isControl && !neverEncoded.test(String.fromCharCode(code));
    });
}

function withoutLastSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path;
}
