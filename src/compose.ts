/** The composition root: from a configuration to a running sidecar. The only place that builds adapters. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { type Logger, pino } from 'pino';
import { splitAddress } from './address.ts';
import { createAdmin, readAdminToken } from './admin.ts';
import { createMeasure } from './behaviour/meters.ts';
import type { Configuration } from './config/load.ts';
import type { Config } from './config/schema.ts';
import { createInject, injectedFieldNames } from './credential/inject.ts';
import { deny } from './decision.ts';
import { newDecisionId } from './decision-id.ts';
import type { Exchange } from './exchange.ts';
import { createForward } from './forward/forward.ts';
import { createHandle } from './handle.ts';
import { createVerifyAccessToken } from './identify/access-token.ts';
import { createIdentify } from './identify/identify.ts';
import { createKeySets, type KeySets } from './identify/key-sets.ts';
import { createNonces } from './identify/nonce.ts';
import { createVerifyProof } from './identify/proof.ts';
import { type Closers, createClosers, runOnce } from './lifecycle.ts';
import { createListener } from './listener.ts';
import { createOpenExchange, createRefuseConnection } from './open.ts';
import { packageVersion } from './package-version.ts';
import { createContextBuilder, withRates } from './policy/context.ts';
import { createDecide } from './policy/decide.ts';
import { createReadiness } from './readiness.ts';
import { createReadSource } from './receive/source.ts';
import { createVet } from './receive/vet.ts';
import { auditLine } from './record/audit-record.ts';
import { createMetrics, type Metrics } from './record/metrics.ts';
import { createRecent } from './record/recent.ts';
import { openSinks, type Sinks } from './record/sinks.ts';
import { createRefusal, createRefuse } from './refuse.ts';
import { createRevocationsApi } from './revocation/api.ts';
import { handlesOf } from './revocation/handles.ts';
import { createMatchRoute } from './route/match.ts';
import { createMemoryStore } from './store/memory.ts';
import type { Store } from './store/port.ts';
import { createRedisStore } from './store/redis.ts';
import { type Vetted, vetConfiguration } from './vet-configuration.ts';

const recentDecisionsMax = 1000;
const upstreamConnectionsMax = 256;
const upstreamWaitingMax = 4096;
const upstreamConnectMs = 5000;
const discardBytesMax = 1_048_576;
const discardMs = 2000;

export type ComposeOptions = {
  readonly configuration: Configuration;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
  readonly logger?: Logger;
};

export type Sidecar = {
  /** Where it listens, with 127.0.0.1 for the any address. */
  readonly origin: string;
  readonly adminOrigin: string;
  /** Fails readiness, waits as configured, lets live requests finish until the deadline, then closes everything. */
  readonly drain: () => Promise<void>;
  /** Closes everything at once. */
  readonly close: () => Promise<void>;
  /** Reads secrets again now instead of at the next poll. */
  readonly refreshSecrets: () => Promise<void>;
};

/** What the pieces below are made of. */
type Parts = {
  readonly config: Config;
  readonly clock: () => number;
  readonly logger: Logger;
  readonly vetted: Vetted;
  readonly store: Store;
  readonly keySets: KeySets;
  readonly metrics: Metrics;
  readonly sinks: Sinks;
};

/** Where the sidecar is in its life. */
type Life = { isShuttingDown: boolean; isDraining: boolean };

/** Starts a sidecar. Throws ConfigurationFault or Fault, and leaves nothing running, where it can't. */
export async function compose(options: ComposeOptions): Promise<Sidecar> {
  const { configuration, env, clock = Date.now } = options;
  const { config } = configuration;
  const logger = options.logger ?? pino({ name: 'postern', level: config.log.level }, pino.destination(2));
  const closers = createClosers((fault) => logger.warn({ err: fault }, 'something could not be closed'));
  const vetted = await vetConfiguration({
    configuration,
    env,
    clock,
    onSecretChange: ({ name, version, problem }) => {
      if (problem === null) logger.info({ credential: name, version }, 'secret read');
      else logger.error({ credential: name, problem }, 'secret lost; its routes answer 503 until it is back');
    },
  });
  closers.add(vetted.secrets.close);
  try {
    return await start(createParts(config, vetted, clock, logger, closers), closers);
  } catch (fault) {
    await closers.closeAll();
    throw fault;
  }
}

