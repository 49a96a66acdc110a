/** What a request does, in one short name that is the same on every replica. */

import type { ClientRequest, McpCall, Route } from '../../exchange.ts';
import type { FindOperation } from './path-trie.ts';
import { templateOf } from './typed-path.ts';

/** `mcp` is null before the body is known, and for bodies that are no JSON-RPC. */
export type NameOperation = (request: ClientRequest, route: Route, mcp: McpCall | 'batch' | null) => string;

/** `documents` are the OpenAPI documents, compiled, by the name of their route. */
export function createNameOperation(documents: ReadonlyMap<string, FindOperation>): NameOperation {
  return ({ method, target }, route, mcp) => {
    const called = mcp === null ? null : nameOfCall(mcp);
    if (called !== null) return called;
    const documented = documents.get(route.name)?.(method, upstreamPath(route, target.path)) ?? null;
    return documented ?? `${method} ${templateOf(target.path)}`;
  };
}

/** Of a tool's name: what an audit record can take. Longer ones are told apart by `mcp.tool.name` only. */
const nameCharsMax = 128;
// No colon, or a method could pass for the call of a tool.
const methodForm = /^[A-Za-z0-9_$./-]{1,128}$/;

/** Null where the method is not of the form that methods have: then the request is named by its path. */
function nameOfCall(mcp: McpCall | 'batch'): string | null {
  if (mcp === 'batch') return 'mcp:batch';
  const { method, tool } = mcp;
  if (tool === null) return methodForm.test(method) ? `mcp:${method}` : null;
  return `mcp:${method}:${tool.name.length > nameCharsMax ? '{long}' : tool.name}`;
}

/** OpenAPI 3.1 §4.8.5: a document describes what its servers offer, so the path is the one that goes to the upstream. */
function upstreamPath({ upstream, stripPrefix, pathPrefix }: Route, path: string): string {
  const stem = stripPrefix && pathPrefix !== '/' ? pathPrefix.length : 0;
  return `${upstream.basePath}${path.slice(stem)}` || '/';
}
