/** The stages between arrival and forwarding, made from a vetted configuration. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import type { AgentParts } from './agent-parts.ts';
import { createTakeSlot } from './agent-slots.ts';
import { createDescribeAgent, createRefuseAgent } from './agents/describe.ts';
import { createNameOperation } from './behaviour/actions/operation.ts';
import { createMeasure, readsBody } from './behaviour/meters.ts';
import type { Config } from './config/schema.ts';
import { createInject, injectedFieldNames } from './credential/inject.ts';
import { deny } from './decision.ts';
import type { DriftParts } from './drift-parts.ts';
import type { ClientRequest, Exchange, HeldBody, Identity, Route, RuleInputs } from './exchange.ts';
import { type BodyPlan, createHoldBody, createPlanBody } from './hold-body.ts';
import { createVerifyAccessToken } from './identify/access-token.ts';
import { dialectOf } from './identify/dialects.ts';
import { createIdentify, type Identify } from './identify/identify.ts';
import { createNonces } from './identify/nonce.ts';
import { createVerifyProof } from './identify/proof.ts';
import type { IssuerParts } from './issuer-parts.ts';
import { createReadAllInputs } from './policy/all-inputs.ts';
import { type Context, createContextBuilder, withRates } from './policy/context.ts';
import { createDecide } from './policy/decide.ts';
import { driftRecordOf } from './policy/drift-record.ts';
import { createReadInputs } from './policy/inputs.ts';
import { createRateLimitFields } from './policy/quotas.ts';
import type { RuleSet } from './policy/rule-files.ts';
import { createVet } from './receive/vet.ts';
import type { Metrics } from './record/metrics.ts';
import type { Sinks } from './record/sinks.ts';
import { handlesOf } from './revocation/handles.ts';
import type { Contacts } from './revocation/signals/contacts.ts';
import type { RevocationParts } from './revocation-parts.ts';
import { createAnswerPreflight } from './route/cors.ts';
import { createMatchRoute } from './route/match.ts';
import { createAnswerMetadata } from './route/resource-metadata.ts';
import type { Store } from './store/port.ts';
import type { Vetted } from './vet-configuration.ts';

/** What the pieces below are made of. A reload puts another configuration in it, and what its verification made. */
export type Parts = IssuerParts & {
  readonly config: Config;
  readonly clock: () => number;
  readonly logger: Logger;
  readonly vetted: Vetted;
  readonly lasting: Lasting;
  readonly store: Store;
  readonly revocation: RevocationParts;
  readonly agents: AgentParts;
  readonly drift: DriftParts;
  readonly contacts: Contacts;
  readonly metrics: Metrics;
  readonly sinks: Sinks;
};

/** What stages remember of earlier requests, and go on remembering when rules and configuration are reloaded. */
export type Lasting = {
  /** With the tokens that it has verified and the nonces that it has handed out. */
  readonly identify: Identify;
  readonly slots: Map<string, number>;
  readonly bodyRoom: { bytesTaken: number };
};

/** Of sections that need a restart. */
export function createLasting(parts: Omit<Parts, 'lasting' | 'vetted'>): Lasting {
  return { identify: createIdentifyStage(parts), slots: new Map(), bodyRoom: { bytesTaken: 0 } };
}

/** Where the sidecar is in its life. */
export type Life = { isShuttingDown: boolean; isDraining: boolean };

