/** What is read again while a sidecar runs: configuration and rules, certificates, and what else files hold. */

import type { Logger } from 'pino';
import { type Answer, json, problem } from './admin-answer.ts';
import { lineOfProblem } from './errors.ts';
import type { Closers } from './lifecycle.ts';
import { reloadLine } from './record/audit-record.ts';
import type { Metrics } from './record/metrics.ts';
import type { Sinks } from './record/sinks.ts';
import { createReloader, type Policy, type Reloader, type ReloaderOptions, type Report } from './reload/reload.ts';
import { keptText } from './reload/settle.ts';
import { watchFiles } from './reload/watch.ts';
import type { Renewal } from './tls-files.ts';

/** A set of rules may have one for each rule. */
const problemsToldMax = 100;

/** What judges requests now; a reload replaces the policy. */
export type InForce = { policy: Policy; loadedAtMs: number; reloader: Reloader | null };

export type ReloadPartsOptions = Pick<ReloaderOptions, 'file' | 'env' | 'clock' | 'fingerprint' | 'adopt'> &
  Pick<ReloaderOptions, 'registry' | 'onSecretChange'> & {
    readonly inForce: InForce;
    readonly renewCertificates: () => Renewal;
    readonly refreshAgents: () => Promise<void>;
    readonly logger: Logger;
    readonly metrics: Pick<Metrics, 'countReload' | 'retainRules'>;
    readonly sinks: Pick<Sinks, 'write' | 'reopen'>;
    readonly closers: Closers;
  };

export type ReloadParts = {
  /** Reads everything again, and opens audit files again that were moved away. */
  readonly hangUp: () => Promise<void>;
  /** What the admin API says to somebody who wants it read again. */
  readonly answer: () => Promise<Answer>;
  /** What of the files is not in use; null where all of it is. */
  readonly note: () => string | null;
};

export function startReload(options: ReloadPartsOptions): ReloadParts {
  const { inForce, renewCertificates, refreshAgents, logger, sinks, closers } = options;
  // A signal has nobody to hear of it, nor has an event.
  const onFault = (fault: unknown) => logger.error({ err: fault }, 'an unforeseen fault in reading changed files');
  const ruleIds = () => inForce.policy.vetted.ruleSet.rules.map(({ id }) => id);
  let earlierIds = ruleIds();
  const reloader = createReloader({
    ...options,
    current: () => inForce.policy,
    onReport: (report) => {
      tell(report, options);
      if (report.outcome !== 'loaded') return;
      // Of the rules before as well: Prometheus may not have read yet what they last did.
      options.metrics.retainRules(new Set([...earlierIds, ...ruleIds()])).catch(onFault);
      earlierIds = ruleIds();
    },
  });
  inForce.reloader = reloader;
  const renew = createTellRenewal(options, renewCertificates);
  const { reload: settings, audit } = inForce.policy.config;
  if (settings.watch) {
    const { tls } = inForce.policy.config.listen;
    const certificateFiles = tls === undefined ? [] : [tls.certFile, tls.keyFile];
    closers.add(
      watchFiles({
        look: async () => {
          renew();
          await reloader.reload('watch');
          return reloader.folders(certificateFiles);
        },
        intervalMs: settings.interval,
        ignored: new Set(audit.sinks.flatMap((sink) => (sink === 'stdout' ? [] : [sink.file]))),
        onFault,
      }),
    );
  }
  return {
    async hangUp() {
      try {
        renew();
        const { secrets } = inForce.policy.vetted;
        await Promise.all([sinks.reopen(), secrets.refresh(), refreshAgents(), reloader.reload('signal')]);
      } catch (fault) {
        onFault(fault);
      }
    },
    async answer() {
      renew();
      return answerOf(await reloader.reload('admin'));
    },
    note() {
      const problems = reloader.problems();
      const [first] = problems ?? [];
      if (first !== undefined) {
        const others = (problems?.length ?? 0) - 1;
        const more = others === 0 ? '' : ` (and ${others} more)`;
        return `what the files hold was refused: ${lineOfProblem(first)}${more}`;
      }
      const kept = reloader.kept();
      return kept.length === 0 ? null : kept.map(keptText).join(', ');
    },
  };
}

function tell(report: Report, { logger, metrics, sinks, clock }: ReloadPartsOptions): void {
  const { trigger, outcome, policy, policyBefore, configuration, configurationBefore } = report;
  if (outcome === 'unchanged') {
    logger.info({ trigger, policy }, 'configuration and rules are those in use');
    return;
  }
  const problems = outcome === 'refused' ? report.problems.map(lineOfProblem) : [];
  const needsRestart = outcome === 'refused' ? [] : report.kept.map(({ key }) => key);
  metrics.countReload(outcome);
  const hashes = { policyBefore, policy, configurationBefore, configuration };
  sinks.write(reloadLine({ outcome, trigger, ...hashes, needsRestart, problems: problems.length }, clock()));
  if (outcome === 'refused') {
    const told = problems.slice(0, problemsToldMax);
    logger.error({ trigger, policy, problems: told }, 'configuration or rules were refused; the last good ones stay');
    return;
  }
  logger.info({ trigger, policy, policyBefore }, 'configuration and rules were loaded');
  for (const kept of report.kept) logger.warn({ key: kept.key }, keptText(kept));
}

function createTellRenewal({ logger, metrics }: ReloadPartsOptions, renew: () => Renewal): () => void {
  let told: string | null = null;
  return () => {
    const renewal = renew();
    const trouble = renewal.outcome === 'refused' ? renewal.problem : null;
    // Told once: a poll meets the same trouble again and again.
    const isNews = renewal.outcome === 'loaded' || (trouble !== null && trouble !== told);
    told = trouble;
    if (!isNews || renewal.outcome === 'unchanged') return;
    metrics.countReload(renewal.outcome);
    if (trouble === null) logger.info('new connections get the new certificate');
    else logger.error({ problem: trouble }, 'the certificate files are no good; the last good ones stay');
  };
}

function answerOf(report: Report): Answer {
  const { outcome, policy, policyBefore } = report;
  const common = { outcome, policy_before: policyBefore, policy };
  if (outcome !== 'refused') {
    const needsRestart = report.kept.map((kept) => ({ key: kept.key, detail: keptText(kept) }));
    return json(200, { ...common, needs_restart: needsRestart });
  }
  const detail = 'The last good configuration and rules stay in use.';
  return problem(422, 'Configuration refused', detail, { ...common, problems: report.problems });
}
