/**
 * From what a test gives to the exchange that a request of that kind is. The context of the rules is then built by the
 * code that builds it for requests, so whatever follows from something else follows in a test as it does there.
 */

import { type Deny, isDeny } from '../../decision.ts';
import type { AccessToken, Actor, Agent, Exchange, Fields, Possession, Route, Source, Target } from '../../exchange.ts';
import type { Context } from '../context.ts';
import { fill, parseTime } from '../declared-types.ts';
import { records } from '../variables.ts';
import type { Given } from './test-schema.ts';

export type SituationOptions = {
  /** As requests are read: the target's canonical form, or why it would be refused. */
  readonly readTarget: (rawUrl: string) => Target | Deny;
  /** The route of a case that names none. */
  readonly routeOf: (name: string | null, request: { method: string; host: string; target: Target }) => Route | Deny;
  /** Finds out about the exchange what stages before the rules find out: what it does, by its method, path and body. */
  readonly complete: (exchange: Exchange) => Deny | null;
};

type Part = Readonly<Record<string, unknown>>;

/** Monday noon. A fixed time, so that a test says the same every day. */
const usualNow = '2026-11-30T12:00:00Z';
const usual = {
  host: 'api.agents.example',
  issuer: 'https://login.example',
  agent: 'agent-7',
  subject: 'alice',
  jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I',
  thumbprint: 'A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0',
} as const;

function partOf(given: Given, variable: string): Part {
  const part = given[variable];
  return typeof part === 'object' && part !== null ? (part as Part) : {};
}

/** What is written for a field. The schema has seen to its type. */
function written<Value>(part: Part, field: string): Value | undefined {
  return (part[field] as Value | null | undefined) ?? undefined;
}

/** The exchange of such a request; a Deny where it would be refused before any rule is asked. */
export function buildExchange(given: Given, { readTarget, routeOf, complete }: SituationOptions): Exchange | Deny {
  const nowMs = parseTime(String(given.now ?? usualNow), Date.parse(usualNow));
  const request = partOf(given, 'request');
  const target = readTarget(rawUrlOf(request));
  if (isDeny(target)) return target;
  const method = written<string>(request, 'method') ?? 'GET';
  const host = (written<string>(request, 'host') ?? usual.host).toLowerCase();
  const routeName = typeof given.route === 'string' ? given.route : written<string>(partOf(given, 'route'), 'name');
  const found = routeOf(routeName ?? null, { method, host, target });
  if (isDeny(found)) return found;
  const route = withFields(found, partOf(given, 'route'));
  const source = buildSource(given);
  const accessToken = buildAccessToken(given, route, nowMs);
  const pop = partOf(given, 'pop');
  const body = written<unknown>(request, 'body');
  // Where the route does not look into bodies, rules see none.
  const json = route.jsonBytesMax === null ? undefined : body;
  const bytes = Buffer.from(body === undefined ? '' : JSON.stringify(body));
  const isBound = written<boolean>(pop, 'body_bound') === true;
  const reason = written<string>(request, 'reason') ?? '';
  const exchange: Exchange = {
    id: written<string>(request, 'id') ?? '019ad3f0-0000-7000-8000-000000000000',
    arrivedAtMs: nowMs,
    startedMs: 0,
    source,
    rawMethod: method,
    request: {
      method,
      target,
      host,
      fields: buildFields(written<Part>(request, 'headers') ?? {}, body !== undefined),
      // A size of null is one that is not announced: a chunked body.
      bodyBytes: request.size === undefined ? bytes.length : (request.size as number | null),
      source,
    },
    route,
    identity: {
      accessToken,
      possession: buildPossession(pop, source),
      contentDigest: null,
      signedReason: undefined,
      nextNonce: null,
    },
    agent: buildAgent(accessToken, partOf(given, 'agent')),
    standing: null,
    operation: null,
    rateLimitFields: [],
    statedReason: reason === '' ? null : { text: reason, source: 'header' },
    heldBody: json === undefined && !isBound ? null : { bytes, isBound, json, mcp: null, release: () => {} },
    rates: null,
    policyHash: null,
    decision: null,
    decidedMs: null,
    failure: null,
    lapMs: 0,
    stageMs: {},
    outcome: { status: 0, upstreamStatus: null, bytesIn: 0, bytesOut: 0, end: 'complete' },
  };
  return complete(exchange) ?? exchange;
}

