/** The composition root: from a configuration to a running sidecar. The only place that builds adapters. */

import type { Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { type Logger, pino } from 'pino';
import { originOf } from './address.ts';
import { createAdmin, createReadAdminToken } from './admin.ts';
import { createAgentAdmin, createAgentParts } from './agent-parts.ts';
import type { Configuration } from './config/load.ts';
import type { Config } from './config/schema.ts';
import { createDriftParts } from './drift-parts.ts';
import type { Exchange } from './exchange.ts';
import { closeLots, type Lots } from './forward/forward.ts';
import { createIssuerParts } from './issuer-parts.ts';
import { type Closers, createClosers, runOnce } from './lifecycle.ts';
import { createListener } from './listener.ts';
import { packageVersion } from './package-version.ts';
import { lintRules } from './policy/lints/lint.ts';
import { createReadiness } from './readiness.ts';
import { auditLine } from './record/audit-record.ts';
import { createMetrics } from './record/metrics.ts';
import { createRecent } from './record/recent.ts';
import { openSinks } from './record/sinks.ts';
import { fingerprintOf } from './reload/fingerprint.ts';
import { discard, type Policy } from './reload/reload.ts';
import { type InForce, type ReloadPartsOptions, startReload } from './reload-parts.ts';
import { createRevocationsApi } from './revocation/api.ts';
import { createContacts } from './revocation/signals/contacts.ts';
import { createRevocationParts } from './revocation-parts.ts';
import { canSelectUpgrades } from './route/routes.ts';
import { startSignals } from './signals.ts';
import { createSnapshot } from './snapshot.ts';
import { createLasting, type Life, type Parts } from './stages.ts';
import type { AgentStore } from './store/agent-port.ts';
import type { DriftStore } from './store/drift-port.ts';
import { createMemoryStore } from './store/memory.ts';
import { createMemoryAgents } from './store/memory-agents.ts';
import { createMemoryDrift } from './store/memory-drift.ts';
import type { Store } from './store/port.ts';
import { createRedisStore } from './store/redis.ts';
import { createRevocationSet } from './store/revocation-set.ts';
import { type VetOptions, type Vetted, vetConfiguration } from './vet-configuration.ts';

const recentDecisionsMax = 1000;
/** Over which postern_agents counts. */
const agentsCountedMs = 86_400_000;

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
  /** Where transmitters push security events to; null where none does. */
  readonly signalsOrigin: string | null;
  /** Fails readiness, waits as configured, lets live requests finish until the deadline, then closes everything. */
  readonly drain: () => Promise<void>;
  /** What SIGHUP asks for: reads all files again, and opens audit files again that were moved away. */
  readonly hangUp: () => Promise<void>;
  /** Closes everything at once. */
  readonly close: () => Promise<void>;
  /** Reads secrets again now instead of at the next poll. */
  readonly refreshSecrets: () => Promise<void>;
  /** Reads the registry of agents again, if it has changed, now instead of at the next poll. */
  readonly refreshAgents: () => Promise<void>;
};

type Stores = { readonly store: Store; readonly agentStore: AgentStore; readonly driftStore: DriftStore };
type ReloadSources = Pick<ReloadPartsOptions, 'file' | 'env' | 'fingerprint' | 'onSecretChange'>;

/** Starts a sidecar. Throws ConfigurationFault or Fault, and leaves nothing running, where it can't. */
export async function compose(options: ComposeOptions): Promise<Sidecar> {
  const { configuration, env, clock = Date.now } = options;
  const { config } = configuration;
  const logger = options.logger ?? pino({ name: 'postern', level: config.log.level }, pino.destination(2));
  const closers = createClosers((fault) => logger.warn({ err: fault }, 'something could not be closed'));
  const { file } = configuration;
  // Before the files are read: what changes from here on is found to be another set.
  const fingerprint = await fingerprintOf(file, config);
  const onSecretChange: VetOptions['onSecretChange'] = ({ name, version, problem }) => {
    if (problem === null) logger.info({ credential: name, version }, 'secret read');
    else logger.error({ credential: name, problem }, 'secret lost; its routes answer 503 until it is back');
  };
  const vetted = await vetConfiguration({ configuration, env, clock, onSecretChange });
  const inForce: InForce = { policy: { config, vetted }, loadedAtMs: clock(), reloader: null };
  closers.add(() => inForce.policy.vetted.secrets.close());
  try {
    const parts = createParts(inForce, clock, logger, closers);
    return await start(parts, inForce, { file, env, fingerprint, onSecretChange }, closers);
  } catch (fault) {
    await closers.closeAll();
    throw fault;
  }
}

