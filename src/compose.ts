/** The composition root: from a configuration to a running sidecar. The only place that builds adapters. */

import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { type Logger, pino } from 'pino';
import { splitAddress } from './address.ts';
import { createAdmin, readAdminToken } from './admin.ts';
import type { Configuration } from './config/load.ts';
import type { Config } from './config/schema.ts';
import { newDecisionId } from './decision-id.ts';
import { sendContinue } from './delivery.ts';
import type { Exchange } from './exchange.ts';
import { createForward } from './forward/forward.ts';
import { createHandle } from './handle.ts';
import { createKeySets } from './identify/key-sets.ts';
import { createOpaqueTokens } from './identify/opaque-tokens.ts';
import { type Closers, createClosers, runOnce } from './lifecycle.ts';
import { createListener } from './listener.ts';
import { createOpenExchange, createRefuseConnection } from './open.ts';
import { createRespond } from './own-answer.ts';
import { packageVersion } from './package-version.ts';
import { createReadiness } from './readiness.ts';
import { createReadSource } from './receive/source.ts';
import { isWebSocketHandshake } from './receive/web-socket.ts';
import { auditLine, revocationLine } from './record/audit-record.ts';
import { createMetrics } from './record/metrics.ts';
import { createRecent } from './record/recent.ts';
import { openSinks } from './record/sinks.ts';
import { createRefusal, createRefuse } from './refuse.ts';
import { createRevocationsApi } from './revocation/api.ts';
import { corsFields } from './route/cors.ts';
import { acceptedMethods } from './route/routes.ts';
import { createStages, type Life, type Parts } from './stages.ts';
import { createMemoryStore } from './store/memory.ts';
import type { Store } from './store/port.ts';
import { createRedisStore } from './store/redis.ts';
import { createEndsInMs } from './token-end.ts';
import { type Vetted, vetConfiguration } from './vet-configuration.ts';

const recentDecisionsMax = 1000;
const upstreamConnectionsMax = 256;
const upstreamWaitingMax = 4096;
const upstreamConnectMs = 5000;
const discardBytesMax = 1_048_576;
const discardMs = 2000;
const takeMs = 10_000;

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
  const opaqueTokens = createOpaqueTokens({
    issuers: config.issuers,
    keySets,
    clock,
    onFailure: ({ problem, error }) => {
      if (error !== undefined) logger.error({ err: error }, 'introspection: an unforeseen fault');
      logger.warn({ problem }, 'the issuer could not be asked about a token');
    },
  });
  if (opaqueTokens !== null) closers.add(opaqueTokens.close);
  const metrics = createMetrics({
    version: packageVersion,
    credentialAgesMs: () => known(vetted.secrets.names.map((name) => [name, vetted.secrets.ageMs(name)])),
    keySetAgesMs: () => known([...keySets.byIssuer].map(([issuer, keySet]) => [issuer, keySet.ageMs()])),
    isStoreUp: () =>
      store.ping().then(
        () => true,
        () => false,
      ),
    countRevocations: async () => (await store.revocations(clock()).catch(() => null))?.length ?? null,
  });
  const sinks = openSinks({
    sinks: config.audit.sinks,
    count: metrics.countAuditRecords,
    onFault: (sink, fault) => logger.error({ sink, err: fault }, 'an audit record could not be written'),
  });
  closers.add(sinks.close);
  return { config, clock, logger, vetted, store, keySets, opaqueTokens, metrics, sinks };
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
    accepts: acceptedMethods(config),
    discardBytesMax,
    discardMs,
    takeMs,
  };
  const sourceOf = createReadSource(config.listen.trustedProxies);
  const open = createOpenExchange({ clock, newId: newDecisionId, policyHash: vetted.ruleSet.hash, sourceOf });
  const endsInMs = createEndsInMs({ issuers: config.issuers, clock });
  const listener = createListener({
    listen: config.listen,
    limits: config.limits,
    handle: createHandle({
      open,
      ...createStages(parts, life),
      forward: ({ nextNonce, accessToken, ...passage }, incoming, response) =>
        forwarder.forward({
          ...passage,
          endsInMs: endsInMs(passage, accessToken),
          incoming,
          response,
          extraFields: [
            ...(nextNonce === null ? [] : ['dpop-nonce', nextNonce]),
            ...corsFields(passage.route, passage.request).flat(),
          ],
          beforeBody: passage.request.fields.has('expect') ? () => sendContinue(response) : undefined,
        }),
      respond: createRespond({ takeMs }),
      refuse: createRefuse({ ...refuseOptions, extraFields: corsFields }),
      record,
      onFault: (exchange, fault) => logger.error({ err: fault, decision: exchange.id }, 'internal error; refused'),
    }),
    refuseConnection: createRefuseConnection({ open, refusalFor: createRefusal(refuseOptions), record }),
    onFault: (fault) => logger.error({ err: fault }, 'the listener had a fault'),
    isHandshake: config.routes.some((route) => route.websocket) ? isWebSocketHandshake : undefined,
    onCut: () => keySets.close(),
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
    revocations: createRevocationsApi({
      store,
      clock,
      newId: newDecisionId,
      onChange: (action, entry) => sinks.write(revocationLine(action, entry, clock())),
    }),
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
  if (
    config.proof.nonce === 'required' &&
    config.proof.nonceSecretFile === undefined &&
    config.store.kind === 'redis'
  ) {
    logger.warn('without proof.nonceSecretFile each replica hands out nonces that the others do not take');
  }
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
      listener.releaseClients();
      await setTimeout(config.shutdown.delay);
      life.isDraining = true;
      await listener.drain(config.shutdown.deadline);
      await closers.closeAll();
    }),
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

function known(pairs: readonly (readonly [string, number | null])[]): readonly (readonly [string, number])[] {
  return pairs.flatMap(([name, value]) => (value === null ? [] : [[name, value] as const]));
}

function originOf(scheme: string, address: string, port: number): string {
  const { host } = splitAddress(address);
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `${scheme}://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}
