/** The stages between arrival and forwarding, made from a vetted configuration. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { createMeasure } from './behaviour/meters.ts';
import type { Config } from './config/schema.ts';
import { createInject, injectedFieldNames } from './credential/inject.ts';
import { deny } from './decision.ts';
import type { ClientRequest, Exchange } from './exchange.ts';
import { type BodyPlan, createHoldBody, createPlanBody } from './hold-body.ts';
import { createVerifyAccessToken } from './identify/access-token.ts';
import { dialectOf } from './identify/dialects.ts';
import { createIdentify } from './identify/identify.ts';
import type { KeySets } from './identify/key-sets.ts';
import { createNonces } from './identify/nonce.ts';
import type { createOpaqueTokens } from './identify/opaque-tokens.ts';
import { createVerifyProof } from './identify/proof.ts';
import { createContextBuilder, withRates } from './policy/context.ts';
import { createDecide } from './policy/decide.ts';
import { createVet } from './receive/vet.ts';
import type { Metrics } from './record/metrics.ts';
import type { Sinks } from './record/sinks.ts';
import { handlesOf } from './revocation/handles.ts';
import { createAnswerPreflight } from './route/cors.ts';
import { createMatchRoute } from './route/match.ts';
import { createAnswerMetadata } from './route/resource-metadata.ts';
import type { Store } from './store/port.ts';
import type { Vetted } from './vet-configuration.ts';

/** What the pieces below are made of. */
export type Parts = {
  readonly config: Config;
  readonly clock: () => number;
  readonly logger: Logger;
  readonly vetted: Vetted;
  readonly store: Store;
  readonly keySets: KeySets;
  readonly opaqueTokens: ReturnType<typeof createOpaqueTokens>;
  readonly metrics: Metrics;
  readonly sinks: Sinks;
};

/** Where the sidecar is in its life. */
export type Life = { isShuttingDown: boolean; isDraining: boolean };

/** The stages between arrival and forwarding. */
export function createStages(parts: Parts, life: Life) {
  const { config, clock, logger, vetted, store, metrics, sinks } = parts;
  const { ruleSet, meters } = vetted;
  const createContext = createContextBuilder({
    reads: new Set([...ruleSet.reads, ...meters.flatMap(({ by, cost }) => [...by.reads, ...cost.reads])]),
  });
  const decide = createDecide({
    ruleSet,
    onRuleError: (rule) => {
      metrics.countRuleError(rule);
      logger.warn({ rule }, 'a rule could not be evaluated');
    },
  });
  type Context = ReturnType<typeof createContext>;
  return {
    nowMs: clock,
    admit: () => {
      if (life.isDraining) return deny('draining', { close: true });
      return config.audit.onFailure === 'deny' && !sinks.isHealthy() ? deny('audit_unavailable') : null;
    },
    vet: createVet({
      limits: config.limits,
      hosts: config.listen.hosts,
      trustedProxies: config.listen.trustedProxies,
      certificateField: config.listen.clientCertificateField,
      onSpoofedField: metrics.countSpoofedField,
      protectedFields: [...injectedFieldNames(config.credentials), config.reason.header],
      allowInPath: config.routes.flatMap((route) => route.allowInPath),
    }),
    answerItself: createAnswerItself(parts),
    matchRoute: createMatchRoute(vetted.routes),
    identify: createIdentifyStage(parts),
    planBody: createPlanBody(config.limits),
    readReason: ({ request, identity, heldBody }: Exchange, plan: BodyPlan | null) =>
      vetted.readReason({
        signed: identity?.signedReason,
        fields: request?.fields ?? new Map(),
        json: heldBody?.json,
        isBodyAwaited: heldBody === null && plan?.isJson === true,
      }),
    createContext,
    measure: createMeasure(meters),
    handlesOf,
    check: timeChecks(store, metrics.observeStore),
    holdBody: createHoldBody(config.limits),
    decide: (context: Context, { rates, route }: Exchange, fallsInMs: ReadonlyMap<string, number>) =>
      decide(withRates(context, rates ?? new Map()), { route: route?.name ?? '', fallsInMs }),
    inject: createInject({ credentials: config.credentials, secrets: vetted.secrets }),
  };
}

function createAnswerItself({ config, vetted }: Parts) {
  const answerMetadata = createAnswerMetadata(config, vetted.routes);
  const answerPreflight = createAnswerPreflight(vetted.routes, config.reason.header);
  return (request: ClientRequest) => answerPreflight(request) ?? answerMetadata(request);
}

function createIdentifyStage({ config, keySets, opaqueTokens, clock }: Parts) {
  const { proof, limits, listen, issuers } = config;
  const secret = proof.nonceSecretFile === undefined ? randomBytes(32) : readFileSync(proof.nonceSecretFile);
  const nonces = proof.nonce === 'required' ? createNonces({ secret, clock }) : null;
  return createIdentify({
    verifyAccessToken: createVerifyAccessToken({
      issuers: issuers.flatMap(({ issuer, algorithms, clockSkew, dialect }) => {
        const keySet = keySets.byIssuer.get(issuer);
        return keySet === undefined
          ? []
          : [{ issuer, algorithms, clockSkewMs: clockSkew, keySet, dialect: dialectOf(dialect) }];
      }),
      clock,
      tokenBytesMax: limits.token,
      introspect: opaqueTokens?.verify,
    }),
    verifyProof: createVerifyProof({
      publicOrigin: listen.publicOrigin,
      algorithms: proof.algorithms,
      window:
        typeof proof.window === 'string' ? proof.window : { pastMs: proof.window.past, futureMs: proof.window.future },
      nonces,
      clock,
      proofBytesMax: limits.proof,
    }),
    nonces,
  });
}

function timeChecks(store: Store, observe: (seconds: number) => void): Store['check'] {
  return async (request) => {
    const startedMs = performance.now();
    try {
      return await store.check(request);
    } finally {
      observe((performance.now() - startedMs) / 1000);
    }
  };
}