function createParts(config: Config, vetted: Vetted, clock: () => number, logger: Logger, closers: Closers): Parts {
  const store = createStore(config.store, clock, logger);
  closers.add(() => store.close());
  const keySets = createKeySets({
    issuers: config.issuers,
    clock,
    onChange: ({ issuer, outcome, problem, error }) => {
      if (error !== undefined) logger.error({ err: error, issuer }, 'issuer keys: an unforeseen fault');
      if (outcome === 'fetched') logger.info({ issuer }, 'issuer keys fetched');
      else logger.warn({ issuer, problem }, 'issuer keys could not be fetched');
    },
  });
  closers.add(() => keySets.close());
  const metrics = createMetrics({
    version: packageVersion,
    credentialAgesMs: () => known(vetted.secrets.names.map((name) => [name, vetted.secrets.ageMs(name)])),
    keySetAgesMs: () => known([...keySets.byIssuer].map(([issuer, keySet]) => [issuer, keySet.ageMs()])),
    countRevocations: async () => (await store.revocations(clock()).catch(() => null))?.length ?? null,
  });
  const sinks = openSinks({
    sinks: config.audit.sinks,
    count: metrics.countAuditRecords,
    onFault: (sink, fault) => logger.error({ sink, err: fault }, 'an audit record could not be written'),
  });
  closers.add(sinks.close);
  return { config, clock, logger, vetted, store, keySets, metrics, sinks };
}

async function start(parts: Parts, closers: Closers): Promise<Sidecar> {
  const { config, clock, logger, vetted, store, keySets, metrics, sinks } = parts;
  const life: Life = { isShuttingDown: false, isDraining: false };
  const recent = createRecent(recentDecisionsMax);
  const record = (exchange: Exchange) => {
    const line = auditLine(exchange);
    metrics.observe(exchange);
    recent.add(exchange.id, line);
    sinks.write(line);
  };
  const forwarder = createForward({
    routes: vetted.routes,
    publicOrigin: config.listen.publicOrigin,
    reasonHeader: config.reason.header,
    maxConnections: upstreamConnectionsMax,
    maxWaiting: upstreamWaitingMax,
    connectTimeoutMs: upstreamConnectMs,
  });
  closers.add(forwarder.close);
  const refuseOptions = {
    proofAlgorithms: config.proof.algorithms,
    accepts: config.proof.accept,
    discardBytesMax,
    discardMs,
  };
  const sourceOf = createReadSource(config.listen.trustedProxies);
  const open = createOpenExchange({ clock, newId: newDecisionId, policyHash: vetted.ruleSet.hash, sourceOf });
  const listener = createListener({
    listen: config.listen,
    limits: config.limits,
    handle: createHandle({
      open,
      ...createStages(parts, life),
      forward: ({ nextNonce, ...passage }, incoming, response) =>
        forwarder.forward({
          ...passage,
          incoming,
          response,
          extraFields: nextNonce === null ? [] : ['dpop-nonce', nextNonce],
          beforeBody: passage.request.fields.has('expect') ? () => response.writeContinue() : undefined,
        }),
      refuse: createRefuse(refuseOptions),
      record,
      onFault: (exchange, fault) => logger.error({ err: fault, decision: exchange.id }, 'internal error; refused'),
    }),
    refuseConnection: createRefuseConnection({ open, refusalFor: createRefusal(refuseOptions), record }),
  });
  const admin = createAdmin({
    token: config.admin.tokenFile === undefined ? null : readAdminToken(config.admin.tokenFile),
    readiness: createReadiness({
      isShuttingDown: () => life.isShuttingDown,
      isAuditHealthy: sinks.isHealthy,
      ping: () => store.ping(),
      keySets: keySets.byIssuer,
      secrets: vetted.secrets,
    }),
    metrics,
    revocations: createRevocationsApi({ store, clock, newId: newDecisionId }),
    findDecision: recent.find,
    onFault: (fault) => logger.error({ err: fault }, 'an admin request failed'),
  });
  // A store that is not there yet keeps nobody from starting: until it is, every request is refused.
  await store.ping().catch((fault: Error) => logger.error({ problem: fault.message }, 'the store does not answer'));
  const adminPort = await admin.start(config.admin.address);
  closers.add(admin.close);
  const port = await listener.start();
  closers.add(() => listener.drain(0));
  // The start need not wait: until there are keys, tokens of an issuer are answered with issuer_unavailable.
  void keySets.warm();
  logger.info({ port, adminPort, store: config.store.kind, policy: vetted.ruleSet.hash }, 'ready');
  if (config.store.kind === 'memory') {
    logger.warn('the memory store serves one process: revocations and counts are not shared, nor kept over a restart');
  }
  return {
    origin: originOf(config.listen.tls === undefined ? 'http' : 'https', config.listen.address, port),
    adminOrigin: originOf('http', config.admin.address, adminPort),
    refreshSecrets: vetted.secrets.refresh,
    close: runOnce(closers.closeAll),
    drain: runOnce(async () => {
      // Readiness fails first, so that traffic goes elsewhere before a single request is turned away.
      life.isShuttingDown = true;
      await setTimeout(config.shutdown.delay);
      life.isDraining = true;
      await listener.drain(config.shutdown.deadline);
      await closers.closeAll();
    }),
  };
}

