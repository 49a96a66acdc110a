/** Rule files: loader, compiler and guard, and what the rules that they let through do to requests. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Decision } from '../../src/decision.ts';
import { ConfigurationFault, Fault, type Problem } from '../../src/errors.ts';
import { createCompile } from '../../src/policy/cel.ts';
import { createDecide } from '../../src/policy/decide.ts';
import { loadRules, type RuleSet } from '../../src/policy/rule-files.ts';
import { contextWith } from '../policy/exchanges.ts';
import type { Random } from '../support/random.ts';
import { type FuzzTarget, mustHold } from './fuzzer.ts';
import { mutateJson, mutateText, oddValues } from './mutate.ts';

const reasons = [
  'rule_denied',
  'policy_error',
  'step_up_required',
  'rate_limited',
  'scope_insufficient',
  'no_matching_rule',
];
const evaluationMs = 50;

export function createRulesTarget(): FuzzTarget {
  const folder = mkdtempSync(join(tmpdir(), 'postern-fuzz-'));
  const file = join(folder, 'rules.yaml');
  const compile = createCompile({ meters: ['calls_per_minute', 'spend_per_day'] });
  const load = () => loadRules({ paths: [file], routes: ['github', 'api'], compile });
  return {
    name: 'rules',
    boundMs: 300,
    write: writeRules,
    async judge(text) {
      writeFileSync(file, text);
      let ruleSet: RuleSet;
      try {
        ruleSet = await load();
      } catch (fault) {
        if (!(fault instanceof ConfigurationFault)) throw fault;
        checkProblems(fault.problems, file, text);
        return `refused: ${fault.problems[0]?.message.split('\n')[0]?.replace(/\d+/g, 'N').slice(0, 60)}`;
      }
      mustHold(ruleSet.rules.length > 0 && /^[0-9a-f]{64}$/.test(ruleSet.hash), 'a rule set has rules and a hash');
      mustHold((await load()).hash === ruleSet.hash, 'the same rules have the same hash');
      return `accepted: ${decideAll(ruleSet).join(' ')}`;
    },
    close: () => rmSync(folder, { recursive: true }),
  };
}

/** There are problems, and those in this file are at a place that it has. */
export function checkProblems(problems: readonly Problem[], path: string, text: string): void {
  mustHold(problems.length > 0, 'a refusal has a problem');
  const lines = text.split(/\r\n|\r|\n/).length;
  for (const { file, line, column, message } of problems) {
    mustHold(file !== '' && message !== '', 'a problem has a file and a message');
    mustHold(message.length < 20_000, 'a message can be read');
    if (file !== path) continue;
    mustHold(
      line === undefined || (Number.isInteger(line) && line >= 1 && line <= lines + 1),
      `line ${line} of ${lines}`,
    );
    mustHold(column === undefined || (Number.isInteger(column) && column >= 1), `column ${column}`);
  }
}

const contexts = [
  contextWith({}, { calls_per_minute: 3, spend_per_day: 0 }),
  contextWith(
    {
      method: 'POST',
      path: `/${'a/'.repeat(2000)}`,
      query: 'a=1&a=2&b=%zz',
      fields: { 'x-a': ['1', '2'], 'user-agent': ['a'.repeat(8000)] },
      token: {
        scopes: Array.from({ length: 200 }, (_, at) => `payment:execute:under-${at}`),
        claims: { a: { b: [1, 'x', {}] } },
      },
      statedReason: 'because',
    },
    { calls_per_minute: 1_000_000, spend_per_day: 5 },
  ),
];

function decideAll(ruleSet: RuleSet): readonly string[] {
  const decide = createDecide({
    ruleSet,
    onRuleError: (_rule, fault) => {
      // Anything else is an error of ours, or of the engine's.
      mustHold(
        fault instanceof Fault && fault.code === 'expression_failed',
        `a rule fails as it should: ${String(fault)}`,
      );
    },
  });
  return contexts.map((context) => {
    const startedMs = performance.now();
    let decision: Decision = decide(context, { route: 'github', fallsInMs: new Map() });
    let tookMs = performance.now() - startedMs;
    if (tookMs > evaluationMs) {
      const againMs = performance.now();
      decision = decide(context, { route: 'github', fallsInMs: new Map() });
      tookMs = performance.now() - againMs;
    }
    mustHold(tookMs <= evaluationMs, `a decision took ${Math.round(tookMs)} ms`);
    if (decision.effect === 'allow') {
      mustHold(
        ruleSet.rules.some(({ id, effect, mode }) => id === decision.rule && effect === 'allow' && mode === 'enforce'),
        'an enforced rule allows',
      );
      return 'allow';
    }
    mustHold(reasons.includes(decision.reason), `reason ${decision.reason}`);
    return decision.reason;
  });
}

