/** Routes for rules that are looked at without a configuration. */

import { deny } from '../../decision.ts';
import type { Route } from '../../exchange.ts';
import type { Rule } from '../rule-files.ts';
import type { SituationOptions } from './situation.ts';

/** The route that is named, else the first that the file or its rules know of. */
export function createRouteOf(routes: readonly string[] | null, rules: readonly Rule[]): SituationOptions['routeOf'] {
  const usual = routes?.[0] ?? rules.find((rule) => rule.routes !== null)?.routes?.[0] ?? 'default';
  const made = new Map<string, Route>();
  return (name) => {
    if (name !== null && routes !== null && !routes.includes(name))
      return deny('no_route', { cause: `no route ${name}` });
    const route = made.get(name ?? usual) ?? routeNamed(name ?? usual);
    made.set(route.name, route);
    return route;
  };
}

function routeNamed(name: string): Route {
  return Object.freeze({
    name,
    pathPrefix: '/',
    hosts: null,
    methods: [],
    upstream: { origin: 'https://api.example', basePath: '' },
    stripPrefix: false,
    audience: 'https://api.agents.example',
    credential: 'none',
    accepts: [],
    bodyBytesMax: 0,
    bodyBinding: 'verify',
    jsonBytesMax: 0,
    headersTimeoutMs: 0,
    bodyTimeoutMs: 0,
    forwardFields: [],
    scopes: [],
    resourceMetadata: 'https://api.agents.example/.well-known/oauth-protected-resource',
    cors: null,
  });
}