/** Fields that the exchange above has taken up; all others are set on the context as they are. */
const taken: ReadonlySet<string> = new Set([
  ...['method', 'path', 'host', 'scheme', 'headers', 'query', 'id', 'size', 'body', 'reason'].map(
    (name) => `request.${name}`,
  ),
  ...['address', 'port'].map((field) => `source.${field}`),
  ...['mtls', 'sha256_peer_certificate_digest', 'uri_san_peer_certificate'].map((field) => `connection.${field}`),
  ...['iss', 'sub', 'aud', 'client_id', 'scopes', 'roles', 'jti'].map((field) => `token.${field}`),
  ...['issued_at', 'expires_at', 'age', 'acr', 'auth_time'].map((field) => `token.${field}`),
  ...['authorization_details', 'claims'].map((field) => `token.${field}`),
  ...['method', 'jkt', 'x5t', 'proof_age', 'nonce', 'body_bound'].map((field) => `pop.${field}`),
  ...['id', 'issuer', 'owner', 'team', 'registered', 'status'].map((field) => `agent.${field}`),
  ...['id', 'type', 'human'].map((field) => `subject.${field}`),
  ...['chain', 'depth'].map((field) => `act.${field}`),
  ...['name', 'audience', 'upstream'].map((field) => `route.${field}`),
]);

/** The context with the fields that no exchange can be made to bring about, such as scores. */
export function withGiven(context: Context, given: Given): Context {
  const changed: Record<string, object> = {};
  for (const { variable, ctor, fields } of records) {
    if (variable === null) continue;
    const rest = Object.entries(partOf(given, variable)).filter(([field]) => !taken.has(`${variable}.${field}`));
    if (rest.length === 0) continue;
    // Records are shared between requests, so this is a copy.
    const record = Object.assign(new ctor(), (context as Readonly<Record<string, unknown>>)[variable]);
    changed[variable] = fill(record, Object.fromEntries(rest), fields, context.now.getTime());
  }
  return { ...context, ...changed };
}