/** The stages between arrival and forwarding. */
function createStages({ config, clock, logger, vetted, store, keySets, metrics, sinks }: Parts, life: Life) {
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
      protectedFields: [...injectedFieldNames(config.credentials), config.reason.header],
    }),
    matchRoute: createMatchRoute(vetted.routes),
    identify: createIdentifyStage(config, keySets, clock),
    readReason: vetted.readReason,
    createContext,
    measure: createMeasure(meters),
    handlesOf,
    check: timeChecks(store, metrics.observeStore),
    decide: (context: Context, { rates, route }: Exchange, fallsInMs: ReadonlyMap<string, number>) =>
      decide(withRates(context, rates ?? new Map()), { route: route?.name ?? '', fallsInMs }),
    inject: createInject({ credentials: config.credentials, secrets: vetted.secrets }),
  };
}

function createStore(config: Config['store'], clock: () => number, logger: Logger): Store {
  if (config.kind === 'memory' || config.url === undefined) return createMemoryStore({ clock });
  const password = config.passwordFile === undefined ? undefined : readFileSync(config.passwordFile, 'utf8').trim();
  return createRedisStore({
    url: config.url,
    password,
    prefix: config.prefix,
    timeoutMs: config.timeout,
    clock,
    logger,
  });
}

function createIdentifyStage({ proof, limits, listen, issuers }: Config, keySets: KeySets, clock: () => number) {
  const secret = proof.nonceSecretFile === undefined ? randomBytes(32) : readFileSync(proof.nonceSecretFile);
  const nonces = proof.nonce === 'required' ? createNonces({ secret, clock }) : null;
  return createIdentify({
    verifyAccessToken: createVerifyAccessToken({
      issuers: issuers.flatMap(({ issuer, algorithms, clockSkew }) => {
        const keySet = keySets.byIssuer.get(issuer);
        return keySet === undefined ? [] : [{ issuer, algorithms, clockSkewMs: clockSkew, keySet }];
      }),
      clock,
      tokenBytesMax: limits.token,
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

function timeChecks(store: Store, observe: (isUp: boolean, seconds: number) => void): Store['check'] {
  return async (request) => {
    const startedMs = performance.now();
    let isUp = false;
    try {
      const answer = await store.check(request);
      isUp = true;
      return answer;
    } finally {
      observe(isUp, (performance.now() - startedMs) / 1000);
    }
  };
}

function known(pairs: readonly (readonly [string, number | null])[]): readonly (readonly [string, number])[] {
  return pairs.flatMap(([name, value]) => (value === null ? [] : [[name, value] as const]));
}

function originOf(scheme: string, address: string, port: number): string {
  const { host } = splitAddress(address);
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `${scheme}://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}
