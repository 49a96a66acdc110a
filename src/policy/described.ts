/** A context of what somebody describes, in the words of rule tests. */

import { type Deny, isDeny } from '../decision.ts';
import { type Context, createContextBuilder, withRates } from './context.ts';
import type { Rule, RuleSet } from './rule-files.ts';
import { createRouteOf } from './tests/routes.ts';
import { buildExchange, type SituationOptions, withGiven } from './tests/situation.ts';
import type { Given } from './tests/test-schema.ts';

export type DescribeOptions = Omit<SituationOptions, 'routeOf'> & {
  /** The route that a configuration has for a request; null where there is no configuration. */
  readonly matchRoute: SituationOptions['routeOf'] | null;
  readonly ruleSet: { readonly rules: readonly Rule[]; readonly reads: RuleSet['reads'] };
  readonly meters: readonly string[];
  /** Null where every name is a route. */
  readonly routes: readonly string[] | null;
};

/** Made once for a rule set. A Deny where the request would be refused before any rule is asked. */
export function createDescribe(options: DescribeOptions): (given: Given) => Context | Deny {
  const { ruleSet, meters, routes, matchRoute } = options;
  const createContext = createContextBuilder({ reads: ruleSet.reads });
  const routeOf = matchRoute ?? createRouteOf(routes, ruleSet.rules);
  return (given) => {
    const exchange = buildExchange(given, { ...options, routeOf });
    if (isDeny(exchange)) return exchange;
    // Every meter has counted this call, and no other, where nothing else is given.
    const rate = (given.rate ?? {}) as Readonly<Record<string, number>>;
    const rates = new Map(meters.map((meter) => [meter, rate[meter] ?? 1]));
    return withGiven(withRates(createContext(exchange), rates), given);
  };
}