/** The path with the query, which may be written in the path or beside it. */
function rawUrlOf(request: Part): string {
  const path = written<string>(request, 'path') ?? '/';
  const pairs = Object.entries(written<Part>(request, 'query') ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`),
  );
  return pairs.length === 0 ? path : `${path}${path.includes('?') ? '&' : '?'}${pairs.join('&')}`;
}

/** A body is JSON, and says so unless something else is given. */
function buildFields(headers: Part, hasBody: boolean): Fields {
  const fields = new Map<string, readonly string[]>();
  if (hasBody) fields.set('content-type', ['application/json']);
  for (const [name, values] of Object.entries(headers)) {
    if (values === null) fields.delete(name.toLowerCase());
    else fields.set(name.toLowerCase(), [values].flat().map(String));
  }
  return fields;
}

function buildSource(given: Given): Source {
  const source = partOf(given, 'source');
  const connection = partOf(given, 'connection');
  const pop = partOf(given, 'pop');
  const digest = written<string>(connection, 'sha256_peer_certificate_digest');
  const uriSan = written<string>(connection, 'uri_san_peer_certificate') ?? null;
  const isImplied = (digest ?? uriSan) != null || written<string>(pop, 'method') === 'mtls';
  const hasCertificate = written<boolean>(connection, 'mtls') ?? isImplied;
  const thumbprint =
    digest === undefined
      ? (written<string>(pop, 'x5t') ?? usual.thumbprint)
      : Buffer.from(digest, 'hex').toString('base64url');
  return {
    address: written<string>(source, 'address') ?? '10.0.0.7',
    port: written<number>(source, 'port') ?? 40_000,
    tls: (written<string>(partOf(given, 'request'), 'scheme') ?? 'https') === 'https',
    certificate: hasCertificate ? { thumbprint, uriSan } : null,
  };
}

function buildPossession(pop: Part, { certificate }: Source): Possession {
  const method = (written<string>(pop, 'method') ?? 'dpop') as Possession['method'];
  const isDpop = method === 'dpop';
  return {
    method,
    jkt: written<string>(pop, 'jkt') ?? (isDpop ? usual.jkt : null),
    x5t: written<string>(pop, 'x5t') ?? (method === 'mtls' ? (certificate?.thumbprint ?? null) : null),
    proofAgeMs: (written<number>(pop, 'proof_age') ?? (isDpop ? 1 : 0)) * 1000,
    hasNonce: written<boolean>(pop, 'nonce') ?? false,
    singleUse: null,
  };
}

function buildAgent(accessToken: AccessToken, agent: Part): Agent {
  const registered = written<boolean>(agent, 'registered') ?? written<string>(agent, 'status') === 'active';
  return {
    ...accessToken.agent,
    owner: written<string>(agent, 'owner') ?? null,
    team: written<string>(agent, 'team') ?? null,
    group: null,
    owners: [],
    registered,
    status: (written<string>(agent, 'status') ?? (registered ? 'active' : 'unknown')) as Agent['status'],
  };
}

/** The token's claims say what its fields say, with whatever else is given. */
function buildAccessToken(given: Given, route: Route, nowMs: number): AccessToken {
  const token = partOf(given, 'token');
  const text = (field: string) => written<string>(token, field);
  const time = (field: string) => (text(field) === undefined ? null : parseTime(text(field) ?? '', nowMs));
  const issuer = text('iss') ?? usual.issuer;
  const actors = buildActors(partOf(given, 'act'), issuer);
  const agent = partOf(given, 'agent');
  const clientId = text('client_id') ?? written<string>(agent, 'id') ?? usual.agent;
  const subject = written<string>(partOf(given, 'subject'), 'id') ?? text('sub') ?? usual.subject;
  const audience = written<readonly string[]>(token, 'aud') ?? [route.audience];
  const scopes = written<readonly string[]>(token, 'scopes') ?? [];
  const roles = written<readonly string[]>(token, 'roles') ?? [];
  const issuedAtMs = time('issued_at') ?? nowMs - (written<number>(token, 'age') ?? 60) * 1000;
  const expiresAtMs = time('expires_at') ?? nowMs + 300_000;
  const authTimeMs = time('auth_time');
  const acr = text('acr') ?? null;
  const jti = text('jti') ?? 'token-1';
  const details = written<unknown>(token, 'authorization_details');
  return Object.freeze({
    issuer,
    subject,
    audience,
    clientId,
    scopes,
    roles,
    jti,
    issuedAtMs,
    expiresAtMs,
    authTimeMs,
    acr,
    claims: {
      iss: issuer,
      sub: subject,
      aud: audience.length === 1 ? audience[0] : audience,
      client_id: clientId,
      scope: scopes.join(' '),
      jti,
      iat: Math.floor(issuedAtMs / 1000),
      exp: Math.floor(expiresAtMs / 1000),
      ...(roles.length === 0 ? {} : { roles }),
      ...(acr === null ? {} : { acr }),
      ...(authTimeMs === null ? {} : { auth_time: Math.floor(authTimeMs / 1000) }),
      ...(details === undefined ? {} : { authorization_details: details }),
      ...written<Part>(token, 'claims'),
    },
    confirmation: { jkt: null, x5t: null },
    agent: {
      id: written<string>(agent, 'id') ?? actors[0]?.sub ?? clientId,
      issuer: written<string>(agent, 'issuer') ?? issuer,
    },
    actors,
    subjectType: subjectTypeOf(partOf(given, 'subject')),
    source: 'jwt',
  });
}

/** Only a user is a human, as when a token is read. */
function subjectTypeOf(subject: Part): AccessToken['subjectType'] {
  const fallback = written<boolean>(subject, 'human') === true ? 'user' : 'unknown';
  return (written<string>(subject, 'type') ?? fallback) as AccessToken['subjectType'];
}

/** The links that are given, or as many as the depth says. Only the outermost is verified, as when a token is read. */
function buildActors(act: Part, issuer: string): readonly Actor[] {
  const count = written<number>(act, 'depth') ?? 0;
  const chain =
    written<readonly Part[]>(act, 'chain') ??
    Array.from({ length: count }, (_, index) => ({ sub: index === 0 ? usual.agent : `${usual.agent}-${index}` }));
  return chain.map((link, index) => ({
    iss: written<string>(link, 'iss') ?? issuer,
    sub: written<string>(link, 'sub') ?? usual.agent,
    profile: written<string>(link, 'profile') ?? '',
    verified: written<boolean>(link, 'verified') ?? index === 0,
  }));
}

function withFields(route: Route, part: Part): Route {
  const audience = written<string>(part, 'audience') ?? route.audience;
  const upstream = written<string>(part, 'upstream');
  if (audience === route.audience && upstream === undefined) return route;
  return { ...route, audience, upstream: upstream === undefined ? route.upstream : { origin: upstream, basePath: '' } };
}
