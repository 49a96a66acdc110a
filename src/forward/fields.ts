/** Fields on their way up and down: what must not pass is taken out first, and only then is ours put in. */

import type { IncomingHttpHeaders } from 'node:http';
import type { ClientRequest, Injection, Route } from '../exchange.ts';
import { plainSpelling } from '../proxy-fields.ts';
import { readableCodings } from './decoder.ts';
import { isStrippedFromRequest, isStrippedFromResponse, mayBeForwarded } from './field-names.ts';
import type { PathMap } from './paths.ts';

export type RequestFields = (request: ClientRequest, injection: Injection) => string[];

const nothing: ReadonlySet<string> = new Set();

/**
 * What would bring answers in parts, each too short to be told, unless the route names it: in the spellings of Apache and
 * of Azure Storage, too.
 */
const forParts: ReadonlySet<string> = new Set(['range', 'if-range', 'request-range', 'x-ms-range']);

/**
 * Makes the flat list of names and values for undici. Host, Connection and Transfer-Encoding are undici's to write;
 * Content-Length is set here where the client announced one, and undici holds the body to it.
 */
export function createRequestFields(route: Route, reasonHeader: string): RequestFields {
  const optedIn = new Set(route.forwardFields.filter(mayBeForwarded));
  const plainReasonHeader = plainSpelling(reasonHeader);
  const isGuarded = route.leakGuard === true;
  let injected: Injection | null = null;
  /** In plain spelling: what the credential sets, and with it the stated reason. */
  let credentialNames: ReadonlySet<string> = nothing;
  let ours: ReadonlySet<string> = nothing;
  return (request, injection) => {
    if (injection !== injected) {
      injected = injection;
      credentialNames = new Set(injection.fields.map(([name]) => plainSpelling(name)));
      ours = new Set([plainReasonHeader, ...credentialNames]);
    }
    const nominated = nominatedBy(request.fields.get('connection'));
    const list: string[] = [];
    for (const [name, values] of request.fields) {
      const isOptedIn = optedIn.has(name) && !credentialNames.has(plainSpelling(name));
      if (!isOptedIn && isStrippedFromRequest(name, ours)) continue;
      if (nominated?.has(name)) continue;
      if (isGuarded && forParts.has(name) && !optedIn.has(name)) continue;
      // RFC 7692: compressed messages. They are searched as they are.
      if (isGuarded && name === 'sec-websocket-extensions') continue;
      const isNarrowed = isGuarded && name === 'accept-encoding';
      for (const value of values) list.push(name, isNarrowed ? readableCodings(value) : value);
    }
    if (request.bodyBytes !== null && request.bodyBytes > 0) list.push('content-length', String(request.bodyBytes));
    for (const [name, value] of injection.fields) list.push(name, value);
    return list;
  };
}

/** RFC 9110 §7.6.1: fields named by Connection; null in the common case that it names none. */
function nominatedBy(connection: readonly string[] | undefined): ReadonlySet<string> | null {
  if (connection === undefined) return null;
  if (connection.length === 1 && (connection[0] === 'keep-alive' || connection[0] === 'close')) return null;
  return new Set(connection.flatMap((value) => value.split(',').map((name) => name.trim().toLowerCase())));
}

export type ResponseFieldsOptions = {
  readonly paths: PathMap;
  /** Set-Cookie passes only where the route lets Cookie through as well. */
  readonly keepsCookies: boolean;
};

/** Makes the flat list of names and values for the client, from fields by lower-case name as undici gives them. */
export function responseFields(
  upstream: IncomingHttpHeaders,
  status: number,
  upstreamPath: string,
  { paths, keepsCookies }: ResponseFieldsOptions,
): string[] {
  const connection = upstream.connection as string | string[] | undefined;
  const nominated = nominatedBy(typeof connection === 'string' ? [connection] : connection);
  const list: string[] = [];
  for (const name in upstream) {
    const value = upstream[name];
    if (value === undefined || isStrippedFromResponse(name, keepsCookies)) continue;
    if (nominated?.has(name)) continue;
    // RFC 9110 §8.6: no Content-Length on a 204.
    if (status === 204 && name === 'content-length') continue;
    if (name === 'location' || name === 'content-location') {
      const location = typeof value === 'string' ? paths.toPublic(value, upstreamPath) : null;
      if (location !== null) list.push(name, location);
    } else if (typeof value === 'string') list.push(name, value);
    else for (const one of value) list.push(name, one);
  }
  list.push('cache-control', 'private, no-store');
  return list;
}
