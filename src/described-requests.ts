/** How requests are read that somebody describes instead of sending: by the code that reads those that are sent. */

import { readMcpCall } from './behaviour/actions/json-rpc.ts';
import type { NameOperation } from './behaviour/actions/operation.ts';
import { type Deny, isDeny } from './decision.ts';
import type { Exchange, Route } from './exchange.ts';
import type { RunOptions } from './policy/tests/run-tests.ts';
import { vetTarget } from './receive/target.ts';
import { createMatchRoute } from './route/match.ts';

/** What tests and explanations take of it. */
export type Reading = Pick<RunOptions, 'readTarget' | 'matchRoute' | 'complete' | 'declared'>;

const targetBytesMax = 65_536;

/** Without a configuration: every name is a route, and every path belongs to the one that is named. */
export function createBareReading(nameOperation: NameOperation): Reading {
  return {
    readTarget: (rawUrl) => vetTarget(rawUrl, { bytesMax: targetBytesMax }),
    declared: null,
    matchRoute: null,
    complete: createComplete(nameOperation),
  };
}

export function createReading(options: {
  readonly routes: readonly Route[];
  readonly meters: readonly string[];
  readonly urlBytesMax: number;
  readonly nameOperation: NameOperation;
}): Reading {
  const { routes, meters, urlBytesMax, nameOperation } = options;
  const findRoute = createMatchRoute(routes);
  const allowed = new Set(routes.flatMap((route) => route.allowInPath ?? []));
  const source = { address: '', port: 0, tls: true, certificate: null };
  return {
    readTarget: (rawUrl) => vetTarget(rawUrl, { bytesMax: urlBytesMax, allowed }),
    declared: { routes: routes.map(({ name }) => name), meters },
    matchRoute: (name, request) =>
      routes.find((route) => route.name === name) ?? findRoute({ ...request, fields: new Map(), bodyBytes: 0, source }),
    complete: createComplete(nameOperation),
  };
}

/** What the request does is found out of its method, path and body. */
function createComplete(nameOperation: NameOperation): (exchange: Exchange) => Deny | null {
  return (exchange) => {
    const { request, route, heldBody } = exchange;
    const mcp = heldBody === null ? null : readMcpCall(heldBody.json, request?.fields ?? new Map());
    if (mcp !== null && typeof mcp === 'object' && isDeny(mcp)) return mcp;
    if (heldBody !== null) exchange.heldBody = { ...heldBody, mcp };
    if (request !== null && route !== null) exchange.operation = nameOperation(request, route, mcp);
    return null;
  };
}