function createParts(inForce: InForce, clock: () => number, logger: Logger, closers: Closers): Parts {
  const { config, vetted } = inForce.policy;
  const { store, agentStore, driftStore } = createStore(config.store, clock, logger);
  closers.add(() => store.close());
  const { issuers } = config;
  const issuerParts = createIssuerParts({
    issuers,
    clock,
    logger,
    onStatusListFetch: (...fetch) => metrics.countStatusListFetch(...fetch),
    closers,
  });
  const { keySets } = issuerParts;
  const transmitters = config.signals.transmitters.map(({ name }) => name);
  const contacts = createContacts(transmitters, clock);
  const metrics = createMetrics({
    version: packageVersion,
    issuers: issuers.map(({ issuer }) => issuer),
    signals: { transmitters, ...contacts },
    credentialAgesMs: () => {
      const { secrets } = inForce.policy.vetted;
      return known(secrets.names.map((name) => [name, secrets.ageMs(name)]));
    },
    keySetAgesMs: () => known([...keySets.byIssuer].map(([issuer, keySet]) => [issuer, keySet.ageMs()])),
    drift: {
      countAgents: () => drift.running()?.keeper.size() ?? 0,
      countLatched: () => drift.countLatched(),
      isStoreReached: () => drift.isStoreReached(),
    },
    isStoreUp: () =>
      store.ping().then(
        () => true,
        () => false,
      ),
    countRevocations: () => revocation.mirror.size(),
    mirrorAgeMs: () => revocation.mirror.ageMs(),
    reload: () => ({ loadedAtMs: inForce.loadedAtMs, isCurrent: (inForce.reloader?.problems() ?? null) === null }),
    isEnforcing: () => inForce.policy.config.enforcement === 'enforce',
    countAgents: () => agentStore.countSince(clock() - agentsCountedMs).catch(() => null),
  });
  const agents = createAgentParts({
    config: config.agents,
    vetted,
    store: agentStore,
    clock,
    logger,
    metrics,
    closers,
  });
  const sinks = openSinks({
    sinks: config.audit.sinks,
    count: metrics.countAuditRecords,
    onFault: (sink, fault) => logger.error({ sink, err: fault }, 'an audit record could not be written'),
  });
  closers.add(sinks.close);
  // The store has the bounds: what it has taken must find its place in the mirror.
  const entries = createRevocationSet(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  const revocation = createRevocationParts({ issuers, store, entries, clock, logger, metrics, sinks, closers });
  const documented = { has: (route: string) => inForce.policy.vetted.operations.has(route) };
  const driftOptions = { store: driftStore, clock, logger, metrics, sinks, documented, closers };
  const drift = createDriftParts({ config: config.drift, ...driftOptions });
  const parts = { config, clock, logger, store, revocation, agents, drift, ...issuerParts, contacts, metrics, sinks };
  return { ...parts, vetted, lasting: createLasting(parts) };
}

async function start(parts: Parts, inForce: InForce, sources: ReloadSources, closers: Closers): Promise<Sidecar> {
  const { config, clock, logger, vetted, store, keySets, drift, metrics, sinks } = parts;
  const life: Life = { isShuttingDown: false, isDraining: false };
  const recent = createRecent(recentDecisionsMax);
  const record = (exchange: Exchange) => {
    drift.stage.learn(exchange);
    const line = auditLine(exchange);
    metrics.observe(exchange);
    recent.add(exchange.id, line);
    sinks.write(line);
  };
  const lots: Lots = new Map();
  closers.add(() => closeLots(lots));
  const ending = new WeakSet<Socket>();
  const snapshotOf = (policy: Policy) =>
    createSnapshot({ parts: { ...parts, ...policy }, life, record, findDecision: recent.find, lots, ending });
  let snapshot = snapshotOf(inForce.policy);
  const listener = createListener({
    listen: config.listen,
    limits: config.limits,
    // One look at the snapshot a request: what begins under one set is judged by it to its end.
    handle: (incoming, response) => snapshot.handle(incoming, response),
    refuseConnection: (socket, deny) => snapshot.refuseConnection(socket, deny),
    onFault: (fault) => logger.error({ err: fault }, 'the listener had a fault'),
    isHandshake: canSelectUpgrades ? (incoming) => snapshot.isHandshake(incoming) : undefined,
    onCut: () => keySets.close(),
  });
  const reload = startReload({
    ...parts,
    ...sources,
    inForce,
    adopt: (policy) => {
      const before = { policy: inForce.policy, snapshot };
      snapshot = snapshotOf(policy);
      inForce.policy = policy;
      inForce.loadedAtMs = clock();
      before.snapshot.retire();
      discard(before.policy, policy);
      const { level } = policy.config.log;
      if (level !== before.policy.config.log.level) logger.level = level;
      warnOfShadow(policy.config, logger);
      warnOfRules(policy.vetted, logger);
    },
    registry: parts.agents.registry.current,
    renewCertificates: listener.renewCertificates,
    refreshAgents: parts.agents.registry.refresh,
    closers,
  });
  const agentAdmin = createAgentAdmin({ ...parts, baseline: drift.answerBaseline });
  const admin = createAdmin({
    readToken: config.admin.tokenFile === undefined ? () => null : createReadAdminToken(config.admin.tokenFile),
    readiness: createReadiness({
      isShuttingDown: () => life.isShuttingDown,
      isAuditHealthy: sinks.isHealthy,
      ping: () => store.ping(),
      mirrorAgeMs: parts.revocation.mirror.ageMs,
      mirrorAgeMaxMs: config.revocation.mirrorMaxAge,
      keySets: keySets.byIssuer,
      introspectionOutage: () => parts.opaqueTokens?.outage() ?? null,
      reloadNote: reload.note,
      get secrets() {
        return inForce.policy.vetted.secrets;
      },
    }),
    metrics,
    revocations: createRevocationsApi(parts.revocation.revocations, agentAdmin.preview),
    agents: agentAdmin.answer,
    findDecision: recent.find,
    explain: (body) => snapshot.explain(body),
    reload: reload.answer,
    onFault: (fault) => logger.error({ err: fault }, 'an admin request failed'),
  });
  // A store that is not there yet keeps nobody from starting: until it is, every request is refused.
  await store.ping().catch((fault: Error) => logger.error({ problem: fault.message }, 'the store does not answer'));
  await parts.revocation.mirror.start();
  await drift.start();
  const adminPort = await admin.start(config.admin.address);
  closers.add(admin.close);
  const signalsOrigin = await startSignals({ ...parts, closers });
  const port = await listener.start();
  closers.add(() => listener.drain(0));
  // The start need not wait: until there are keys, tokens of an issuer are answered with issuer_unavailable.
  void keySets.warm();
  logger.info({ port, adminPort, store: config.store.kind, policy: vetted.ruleSet.hash }, 'listening');
  if (
    config.proof.nonce === 'required' &&
    config.proof.nonceSecretFile === undefined &&
    config.store.kind === 'redis'
  ) {
    logger.warn('without proof.nonceSecretFile each replica hands out nonces that the others do not take');
  }
  warnOfShadow(config, logger);
  warnOfRules(vetted, logger);
  if (config.store.kind === 'memory') {
    logger.warn('the memory store serves one process: revocations and counts are not shared, nor kept over a restart');
  }
  return {
    origin: originOf(config.listen.tls === undefined ? 'http' : 'https', config.listen.address, port),
    adminOrigin: originOf('http', config.admin.address, adminPort),
    signalsOrigin,
    refreshSecrets: () => inForce.policy.vetted.secrets.refresh(),
    refreshAgents: parts.agents.registry.refresh,
    hangUp: reload.hangUp,
    close: runOnce(closers.closeAll),
    drain: runOnce(async () => {
      // Readiness fails first, so that traffic goes elsewhere before a single request is turned away.
      life.isShuttingDown = true;
      logger.info('asked to stop: readiness fails from now on, live requests may finish');
      listener.releaseClients();
      const { shutdown } = inForce.policy.config;
      await setTimeout(shutdown.delay);
      life.isDraining = true;
      await listener.drain(shutdown.deadline);
      await closers.closeAll();
      logger.info('stopped');
    }),
  };
}

function warnOfShadow({ enforcement }: Config, logger: Logger): void {
  if (enforcement !== 'shadow') return;
  logger.warn('no rule is enforced (enforcement: shadow): every caller with a good token and proof passes');
}

/** What postern check shows, without the lines. */
function warnOfRules(vetted: Vetted, logger: Logger): void {
  for (const { lint, rule, message } of lintRules(vetted)) {
    logger.warn({ lint, rule: rule.id, ...rule.place }, `a rule ${message}`);
  }
}

function createStore(config: Config['store'], clock: () => number, logger: Logger): Stores {
  if (config.kind === 'memory') {
    const { maxRevocations } = config;
    return {
      store: createMemoryStore({ clock, maxRevocations }),
      agentStore: createMemoryAgents(),
      driftStore: createMemoryDrift(),
    };
  }
  const store = createRedisStore({ ...config, timeoutMs: config.timeout, clock, logger });
  return { store, agentStore: store.agents, driftStore: store.drift };
}

function known(pairs: readonly (readonly [string, number | null])[]): readonly (readonly [string, number])[] {
  return pairs.flatMap(([name, value]) => (value === null ? [] : [[name, value] as const]));
}
