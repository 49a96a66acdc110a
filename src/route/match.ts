/** Which way in a request takes. */

import { type Deny, deny, isDeny } from '../decision.ts';
import type { ClientRequest, OddPath, Route } from '../exchange.ts';

/**
 * The longest path prefix decides, whole segments only; of equal prefixes one that names the host goes before one for
 * any host. Only then come methods: a request whose method is not taken there is refused, and never falls through to a
 * wider route, which might hold another credential.
 */
export function createMatchRoute(routes: readonly Route[]): (request: ClientRequest) => Route | Deny {
  const find = createFind(routes);
  return (request) => {
    const { target, host, method } = request;
    const route = find(target.path, host, method);
    if (isDeny(route)) return route;
    if (
      target.odd !== undefined &&
      !mayTake(route, target.path, target.odd, find(target.odd.lenientPath, host, method))
    ) {
      return deny('target_ambiguous', { cause: 'the path holds what its route has not opted in to' });
    }
    if (request.webSocketKey !== undefined && route.webSocket !== true) {
      return deny('request_malformed', { cause: 'an upgrade to WebSocket', close: true });
    }
    return route;
  };
}

/**
 * A route takes what it has opted in to, where the most lenient server behind it would read a path of the same route:
 * else a path of a wider route could mean one of a narrower, with its own audience and credential.
 */
function mayTake(route: Route, path: string, odd: OddPath, lenientRoute: Route | Deny): boolean {
  if (lenientRoute !== route || !odd.uses.every((use) => route.allowInPath?.includes(use) === true)) return false;
  // Without its prefix this path would begin with two slashes, and name another host (RFC 3986 §4.2).
  return !(route.stripPrefix && path.startsWith('//', route.pathPrefix === '/' ? 0 : route.pathPrefix.length));
}

function createFind(routes: readonly Route[]): (path: string, host: string, method: string) => Route | Deny {
  const tiers = tiersOf(routes);
  return (path, host, method) => {
    for (const tier of tiers) {
      if (!isUnder(path, tier.stem)) continue;
      let allowed: Set<string> | null = null;
      for (const route of tier.routes) {
        if (!isForHost(route, host)) continue;
        if (route.methods.includes(method)) return route;
        allowed ??= new Set();
        for (const other of route.methods) allowed.add(other);
      }
      if (allowed !== null) return deny('method_not_allowed', { allowedMethods: [...allowed] });
    }
    return deny('no_route');
  };
}

/** Routes that share a prefix, those with hosts apart from those without. `stem` has no slash at its end. */
type Tier = { readonly stem: string; readonly hasHosts: boolean; readonly routes: Route[] };

function tiersOf(routes: readonly Route[]): readonly Tier[] {
  const tiers = new Map<string, Tier>();
  for (const route of routes) {
    const stem = route.pathPrefix.endsWith('/') ? route.pathPrefix.slice(0, -1) : route.pathPrefix;
    const hasHosts = route.hosts !== null;
    const key = `${hasHosts} ${stem}`;
    const tier = tiers.get(key);
    if (tier === undefined) tiers.set(key, { stem, hasHosts, routes: [route] });
    else tier.routes.push(route);
  }
  return [...tiers.values()].sort(
    (left, right) => right.stem.length - left.stem.length || Number(right.hasHosts) - Number(left.hasHosts),
  );
}

function isUnder(path: string, stem: string): boolean {
  if (!path.startsWith(stem)) return false;
  return path.length === stem.length || path.charCodeAt(stem.length) === 0x2f;
}

/** A host is written with its port where that matters, and else without. */
export function isForHost({ hosts }: Pick<Route, 'hosts'>, host: string): boolean {
  if (hosts === null || hosts.includes(host)) return true;
  const colon = host.lastIndexOf(':');
  return colon > 0 && !host.endsWith(']') && hosts.includes(host.slice(0, colon));
}
