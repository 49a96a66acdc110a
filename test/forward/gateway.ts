/** A listener with vetting, routing and forwarding, and nothing else: whoever asks is allowed. */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type Deny, deny, isDeny } from '../../src/decision.ts';
import type { Outcome, Route } from '../../src/exchange.ts';
import { createForward, type ForwardOptions } from '../../src/forward/forward.ts';
import { createVet } from '../../src/receive/vet.ts';
import { createMatchRoute } from '../../src/route/match.ts';
import { listenOn } from '../support/raw-http.ts';

export const secret = 'Bearer real-upstream-key';
export const publicOrigin = 'https://agents.example';

export function routeTo(origin: string | number, more: Partial<Route> = {}): Route {
  return {
    name: 'api',
    pathPrefix: '/api',
    hosts: null,
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'],
    upstream: { origin: typeof origin === 'number' ? `http://127.0.0.1:${origin}` : origin, basePath: '' },
    stripPrefix: true,
    audience: publicOrigin,
    credential: 'key',
    accepts: ['dpop'],
    bodyBytesMax: 1_000_000,
    bodyBinding: 'verify',
    jsonBytesMax: null,
    headersTimeoutMs: 5000,
    bodyTimeoutMs: 5000,
    forwardFields: [],
    scopes: [],
    resourceMetadata: `${publicOrigin}/.well-known/oauth-protected-resource/api`,
    cors: null,
    ...more,
  };
}

/** `fault` is what forward threw, if anything. */
export type Done = { readonly refusal: Deny | null; readonly outcome: Outcome; readonly fault: unknown };

export type GatewayOptions = Partial<ForwardOptions> & {
  readonly extraFields?: readonly string[];
  readonly injection?: { readonly name: string; readonly version: number; readonly fields: [string, string][] };
};

export async function startGateway(route: Route, options: GatewayOptions = {}) {
  const vet = createVet({
    limits: { headers: 16_384, headerCount: 100, url: 8192 },
    hosts: undefined,
    trustedProxies: [],
  });
  const matchRoute = createMatchRoute([route]);
  const injection = options.injection ?? { name: 'key', version: 1, fields: [['authorization', secret]] };
  const { forward, close } = createForward({
    routes: [route],
    publicOrigin,
    reasonHeader: 'agent-reason',
    maxConnections: 8,
    maxWaiting: 8,
    connectTimeoutMs: 2000,
    ...options,
  });
  const done: Done[] = [];
  let onDone = () => {};

  const serve = async (incoming: IncomingMessage, response: ServerResponse) => {
    const request = vet(incoming);
    const found = isDeny(request) ? request : matchRoute(request);
    const outcome: Outcome = { status: 0, upstreamStatus: null, bytesIn: 0, bytesOut: 0, end: 'refused' };
    let refusal: Deny | null = null;
    let fault: unknown = null;
    if (isDeny(request)) refusal = request;
    else if (isDeny(found)) refusal = found;
    else {
      const beforeBody = incoming.headers.expect === undefined ? undefined : () => response.writeContinue();
      const answer = forward({
        request,
        route: found,
        injection,
        incoming,
        response,
        outcome,
        decisionId: 'decision-1',
        extraFields: options.extraFields ?? [],
        beforeBody,
      });
      refusal = await answer.catch((thrown: unknown) => {
        fault = thrown;
        return deny('internal_error', { close: true });
      });
    }
    if (refusal !== null) {
      if (!incoming.complete || refusal.close === true) response.setHeader('connection', 'close');
      response.statusCode = 599;
      response.end(refusal.reason);
    }
    done.push({ refusal, outcome, fault });
    onDone();
  };
  const server = createServer((incoming, response) => void serve(incoming, response));
  server.on('checkContinue', (incoming, response) => void serve(incoming, response));
  const port = await listenOn(server);

  return {
    port,
    done,
    /** The nth exchange from 0, once it is through. */
    async through(index = 0): Promise<Done> {
      await new Promise<void>((resolve) => {
        onDone = () => {
          if (done.length > index) resolve();
        };
        onDone();
      });
      return done[index] as Done;
    },
    async close() {
      await close();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

export type Gateway = Awaited<ReturnType<typeof startGateway>>;
