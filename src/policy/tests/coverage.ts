/** Which rules the cases have seen matching, and which not matching. A rule is covered that was seen doing both. */

import { resolve } from 'node:path';
import type { Decision } from '../../decision.ts';
import type { Problem } from '../../errors.ts';
import { readYaml, vetYaml } from '../../yaml-source.ts';
import type { Context } from '../context.ts';
import type { Rule } from '../rule-files.ts';
import { ruleFileSchema } from '../rule-schema.ts';

export type RuleCoverage = {
  readonly id: string;
  readonly file: string;
  readonly line: number;
  /** Cases that saw it match. */
  readonly matched: number;
  /** Cases that saw it not match. A failed evaluation is neither. */
  readonly unmatched: number;
};

type Seen = { -readonly [Key in keyof RuleCoverage]: RuleCoverage[Key] };

export type Coverage = {
  /** Rules that some test is about. */
  readonly add: (rules: readonly Rule[]) => void;
  readonly see: (
    rules: readonly Rule[],
    result: { readonly decision: Decision; readonly context: Context | null },
  ) => void;
  /** Reads rule files that no test is about; what is wrong with them is added to the problems. */
  readonly list: (problems: Problem[]) => Promise<readonly RuleCoverage[]>;
};

export function createCoverage(ruleFiles: readonly string[]): Coverage {
  const seen = new Map<string, Seen>();
  const keyOf = ({ place, id }: Pick<Rule, 'place' | 'id'>) => `${resolve(place.file)} ${id}`;
  return {
    add(rules) {
      for (const rule of rules) {
        const key = keyOf(rule);
        if (!seen.has(key)) seen.set(key, { id: rule.id, ...rule.place, matched: 0, unmatched: 0 });
      }
    },
    see(rules, { decision, context }) {
      // Where a value is beyond its bounds, or the request is refused before, no rule is evaluated.
      if (context === null || context.unfit !== null) return;
      const matches = new Map((decision.matches ?? []).map((match) => [match.id, match]));
      for (const rule of rules) {
        if (rule.routes !== null && !rule.routes.includes(context.route.name)) continue;
        const entry = seen.get(keyOf(rule));
        const match = matches.get(rule.id);
        if (entry === undefined) continue;
        if (match === undefined) entry.unmatched++;
        else if (!match.failed) entry.matched++;
      }
    },
    async list(problems) {
      const covered = new Set([...seen.values()].map(({ file }) => resolve(file)));
      const others: RuleCoverage[] = [];
      for (const file of ruleFiles.filter((path) => !covered.has(path))) {
        if (problems.some((problem) => resolve(problem.file) === file)) continue;
        const source = await readYaml(file);
        const vetted = 'value' in source ? vetYaml(source, ruleFileSchema) : source;
        if (!('value' in source) || !('value' in vetted)) {
          problems.push(...(vetted as readonly Problem[]));
          continue;
        }
        for (const [index, { id }] of vetted.value.rules.entries()) {
          const { line } = source.placeOf(['rules', index, 'id']);
          others.push({ id, file, line, matched: 0, unmatched: 0 });
        }
      }
      return [...seen.values(), ...others];
    },
  };
}

/** Of two sights a rule, those that were had. An empty list is wholly covered. */
export function percentOf(coverage: readonly RuleCoverage[]): number {
  if (coverage.length === 0) return 100;
  const had = coverage.reduce((sum, { matched, unmatched }) => sum + Math.sign(matched) + Math.sign(unmatched), 0);
  return (100 * had) / (2 * coverage.length);
}
