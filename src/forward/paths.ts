/** Between the paths that clients see and those of the upstream. */

import type { Route, Target } from '../exchange.ts';

export type PathMap = {
  /** Path and query of the upstream request. */
  readonly toUpstream: (target: Target) => string;
  /** A Location or Content-Location of the upstream as the client may use it; null where it leads elsewhere. */
  readonly toPublic: (location: string, upstreamPath: string) => string | null;
};

/** Works on text that vetting has made canonical; nothing is parsed again on the way up. */
export function createPathMap(route: Route, publicOrigin: string): PathMap {
  const { origin, basePath } = route.upstream;
  const stem = route.pathPrefix.endsWith('/') ? route.pathPrefix.slice(0, -1) : route.pathPrefix;
  const stripLength = route.stripPrefix ? stem.length : 0;
  const addedStem = route.stripPrefix ? stem : '';
  return {
    toUpstream({ path, query }) {
      const rest = stripLength === 0 ? path : path.slice(stripLength);
      const upstreamPath = basePath + rest || '/';
      return query === null ? upstreamPath : `${upstreamPath}?${query}`;
    },
    toPublic(location, upstreamPath) {
      // RFC 9110 §10.2.2: a reference relative to the target URI. WHATWG parsing is what clients do with it: it finds
      // the other host in `//evil`, `/\evil` and the like.
      const from = `${origin}${upstreamPath}`;
      if (!URL.canParse(location, from)) return null;
      const url = new URL(location, from);
      if (url.origin !== origin || url.username !== '' || url.password !== '') return null;
      const { pathname } = url;
      const isBelow = pathname.startsWith(basePath) && (pathname[basePath.length] ?? '/') === '/';
      if (!isBelow) return null;
      const mapped = `${addedStem}${pathname.slice(basePath.length)}` || '/';
      // A path that begins with two slashes would, alone, name another host (RFC 3986 §4.2).
      const isAbsolute = URL.canParse(location) || mapped.startsWith('//');
      return `${isAbsolute ? publicOrigin : ''}${mapped}${url.search}${url.hash}`;
    },
  };
}
