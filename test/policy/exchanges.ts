/** Builds exchanges and contexts for rules to look at. */

import type { AccessToken, Agent, Exchange, HeldBody, Route } from '../../src/exchange.ts';
import { createCompile } from '../../src/policy/cel.ts';
import { type Context, createContextBuilder, withRates } from '../../src/policy/context.ts';
import { type Expression, type ExpressionType, isProblem } from '../../src/policy/expression.ts';
import { route } from '../support/client-request.ts';

export const nowMs = Date.UTC(2026, 10, 30, 12, 0, 0);

export function accessTokenWith(changes: Partial<AccessToken> = {}): AccessToken {
  return Object.freeze({
    issuer: 'https://login.example.com',
    subject: 'alice',
    audience: ['https://github.agents.example.com'],
    clientId: 'agent-7',
    scopes: ['openid', 'repo:read'],
    roles: [],
    jti: 'token-1',
    issuedAtMs: nowMs - 90_500,
    expiresAtMs: nowMs + 600_000,
    authTimeMs: null,
    acr: null,
    claims: {},
    confirmation: { jkt: 'thumb', x5t: null },
    agent: { id: 'agent-7', issuer: 'https://login.example.com' },
    actors: [],
    subjectType: 'unknown',
    source: 'jwt',
    ...changes,
  });
}

export const githubRoute: Route = route({
  name: 'github',
  upstream: { origin: 'https://api.example.com', basePath: '/v3' },
  audience: 'https://github.agents.example.com',
  credential: 'github-token',
});

export type Asked = {
  readonly method?: string;
  readonly path?: string;
  readonly query?: string | null;
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  readonly bodyBytes?: number | null;
  readonly address?: string;
  readonly certificate?: { readonly thumbprint: string; readonly uriSan: string | null } | null;
  readonly token?: Partial<AccessToken>;
  readonly accessToken?: AccessToken;
  /** What is not as of an agent that nobody has registered. */
  readonly agent?: Partial<Agent>;
  readonly statedReason?: string | null;
  readonly heldBody?: { readonly isBound: boolean; readonly json: unknown; readonly mcp?: HeldBody['mcp'] };
};

export function exchangeWith(asked: Asked = {}): Exchange {
  const { certificate = null } = asked;
  const accessToken = asked.accessToken ?? accessTokenWith(asked.token);
  const source = { address: asked.address ?? '10.1.2.3', port: 40_123, tls: true, certificate };
  return {
    id: '0193-decision',
    arrivedAtMs: nowMs,
    lapMs: 0,
    startedMs: 0,
    source,
    rawMethod: asked.method ?? 'GET',
    request: {
      method: asked.method ?? 'GET',
      target: { path: asked.path ?? '/repos/postern', query: asked.query ?? null },
      host: 'github.agents.example.com',
      fields: new Map(Object.entries(asked.fields ?? {})),
      bodyBytes: asked.bodyBytes === undefined ? 0 : asked.bodyBytes,
      source,
    },
    route: githubRoute,
    identity: {
      accessToken,
      possession: {
        method: 'dpop',
        jkt: 'thumb',
        x5t: null,
        proofAgeMs: 2500,
        hasNonce: true,
        singleUse: { key: 'k', lifetimeMs: 1000, madeAtMs: 0 },
      },
      nextNonce: null,
      contentDigest: null,
      signedReason: undefined,
    },
    standing: null,
    agent: {
      ...accessToken.agent,
      owner: null,
      team: null,
      group: null,
      owners: [],
      registered: false,
      status: 'unknown',
      ...asked.agent,
    },
    operation: 'GET /repos/{repo}',
    statedReason: asked.statedReason == null ? null : { text: asked.statedReason, source: 'header' },
    heldBody:
      asked.heldBody == null ? null : { bytes: Buffer.alloc(0), mcp: null, release: () => {}, ...asked.heldBody },
    drift: {
      score: 0.995123,
      novelty: 0.25,
      sequence: 0.75,
      destination: 0.9375,
      rate: 0.5,
      sustained: 0.125,
      tainted: true,
      ready: true,
      samples: 1234,
      alarms: 2,
      peers: 11,
      latched: false,
      stale: false,
      top: () => ['a destination that is new'],
    },
    rates: null,
    rateLimitFields: [],
    policyHash: null,
    decision: null,
    decidedMs: null,
    failure: null,
    stageMs: {},
    outcome: { status: 0, upstreamStatus: null, bytesIn: 0, bytesOut: 0, end: 'complete' },
  };
}

const everything = new Set([
  ...['request.headers', 'request.query', 'request.body', 'token.claims', 'jwt', 'token.authorization_details'],
  ...['token.scopes', 'token.roles', 'token.aud', 'act.chain'],
]);

/** A context in which everything is built, with these counts. */
export function contextWith(asked: Asked = {}, rates: Readonly<Record<string, number>> = {}): Context {
  const build = createContextBuilder({ reads: everything });
  return withRates(build(exchangeWith(asked)), new Map(Object.entries(rates)));
}

/** The compiler of the tests: `rate` has calls_per_minute and spend_per_day. */
export const compile = createCompile({ meters: ['calls_per_minute', 'spend_per_day'] });

/** An expression that must compile. */
export function compiled(source: string, type: ExpressionType = 'bool'): Expression {
  const expression = compile(source, type);
  if (isProblem(expression)) throw new TypeError(`${source}: ${expression.message} at ${expression.offset}`);
  return expression;
}

/** What the expression gives for this request. */
export function evaluated(source: string, asked: Asked = {}, rates: Readonly<Record<string, number>> = {}): unknown {
  return compiled(source).evaluate(contextWith(asked, rates));
}
