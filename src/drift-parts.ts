/** What a sidecar makes of behaviour: the model with its secret, the agents in memory, and what shares both. */

import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { type AnswerBaseline, createAnswerBaseline } from './admin-baseline.ts';
import { formatVersion } from './behaviour/drift/codec.ts';
import { defaultSettings, settle } from './behaviour/drift/drift.ts';
import { createEngine, obtainSecret } from './behaviour/drift/engine.ts';
import { createKeeper } from './behaviour/drift/keeper.ts';
import { wake } from './behaviour/drift/kept-agent.ts';
import { createKeyedHash } from './behaviour/drift/keyed-hash.ts';
import { createOperate } from './behaviour/drift/operate.ts';
import { createDriftStage, type DriftStage, type Running } from './behaviour/drift/stage.ts';
import { createTelling } from './behaviour/drift/telling.ts';
import type { Config } from './config/schema.ts';
import { StoreFault } from './errors.ts';
import type { Closers } from './lifecycle.ts';
import { baselineLine } from './record/audit-record.ts';
import type { Metrics } from './record/metrics.ts';
import type { Sinks } from './record/sinks.ts';
import type { DriftStore } from './store/drift-port.ts';

/** What all agents share changes slowly. */
const shareMs = 10_000;

export type DriftParts = {
  readonly stage: DriftStage;
  /** Null while behaviour is not judged: where it is off, or the secret cannot be had. */
  readonly running: () => Running | null;
  readonly isStoreReached: () => boolean;
  /** Of the agents in memory. */
  readonly countLatched: () => number;
  readonly answerBaseline: AnswerBaseline;
  /** Gets ready to judge, where the store answers; else that happens as soon as it does. Never rejects. */
  readonly start: () => Promise<void>;
};

export type DriftPartsOptions = {
  readonly config: Config['drift'];
  readonly store: DriftStore;
  readonly clock: () => number;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'observeDrift' | 'countDriftLost'>;
  readonly sinks: Pick<Sinks, 'write'>;
  /** Routes whose operations an OpenAPI document names, as they are now. */
  readonly documented: Pick<ReadonlySet<string>, 'has'>;
  readonly closers: Closers;
};

export function createDriftParts(options: DriftPartsOptions): DriftParts {
  const { config, store, clock, logger, metrics, sinks, documented, closers } = options;
  let running: Running | null = null;
  let isReached = true;
  let sharedMs = Number.NEGATIVE_INFINITY;
  let lostInRound = 0;
  let isLosing = false;

  function onStore(fault: unknown): void {
    const wasReached = isReached;
    isReached = fault === null;
    if (fault === null || !wasReached) return;
    if (fault instanceof StoreFault) {
      logger.warn({ problem: fault.message }, 'what agents do is not shared until the store is back');
    } else logger.error({ err: fault }, 'an unforeseen fault in sharing what agents do');
  }

  function onLost(): void {
    metrics.countDriftLost();
    lostInRound++;
    // Said once, until a round has passed without.
    if (isLosing) return;
    isLosing = true;
    logger.warn('agents come faster than the store takes what they did: what was last learned of some is lost');
  }

  async function begin(): Promise<void> {
    const { secretFile, warmUp, alarm, destinationFields, agentsInMemory } = config;
    const secret = secretFile === undefined ? await obtainSecret(store) : readFileSync(secretFile);
    const engine = createEngine({
      secret,
      settings: {
        readySamples: warmUp.requests,
        readyAfterMs: warmUp.time,
        discountScore: defaultSettings.discountScore,
        alarmScore: alarm.score,
        alarmsMax: alarm.latch,
      },
      sessionsMax: 2 * agentsInMemory,
      fields: destinationFields,
      documented,
    });
    const keeper = createKeeper({
      store,
      clock,
      agentsMax: agentsInMemory,
      flushMs: config.flushInterval,
      snapshotDays: config.snapshotDays,
      nameOf: engine.nameOf,
      settle: (agent) => settle(agent, engine.fleet),
      onLost,
      onStore,
    });
    const telling = createTelling({
      store,
      channel: `told:${formatVersion}.${engine.fingerprint}`,
      clock,
      engine,
      keeper,
      onUnheard,
      onFault: onTellingFault,
    });
    running = { engine, keeper, telling, hashSession: createKeyedHash(secret, 'session') };
  }

  function onUnheard(fault: Error | null): void {
    if (fault === null) logger.info('what other replicas judge is heard');
    else logger.warn({ problem: fault.message }, 'what other replicas judge is not heard');
  }

  const onTellingFault = (fault: unknown) => logger.error({ err: fault }, 'another replica could not be understood');

  async function work(): Promise<void> {
    if (running === null) await begin();
    if (running === null) return;
    const { engine, keeper } = running;
    await keeper.flush();
    isLosing = lostInRound > 0;
    lostInRound = 0;
    if (performance.now() - sharedMs < shareMs && !engine.wantsShare()) return;
    sharedMs = performance.now();
    await engine.share(store);
    onStore(null);
  }

  const quietly = () => work().catch(onStore);
  let timer: NodeJS.Timeout | null = null;

  async function close(): Promise<void> {
    if (timer !== null) clearInterval(timer);
    if (running === null) return;
    const { engine, keeper, telling } = running;
    telling.close();
    for (const kept of keeper.agents()) {
      if (kept.agent.batch.length === 0) continue;
      settle(wake(kept), engine.fleet);
      kept.isDirty = true;
    }
    // One round may be under way, which has not seen all of this.
    await keeper.flush();
    await keeper.flush();
    await engine.share(store).catch(onStore);
    await engine.share(store).catch(onStore);
  }

  return {
    stage: createDriftStage({
      running: () => running,
      clock,
      session: { by: config.session, header: config.sessionHeader },
      responses: config.responses,
      observe: metrics.observeDrift,
      onLatched: (agent, nowMs) => {
        logger.warn({ agent }, 'an agent is latched: nothing more is learned of it until a person has spoken');
        sinks.write(baselineLine({ action: 'latched', agent, author: 'postern', reason: null }, nowMs));
      },
      onFault: (fault) => logger.error({ err: fault }, 'behaviour could not be judged'),
    }),
    running: () => running,
    answerBaseline: createAnswerBaseline({
      operate: () => (running === null ? null : createOperate({ ...config, running, store, clock })),
      isEnabled: config.enabled,
      record: (change) => sinks.write(baselineLine(change, clock())),
    }),
    isStoreReached: () => isReached,
    countLatched() {
      let count = 0;
      for (const { agent } of running?.keeper.agents() ?? []) if (agent.view.standing === 'latched') count++;
      return count;
    },
    async start() {
      if (!config.enabled) return;
      await quietly();
      timer = setInterval(quietly, config.flushInterval);
      timer.unref();
      closers.add(close);
    },
  };
}
