/**
 * What is wrong with rules that are good enough to run: those that do nothing, and those that let too much pass. It could
 * all be meant, so these are warnings. Nothing here says what is not so; what it cannot tell, it passes over.
 */

import type { Effect } from '../../decision.ts';
import type { Rule, RuleSet } from '../rule-files.ts';
import { type Condition, negated } from './condition.ts';
import { isFeasible } from './feasible.ts';

/** What can be found, by its stable name. */
export const lints = [
  'never-matches',
  'method-never-routed',
  'always-refuses',
  'no-effect',
  'same-condition',
  'open-write',
] as const;

export type Finding = {
  readonly lint: (typeof lints)[number];
  readonly rule: Rule;
  readonly message: string;
  readonly hint: string;
};

type RoutedMethods = { readonly name: string; readonly methods: readonly string[] };
type Options = { readonly ruleSet: Pick<RuleSet, 'rules'>; readonly routes: readonly RoutedMethods[] };

const writes: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);
/** Variables that tell one caller, or one moment, from another. */
const telling: ReadonlySet<string> = new Set([
  ...['token', 'jwt', 'agent', 'subject', 'act', 'pop', 'connection', 'source', 'rate', 'drift'],
]);
/** Which effect beats which. */
const rank: Readonly<Record<Effect, number>> = { deny: 3, challenge: 2, throttle: 1, allow: 0 };

/** A rule with what every lint asks about it. */
type Looked = {
  readonly rule: Rule;
  /** Among all rules. */
  readonly order: number;
  /** What it asks, without the blanks that don't matter. */
  readonly asked: string;
  readonly condition: Condition;
  /** Routes that it is for, and of these the ones on which it can match. */
  readonly routes: readonly RoutedMethods[];
  readonly matching: readonly RoutedMethods[];
};

/** In the order of the rules, at most one finding each: the first says why the others hardly matter. */
export function lintRules({ ruleSet, routes }: Options): readonly Finding[] {
  const looked = ruleSet.rules.map((rule, order) => look(rule, order, routes));
  // What is rehearsed has no effect yet, so it neither shadows a rule nor narrows one.
  const enforced = looked.filter(({ rule }) => rule.mode === 'enforce');
  const unconditional = enforced.filter(({ condition }) => !isFeasible([negated(condition)]));
  return looked.flatMap((one) => {
    const found =
      neverMatches(one) ??
      (one.rule.mode === 'shadow'
        ? null
        : (alwaysRefuses(one, unconditional) ??
          noEffect(one, unconditional) ??
          sameCondition(one, enforced) ??
          openWrite(one, enforced)));
    return found === null ? [] : [{ rule: one.rule, ...found }];
  });
}

type Found = Omit<Finding, 'rule'>;

function look(rule: Rule, order: number, all: readonly RoutedMethods[]): Looked {
  const condition = rule.when.condition();
  const routes = rule.routes === null ? all : all.filter(({ name }) => rule.routes?.includes(name));
  return {
    rule,
    order,
    asked: rule.when.outline().source,
    condition,
    routes,
    matching: routes.filter((route) => matches(condition, route, route.methods)),
  };
}

/** Whether it can match on the route, with one of these methods. */
function matches(condition: Condition, { name }: RoutedMethods, methods: readonly string[]): boolean {
  return isFeasible([isOneOf('request.method', methods), isOneOf('route.name', [name]), condition]);
}

function isOneOf(source: string, values: readonly string[]): Condition {
  return {
    kind: 'test',
    source: `${source} in ${JSON.stringify(values)}`,
    holds: true,
    about: { source, meaning: { kind: 'oneOf', values } },
  };
}

function neverMatches({ condition, matching, routes }: Looked): Found | null {
  if (matching.length > 0) return null;
  if (!isFeasible([condition])) {
    return {
      lint: 'never-matches',
      message: 'can never match: no request meets its condition',
      hint: 'parts of it contradict each other',
    };
  }
  const methods = [...new Set(routes.flatMap((route) => route.methods))];
  return {
    lint: 'method-never-routed',
    message: 'can never match on its routes: what it asks for is never routed there',
    hint: `methods of ${namesOf(routes)}: ${methods.join(', ')}`,
  };
}

/** Only where it is for all calls of a route; a deny under a condition is what rules are for. */
function alwaysRefuses(one: Looked, unconditional: readonly Looked[]): Found | null {
  const { rule, routes } = one;
  if (rule.effect === 'allow' || !unconditional.includes(one) || noEffect(one, unconditional) !== null) return null;
  return {
    lint: 'always-refuses',
    message: `always matches, so that every call of ${namesOf(routes)} ends in ${rule.effect}`,
    hint: 'say in the condition which calls are meant',
  };
}

function noEffect(one: Looked, unconditional: readonly Looked[]): Found | null {
  const stronger = unconditional.find((other) => {
    if (!covers(other, one.matching)) return false;
    return rank[other.rule.effect] > rank[one.rule.effect] || isBefore(other, one);
  });
  if (stronger === undefined) return null;
  return {
    lint: 'no-effect',
    message: `has no effect: ${stronger.rule.id} (${placeOf(stronger.rule)}) always matches on its routes`,
    hint: `its effect ${stronger.rule.effect} goes first`,
  };
}

/** Of the same effect, the first in file order decides. */
function isBefore(other: Looked, one: Looked): boolean {
  return other.rule.effect === one.rule.effect && other.order < one.order;
}

function sameCondition(one: Looked, enforced: readonly Looked[]): Found | null {
  const earlier = enforced.find(
    (other) => isBefore(other, one) && covers(other, one.matching) && other.asked === one.asked,
  );
  if (earlier === undefined) return null;
  return {
    lint: 'same-condition',
    message: `asks just what ${earlier.rule.id} (${placeOf(earlier.rule)}) asks, with the same effect`,
    hint: 'one of the two is enough',
  };
}

/** An allow for a method that changes something, which neither asks who calls nor is narrowed by any other rule. */
function openWrite({ rule, condition, matching }: Looked, enforced: readonly Looked[]): Found | null {
  if (rule.effect !== 'allow' || [...rule.when.reads].some((path) => telling.has(path.split('.')[0] ?? '')))
    return null;
  const open = matching.flatMap((route) =>
    route.methods
      .filter((name) => writes.has(name) && matches(condition, route, [name]))
      .filter((name) => !enforced.some((other) => narrows(other, condition, route, name)))
      .map((name) => `${name} on ${route.name}`),
  );
  if (open.length === 0) return null;
  const shown = open.slice(0, 4).join(', ') + (open.length > 4 ? ' …' : '');
  return {
    lint: 'open-write',
    message: `allows ${shown} to every caller: nothing asks about token, agent or rate, and no rule narrows it`,
    hint: 'ask for a scope, such as "orders:write" in token.scopes',
  };
}

function narrows(other: Looked, allowed: Condition, route: RoutedMethods, method: string): boolean {
  if (other.rule.effect === 'allow' || !other.matching.includes(route)) return false;
  return matches({ kind: 'all', parts: [allowed, other.condition] }, route, [method]);
}

function covers({ routes }: Looked, wanted: readonly RoutedMethods[]): boolean {
  return wanted.every((route) => routes.includes(route));
}

const placeOf = ({ place }: Rule) => `${place.file}:${place.line}`;

function namesOf(routes: readonly RoutedMethods[]): string {
  return routes.length === 1 ? `route ${routes[0]?.name}` : `routes ${routes.map(({ name }) => name).join(', ')}`;
}