const expressions = [
  'request.method in ["GET", "HEAD"] && request.url_path.startsWith("/repos/") && "repo:read" in token.scopes',
  'rate.calls_per_minute > 60',
  'has(token.claims.a) && token.claims.a.b.size() > 2',
  'request.headers["x-a"].matches("^[0-9, ]+$")',
  'token.scopes.exists(s, s.startsWith("payment:"))',
  'scopeLimit(token.scopes, "payment:execute:under-") >= 10.0',
  'cidr("10.0.0.0/8").contains(source.address)',
  'act.depth == 0 || act.chain.all(a, a.iss != "")',
  'now - token.issued_at < duration("5m") && !subject.human',
  'request.query["a"].map(x, int(x)).filter(x, x > 1).size() == 1',
  'agent.id == "agent-7" ? pop.method == "dpop" : jwt.sub != "x"',
  'timestamp("2026-01-01T00:00:00Z") < now && route.name == "github"',
];
const words = [
  ...[
    'request',
    'token',
    'act.chain',
    'rate.calls_per_minute',
    'request.body',
    'jwt',
    'now',
    'has(',
    'size(',
    'matches(',
    'exists(x, ',
    'map(x, ',
  ],
  ...[
    '&&',
    '||',
    '!',
    '==',
    '!=',
    '<',
    ' in ',
    '?',
    ':',
    '+',
    '-',
    '*',
    '/',
    '%',
    '(',
    ')',
    '[',
    ']',
    '{',
    '}',
    '.',
    ',',
    '"',
    "'",
    'r"',
    '\\x',
  ],
  ...[
    '0',
    '-9223372036854775808',
    '1u',
    '1e309',
    'b"a"',
    'null',
    'true',
    'duration("1s")',
    'timestamp("x")',
    '"(a+)+$"',
    'cel.bind(',
    '__proto__',
  ],
  ...[
    'constructor',
    'toString',
    '&anchor ',
    '*anchor',
    '<<: ',
    '!!js ',
    '? ',
    '|\n',
    '>-\n',
    '---\n',
    '# ',
    '\t',
    'rules:',
    'when:',
    'id:',
  ],
  ...[
    'effect: allow',
    'mode: shadow',
    'challenge: {acrValues: [a], maxAge: 5m}',
    'routes: [github]',
    '[[[[[[[[',
    '((((((((',
    'x.exists(y, ',
  ],
];

function seedRules(random: Random): object {
  const rules = Array.from({ length: random.between(1, 4) }, (_, index) => {
    const effect = random.pick(['allow', 'deny', 'throttle', 'challenge']);
    const when = random.percent(30)
      ? `(${random.pick(expressions)}) && (${random.pick(expressions)})`
      : random.pick(expressions);
    return {
      id: `rule-${index}`,
      when: random.percent(45) ? mutateText(random, when, words, random.pick(expressions)) : when,
      effect,
      ...(effect === 'challenge' ? { challenge: { acrValues: ['urn:a'], maxAge: '5m' } } : {}),
      ...(random.percent(20)
        ? { message: 'Told to the agent.', mode: 'shadow', routes: ['github'], description: 'd' }
        : {}),
    };
  });
  return { rules };
}

function writeRules(random: Random, known: readonly string[]): string {
  if (known.length > 0 && random.percent(15)) return mutateText(random, random.pick(known), words, random.pick(known));
  let rules: unknown = seedRules(random);
  if (random.percent(30)) rules = mutateJson(random, rules, [...oddValues, ...words]);
  const text = stringifyOrJson(random, rules);
  return random.percent(70) ? text : mutateText(random, text, words, random.pick(expressions));
}

/** JSON is YAML too. */
export function stringifyOrJson(random: Random, value: unknown): string {
  return random.percent(70) ? stringify(value) : (JSON.stringify(value, null, random.pick([0, 2])) ?? 'null');
}
