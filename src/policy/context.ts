/** What rules see of one request, built from the exchange alone. Nothing in it leads back to the runtime. */

import type {
  AccessToken,
  Agent,
  Exchange,
  Fields,
  HeldBody,
  Identity,
  Possession,
  Route,
  Source,
} from '../exchange.ts';
import { itemsMax, requestCharsMax } from './bounds.ts';
import { convertValue } from './document.ts';
import { driftRecordOf } from './drift-record.ts';
import { createTokenParts, type TokenParts } from './token-parts.ts';
import {
  type ActRecord,
  AgentRecord,
  ConnectionRecord,
  type DriftRecord,
  McpRecord,
  McpToolRecord,
  PossessionRecord,
  RateRecord,
  RequestRecord,
  RevocationRecord,
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
  readonly mcp: McpRecord;
  readonly rate: RateRecord | undefined;
  readonly drift: DriftRecord;
  readonly revocation: RevocationRecord;
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

export type ContextOptions = {
  /** All that any rule or meter reads: what nobody reads is not built. */
  readonly reads: ReadonlySet<string>;
  /** Since this sidecar last heard what is revoked; just now where absent. */
  readonly revocationAgeMs?: () => number;
};

export function createContextBuilder({ reads, revocationAgeMs = () => 0 }: ContextOptions) {
  const readsHeaders = reads.has('request.headers');
  const readsQuery = reads.has('request.query');
  const readsBody = reads.has('request.body');
  const readsArguments = reads.has('mcp.tool.arguments');
  const partsOf = createTokenParts(reads);
  const routes = new WeakMap<Route, RouteRecord>();
  const agents = new WeakMap<Agent, AgentRecord>();

  /** The exchange must have its request, route, identity and agent. */
  return (exchange: Exchange): Context => {
    const { identity, route, agent } = exchange;
    const { request, exceeded: asked } = buildRequest(exchange, readsHeaders, readsQuery);
    const body = readsBody ? convertValue(exchange.heldBody?.json) : nothing;
    request.body = body.value;
    const { mcp, exceeded } = buildMcp(exchange.heldBody?.mcp, readsArguments);
    if (identity === null || route === null || agent === null) {
      throw new TypeError('a context needs a route, an identity and an agent');
    }
    const parts = partsOf(identity.accessToken);
    return {
      request,
      source: buildSource(exchange.source),
      // A proxy may forward the certificate of the client, which is known only once the request has been vetted.
      connection: buildConnection((exchange.request ?? exchange).source),
      token: buildToken(identity, parts, exchange.arrivedAtMs),
      jwt: parts.claims,
      pop: buildPossession(identity.possession, exchange.heldBody?.isBound === true),
      agent: agentRecord(agents, agent),
      subject: parts.subject,
      act: parts.act,
      mcp,
      rate: undefined,
      drift: driftRecordOf(exchange.drift, reads.has('drift.top')),
      revocation: buildRevocation(revocationAgeMs()),
      route: routeRecord(routes, route),
      now: new Date(exchange.arrivedAtMs),
      unfit: parts.unfit ?? asked ?? bound('request.body', body.exceeded) ?? bound('mcp.tool.arguments', exceeded),
    };
  };
}

const bound = (name: string, exceeded: string | null) => (exceeded === null ? null : `${name}: ${exceeded}`);

const noCall = { mcp: new McpRecord(), exceeded: null };

/** A batch is several calls, so that no rule about one may hold for it. */
function buildMcp(call: HeldBody['mcp'] | undefined, readsArguments: boolean) {
  if (call === undefined || call === null || call === 'batch') return noCall;
  const mcp = new McpRecord();
  mcp.method = call.method;
  if (call.tool === null) return { mcp, exceeded: null };
  mcp.tool = new McpToolRecord();
  mcp.tool.name = call.tool.name;
  const given = readsArguments ? convertValue(call.tool.arguments) : nothing;
  mcp.tool.arguments = given.value;
  return { mcp, exceeded: given.exceeded };
}

/** The same context with the counts that the store gave, and what was found out about behaviour since. */
export function withRates(context: Context, rates: ReadonlyMap<string, number>, drift = context.drift): Context {
  const rate = new RateRecord();
  for (const [meter, count] of rates) rate.set(meter, BigInt(count));
  return { ...context, rate, drift };
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

/** Shared between requests with one token, so each needs its record once. */
function agentRecord(agents: WeakMap<Agent, AgentRecord>, agent: Agent): AgentRecord {
  const found = agents.get(agent);
  if (found !== undefined) return found;
  const record = new AgentRecord();
  record.id = agent.id;
  record.issuer = agent.issuer;
  record.owner = agent.owner ?? undefined;
  record.team = agent.team ?? undefined;
  record.registered = agent.registered;
  record.status = agent.status;
  agents.set(agent, record);
  return record;
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
  request.operation = exchange.operation ?? '';
  request.reason = exchange.statedReason?.text ?? '';
  if (request.path.length > requestCharsMax) {
    return { request, exceeded: `request.path has more than ${requestCharsMax} characters` };
  }
  const headers = readsHeaders ? joinHeaders(asked.fields) : undefined;
  if (typeof headers === 'string') return { request, exceeded: headers };
  request.headers = headers;
  if (!readsQuery) return { request, exceeded: null };
  const parsed = parseQuery(query ?? '');
  if (typeof parsed === 'string') return { request, exceeded: parsed };
  request.query = parsed;
  return { request, exceeded: null };
}

/** A string says why they can't be judged. */
function joinHeaders(fields: Fields): ReadonlyMap<string, string> | string {
  const headers = new Map<string, string>();
  let chars = 0;
  for (const [name, values] of fields) {
    if (credentialFields.has(name)) continue;
    // RFC 9110 §5.3: several field lines of one name are one list, in order.
    const value = values.length === 1 ? (values[0] ?? '') : values.join(', ');
    chars += name.length + value.length;
    headers.set(name, value);
  }
  if (headers.size > itemsMax) return `request.headers has more than ${itemsMax} names`;
  return chars > requestCharsMax ? `request.headers has more than ${requestCharsMax} characters` : headers;
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

function buildRevocation(ageMs: number): RevocationRecord {
  const record = new RevocationRecord();
  record.age = BigInt(Math.floor(ageMs / 1000));
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