/** The stages between arrival and forwarding. What they are to remember over a reload is in `parts.lasting`. */
export function createStages(parts: Parts, life: Life) {
  const { config, clock, logger, vetted, store, revocation, metrics, sinks, drift, lasting } = parts;
  const { ruleSet, meters } = vetted;
  const createContext = createContextBuilder({
    reads: new Set([...ruleSet.reads, ...meters.flatMap(({ by, cost }) => [...by.reads, ...cost.reads])]),
    revocationAgeMs: revocation.mirror.ageMs,
  });
  const decide = createDecide({
    ruleSet,
    enforcement: config.enforcement,
    onRuleError: (rule) => {
      metrics.countRuleError(rule);
      logger.warn({ rule }, 'a rule could not be evaluated');
    },
  });
  const readsTop = ruleSet.reads.has('drift.top');
  const { stage } = drift;
  const readInputs = createRecordedInputs(config.audit.inputs, ruleSet);
  // Where no rule is enforced, none grants anything.
  const rules = config.enforcement === 'enforce' ? ruleSet.rules : [];
  const rateLimitFields = createRateLimitFields({ ruleSet: { rules }, meters });
  const nameOperation = createNameOperation(vetted.operations);
  const refuseAgent = createRefuseAgent(config.agents.refuse);
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
    identify: lasting.identify,
    describeAgent: createDescribeStage(parts),
    nameOperation: (request: ClientRequest, route: Route, heldBody: HeldBody | null) =>
      nameOperation(request, route, heldBody?.mcp ?? null),
    takeSlot: createTakeSlot(config.limits.agentConcurrency, lasting.slots),
    planBody: createPlanBody(config.limits),
    readReason: ({ request, identity, heldBody }: Exchange, plan: BodyPlan | null) =>
      vetted.readReason({
        signed: identity?.signedReason,
        fields: request?.fields ?? new Map(),
        json: heldBody?.json,
        isBodyAwaited: heldBody === null && plan?.isJson === true,
      }),
    createContext,
    countsBodies: meters.some(readsBody),
    measure: createMeasure(meters),
    watch: ({ agent }: Exchange, { accessToken, possession }: Identity) =>
      revocation.live.watch(handlesOf(accessToken, possession, agent?.owners ?? []), accessToken.issuedAtMs),
    check: createCheckStage(store, revocation.mirror.knownAt, metrics.observeStore),
    recall: config.drift.enabled ? stage.recall : () => null,
    judgeBehaviour: config.drift.enabled ? stage.judge : () => {},
    readAlong: stage.readAlong,
    holdBody: createHoldBody(config.limits, lasting.bodyRoom),
    decide: (context: Context, exchange: Exchange, fallsInMs: ReadonlyMap<string, number>) => {
      const { agent } = exchange;
      const route = exchange.route?.name ?? '';
      const rates = exchange.rates ?? new Map<string, number>();
      const counted = withRates(context, rates, driftRecordOf(exchange.drift, readsTop));
      if (readInputs !== null) exchange.inputs = readInputs(counted, exchange);
      exchange.rateLimitFields = rateLimitFields(counted, { route, rates, fallsInMs });
      return refuseAgent(agent) ?? decide(counted, { route, fallsInMs });
    },
    inject: createInject({ credentials: config.credentials, secrets: vetted.secrets }),
  };
}

/** What records are to hold of what rules read; null for nothing. */
function createRecordedInputs(
  inputs: Config['audit']['inputs'],
  { rules }: RuleSet,
): ((context: Context, exchange: Exchange) => RuleInputs) | null {
  if (inputs === 'off') return null;
  return inputs === 'all' ? createReadAllInputs() : createReadInputs(rules.map((rule) => rule.when));
}

function createAnswerItself({ config, vetted }: Parts) {
  const answerMetadata = createAnswerMetadata(config, vetted.routes);
  const answerPreflight = createAnswerPreflight(vetted.routes, config.reason.header);
  return (request: ClientRequest) => answerPreflight(request) ?? answerMetadata(request);
}

function createDescribeStage({ config, agents }: Parts) {
  const describe = createDescribeAgent({ registry: agents.registry.current, claims: config.agents.claims });
  return ({ arrivedAtMs }: Exchange, { accessToken, possession }: Identity) => {
    const agent = describe(accessToken, arrivedAtMs);
    const handles = handlesOf(accessToken, possession, agent.owners);
    agents.seen.note({ accessToken, possession, agent, handles }, arrivedAtMs);
    return agent;
  };
}

function createIdentifyStage({
  config,
  keySets,
  opaqueTokens,
  statusLists,
  clock,
}: Omit<Parts, 'lasting' | 'vetted'>): Identify {
  const { proof, limits, listen, issuers } = config;
  const secret = proof.nonceSecretFile === undefined ? randomBytes(32) : readFileSync(proof.nonceSecretFile);
  const nonces = proof.nonce === 'required' ? createNonces({ secret, clock }) : null;
  return createIdentify({
    verifyAccessToken: createVerifyAccessToken({
      issuers: issuers.flatMap(
        ({ issuer, algorithms, clockSkew: clockSkewMs, tokenMaxLifetime: lifetimeMaxMs, dialect }) => {
          const keySet = keySets.byIssuer.get(issuer);
          return keySet === undefined
            ? []
            : [{ issuer, algorithms, clockSkewMs, lifetimeMaxMs, keySet, dialect: dialectOf(dialect) }];
        },
      ),
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
    checkStatus: statusLists.check,
  });
}

/** Whoever asks has just seen that the mirror has none of the handles, so the store need not look where that is as new. */
function createCheckStage(
  store: Store,
  knownAt: RevocationParts['mirror']['knownAt'],
  observe: (seconds: number) => void,
): Store['check'] {
  return async (request) => {
    const startedMs = performance.now();
    try {
      return await store.check({ ...request, knownAt: knownAt() });
    } finally {
      observe((performance.now() - startedMs) / 1000);
    }
  };
}
