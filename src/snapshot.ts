/** Everything that judges and forwards a request, made from one configuration: a request meets one of these, whole. */

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { newDecisionId } from './decision-id.ts';
import { sendContinue } from './delivery.ts';
import type { Exchange } from './exchange.ts';
import { createExplain } from './explain-api.ts';
import { createForward, type Lots } from './forward/forward.ts';
import { createHandle, type Handle } from './handle.ts';
import type { ListenerOptions } from './listener.ts';
import { createOpenExchange, createRefuseConnection } from './open.ts';
import { createRespond } from './own-answer.ts';
import { createReadSource } from './receive/source.ts';
import { isWebSocketHandshake } from './receive/web-socket.ts';
import { createRefusal, createRefuse } from './refuse.ts';
import { corsFields } from './route/cors.ts';
import { acceptedMethods } from './route/routes.ts';
import { createStages, type Life, type Parts } from './stages.ts';
import { createEndsInMs } from './token-end.ts';

const upstreamConnectMs = 5000;
const discardBytesMax = 1_048_576;
const discardMs = 2000;
const takeMs = 10_000;

export type Snapshot = {
  readonly handle: Handle;
  readonly refuseConnection: ListenerOptions['refuseConnection'];
  readonly isHandshake: (incoming: IncomingMessage) => boolean;
  readonly explain: ReturnType<typeof createExplain>;
  /** No more requests begin. What it has open to upstreams, and shares with no other, ends with its last request. */
  readonly retire: () => void;
};

export type SnapshotOptions = {
  readonly parts: Parts;
  readonly life: Life;
  readonly record: (exchange: Exchange) => void;
  readonly findDecision: (id: string) => string | null;
  /** Shared by all snapshots of a sidecar. */
  readonly lots: Lots;
  readonly ending: WeakSet<Socket>;
};

export function createSnapshot({ parts, life, record, findDecision, lots, ending }: SnapshotOptions): Snapshot {
  const { config, clock, logger, vetted } = parts;
  const forwarder = createForward({
    routes: vetted.routes,
    publicOrigin: config.listen.publicOrigin,
    reasonHeader: config.reason.header,
    maxConnections: config.limits.upstreamConnections,
    maxWaiting: config.limits.upstreamWaiting,
    connectTimeoutMs: upstreamConnectMs,
    lots,
  });
  const refuseOptions = {
    proofAlgorithms: config.proof.algorithms,
    accepts: acceptedMethods(config),
    discardBytesMax,
    discardMs,
    takeMs,
  };
  const sourceOf = createReadSource(config.listen.trustedProxies);
  const open = createOpenExchange({ clock, newId: newDecisionId, policyHash: vetted.ruleSet.hash, sourceOf });
  const endsInMs = createEndsInMs({ issuers: config.issuers, clock });
  const handle = createHandle(
    {
      open,
      ...createStages(parts, life),
      forward: ({ nextNonce, rateLimitFields, accessToken, ...passage }, incoming, response) =>
        forwarder.forward({
          ...passage,
          endsInMs: endsInMs(passage, accessToken),
          incoming,
          response,
          extraFields: [
            ...(nextNonce === null ? [] : ['dpop-nonce', nextNonce]),
            ...corsFields(passage.route, passage.request).flat(),
            ...rateLimitFields.flat(),
          ],
          beforeBody: passage.request.fields.has('expect') ? () => sendContinue(response) : undefined,
        }),
      respond: createRespond({ takeMs }),
      refuse: createRefuse({
        ...refuseOptions,
        extraFields: ({ route, request, rateLimitFields }) => [...corsFields(route, request), ...rateLimitFields],
      }),
      record,
      onFault: (exchange, fault) => logger.error({ err: fault, decision: exchange.id }, 'internal error; refused'),
    },
    ending,
  );
  const hasWebSockets = vetted.routes.some((route) => route.webSocket === true);
  let live = 0;
  let isRetired = false;
  const closeWhenIdle = () => {
    if (!isRetired || live > 0) return;
    forwarder.close().catch((fault: unknown) => logger.warn({ err: fault }, 'connections could not be closed'));
  };
  return {
    async handle(incoming, response) {
      live += 1;
      try {
        await handle(incoming, response);
      } finally {
        live -= 1;
        closeWhenIdle();
      }
    },
    refuseConnection: createRefuseConnection({ open, refusalFor: createRefusal(refuseOptions), record }),
    isHandshake: (incoming) => hasWebSockets && isWebSocketHandshake(incoming),
    explain: createExplain(parts, findDecision),
    retire: () => {
      isRetired = true;
      closeWhenIdle();
    },
  };
}
