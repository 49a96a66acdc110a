/** What rules see of one request, built from the exchange alone. Nothing in it leads back to the runtime. */

import type { AccessToken, Exchange, Fields, Identity, Possession, Route, Source } from '../exchange.ts';
import { itemsMax } from './bounds.ts';
import { convertValue } from './document.ts';
import { createTokenParts, type TokenParts } from './token-parts.ts';
import {
  type ActRecord,
  type AgentRecord,
  ConnectionRecord,
  PossessionRecord,
  RateRecord,
  RequestRecord,
  RouteRecord,
  SourceRecord,
  type SubjectRecord,
  TokenRecord,
} from './variables.ts';

/** The CEL variables by name, and whether they can be judged at all. */
export type Context = {
  readonly request: RequestRecord;
  readonly source: SourceRecord;
  readonly connection: ConnectionRecord;
  readonly token: TokenRecord;
  readonly jwt: ReadonlyMap<string, unknown> | undefined;
  readonly pop: PossessionRecord;
  readonly agent: AgentRecord;
  readonly subject: SubjectRecord;
  readonly act: ActRecord;
  readonly rate: RateRecord | undefined;
  readonly route: RouteRecord;
  readonly now: Date;
  /**
   * Which bound a value exceeds that some rule reads. Cutting the value short could hide from a deny rule what it looks
   * for, so such a request is denied instead.
   */
  readonly unfit: string | null;
};

const nothing = { value: undefined, exceeded: null };

/** Request fields that hold credentials; rules never see them. */
const credentialFields: ReadonlySet<string> = new Set(['authorization', 'proxy-authorization', 'dpop', 'cookie']);

/** `reads` is all that any rule or meter reads: what nobody reads is not built. */
export function createContextBuilder({ reads }: { readonly reads: ReadonlySet<string> }) {
  const readsHeaders = reads.has('request.headers');
  const readsQuery = reads.has('request.query');
  const readsBody = reads.has('request.body');
  const partsOf = createTokenParts(reads);
  const routes = new WeakMap<Route, RouteRecord>();

  /** The exchange must have its request, route and identity. */
  return (exchange: Exchange): Context => {
    const { identity, route } = exchange;
    const { request, query } = buildRequest(exchange, readsHeaders, readsQuery);
    const body = readsBody ? convertValue(exchange.heldBody?.json) : nothing;
    request.body = body.value;
    if (identity === null || route === null) throw new TypeError('a context needs a route and an identity');
    const parts = partsOf(identity.accessToken);
    return {
      request,
      source: buildSource(exchange.source),
      // A proxy may forward the certificate of the client, which is known only once the request has been vetted.
      connection: buildConnection((exchange.request ?? exchange).source),
      token: buildToken(identity, parts, exchange.arrivedAtMs),
      jwt: parts.claims,
      pop: buildPossession(identity.possession, exchange.heldBody?.isBound === true),
      agent: parts.agent,
      subject: parts.subject,
      act: parts.act,
      rate: undefined,
      route: routeRecord(routes, route),
      now: new Date(exchange.arrivedAtMs),
      unfit: parts.unfit ?? query ?? (body.exceeded === null ? null : `request.body: ${body.exceeded}`),
    };
  };
}

/** The same context with the counts that the store gave. */
export function withRates(context: Context, rates: ReadonlyMap<string, number>): Context {
  const rate = new RateRecord();
  for (const [meter, count] of rates) rate.set(meter, BigInt(count));
  return { ...context, rate };
}

/** The same context as if the token had been granted these scopes. */
export function withScopes(context: Context, scopes: readonly string[]): Context {
  return { ...context, token: Object.assign(new TokenRecord(), context.token, { scopes }) };
}

/** Routes are configuration, so each needs its record once. */
function routeRecord(routes: WeakMap<Route, RouteRecord>, route: Route): RouteRecord {
  const found = routes.get(route);
  if (found !== undefined) return found;
  const built = buildRoute(route);
  routes.set(route, built);
  return built;
}

