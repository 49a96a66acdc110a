/** Metrics of rules. A rule that is gone takes its series along, so that reloads without end don't pile them up. */

import { Counter, type Registry } from 'prom-client';
import type { RuleMatch } from '../decision.ts';

export type RuleMetrics = {
  readonly countMatches: (matches: readonly RuleMatch[]) => void;
  readonly countError: (rule: string) => void;
  /** Drops what was counted of all other rules. */
  readonly retain: (rules: ReadonlySet<string>) => Promise<void>;
};

export function createRuleMetrics(registry: Registry): RuleMetrics {
  const registers = [registry];
  const matched = new Counter({
    name: 'postern_rule_matches_total',
    help: 'Rules that matched, shadow rules included',
    labelNames: ['rule', 'effect', 'mode'],
    registers,
  });
  const failed = new Counter({
    name: 'postern_rule_errors_total',
    help: 'Rules whose evaluation failed; in an enforced rule each one denied a request',
    labelNames: ['rule'],
    registers,
  });
  return {
    countMatches(matches) {
      for (const { id, effect, mode, failed: hasFailed } of matches) {
        if (!hasFailed) matched.inc({ rule: id, effect, mode });
      }
    },
    countError: (rule) => failed.inc({ rule }),
    async retain(rules) {
      for (const counter of [matched, failed]) {
        for (const { labels } of (await counter.get()).values) {
          if (!rules.has(String(labels.rule))) counter.remove(labels);
        }
      }
    },
  };
}