function buildRequest(exchange: Exchange, readsHeaders: boolean, readsQuery: boolean) {
  const asked = exchange.request;
  if (asked === null) throw new TypeError('a context needs a vetted request');
  const { path, query } = asked.target;
  const request = new RequestRecord();
  request.method = asked.method;
  request.path = query === null ? path : `${path}?${query}`;
  request.url_path = path;
  request.host = asked.host;
  request.scheme = asked.source.tls ? 'https' : 'http';
  request.id = exchange.id;
  request.time = new Date(exchange.arrivedAtMs);
  request.size = asked.bodyBytes === null ? undefined : BigInt(asked.bodyBytes);
  request.reason = exchange.statedReason?.text ?? '';
  if (readsHeaders) request.headers = joinHeaders(asked.fields);
  if (!readsQuery) return { request, query: null };
  const parsed = parseQuery(query ?? '');
  if (typeof parsed === 'string') return { request, query: parsed };
  request.query = parsed;
  return { request, query: null };
}

function joinHeaders(fields: Fields): ReadonlyMap<string, string> {
  const headers = new Map<string, string>();
  for (const [name, values] of fields) {
    if (credentialFields.has(name)) continue;
    // RFC 9110 §5.3: several field lines of one name are one list, in order.
    headers.set(name, values.length === 1 ? (values[0] ?? '') : values.join(', '));
  }
  return headers;
}

/** Pairs as an HTML form writes them, so a plus is a space. A string says why they can't be judged. */
function parseQuery(query: string): ReadonlyMap<string, readonly string[]> | string {
  const pairs = query.split('&', itemsMax + 1);
  if (pairs.length > itemsMax) return `request.query has more than ${itemsMax} pairs`;
  const parsed = new Map<string, string[]>();
  for (const pair of pairs) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    const value = decode(equals < 0 ? '' : pair.slice(equals + 1));
    if (name === null || value === null) return 'request.query is not percent-encoded UTF-8';
    const values = parsed.get(name);
    if (values === undefined) parsed.set(name, [value]);
    else values.push(value);
  }
  return parsed;
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text.includes('+') ? text.replaceAll('+', ' ') : text);
  } catch {
    return null;
  }
}

function buildSource(source: Source): SourceRecord {
  const record = new SourceRecord();
  record.address = source.address;
  record.port = BigInt(source.port);
  return record;
}

function buildConnection({ certificate }: Source): ConnectionRecord {
  const record = new ConnectionRecord();
  if (certificate === null) return record;
  record.mtls = true;
  // Envoy's variable of this name is hexadecimal; pop.x5t is the base64url form of RFC 8705 §3.1.
  record.sha256_peer_certificate_digest = Buffer.from(certificate.thumbprint, 'base64url').toString('hex');
  record.uri_san_peer_certificate = certificate.uriSan ?? undefined;
  return record;
}

function buildRoute({ name, audience, upstream }: Route): RouteRecord {
  const record = new RouteRecord();
  record.name = name;
  record.audience = audience;
  record.upstream = `${upstream.origin}${upstream.basePath}`;
  return record;
}

function buildPossession(possession: Possession, isBodyBound: boolean): PossessionRecord {
  const record = new PossessionRecord();
  record.method = possession.method;
  record.jkt = possession.jkt ?? undefined;
  record.x5t = possession.x5t ?? undefined;
  record.proof_age = BigInt(Math.floor(possession.proofAgeMs / 1000));
  record.nonce = possession.hasNonce;
  record.body_bound = isBodyBound;
  return record;
}

/** Whole seconds since the token was issued go with the request; everything else is the token's own. */
function buildToken({ accessToken }: Identity, parts: TokenParts, nowMs: number): TokenRecord {
  const record = new TokenRecord();
  record.iss = accessToken.issuer;
  record.sub = accessToken.subject;
  record.aud = accessToken.audience;
  record.client_id = accessToken.clientId;
  record.scopes = accessToken.scopes;
  record.roles = accessToken.roles;
  record.jti = accessToken.jti;
  record.issued_at = parts.issuedAt;
  record.expires_at = parts.expiresAt;
  record.age = BigInt(ageSeconds(accessToken, nowMs));
  record.acr = accessToken.acr ?? undefined;
  record.auth_time = parts.authTime;
  record.authorization_details = parts.authorizationDetails;
  record.claims = parts.claims;
  return record;
}

function ageSeconds({ issuedAtMs }: AccessToken, nowMs: number): number {
  return Math.floor((nowMs - issuedAtMs) / 1000);
}
