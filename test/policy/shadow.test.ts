import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Decision, Mode } from '../../src/decision.ts';
import { createDecide } from '../../src/policy/decide.ts';
import { loadRules, type Rule } from '../../src/policy/rule-files.ts';
import { effectOf } from '../../src/policy/shadow.ts';
import { type Asked, compile, compiled, contextWith } from './exchanges.ts';

async function decided(rules: string, asked: Asked = {}, enforcement?: Mode): Promise<Decision> {
  const file = join(mkdtempSync(join(tmpdir(), 'postern-shadow-')), 'rules.yaml');
  writeFileSync(file, rules);
  const ruleSet = await loadRules({ paths: [file], routes: null, compile });
  const decide = createDecide({
    ruleSet,
    onRuleError: () => {},
    ...(enforcement === undefined ? {} : { enforcement }),
  });
  return decide(contextWith(asked), { route: 'github', fallsInMs: new Map() });
}

const rulesOf = (...rules: string[]) => `rules:\n${rules.map((rule) => `  - { ${rule} }\n`).join('')}`;
const reads = `id: reads, when: 'request.method == "GET"', effect: allow`;
const noReads = `id: no-reads, when: 'request.method == "GET"', effect: deny, mode: shadow`;

describe('a shadow rule', () => {
  it('leaves no mark on a decision where it does not match', async () => {
    const decision = await decided(rulesOf(reads, `id: no-posts, when: 'false', effect: deny, mode: shadow`));
    expect(decision).toEqual({
      effect: 'allow',
      rule: 'reads',
      matches: [{ id: 'reads', effect: 'allow', mode: 'enforce', failed: false }],
    });
  });

  it('says what the call would have got if it were enforced', async () => {
    expect(await decided(rulesOf(reads, noReads))).toEqual({
      effect: 'allow',
      rule: 'reads',
      would: { effect: 'deny', reason: 'rule_denied', rule: 'no-reads' },
      matches: [
        { id: 'reads', effect: 'allow', mode: 'enforce', failed: false },
        { id: 'no-reads', effect: 'deny', mode: 'shadow', failed: false, would: 'deny' },
      ],
    });
  });

  it('would have denied where its evaluation failed', async () => {
    const fails = `id: fails, when: 'token.claims.absent == "x"', effect: allow, mode: shadow`;
    expect(await decided(rulesOf(reads, fails))).toMatchObject({
      effect: 'allow',
      would: { effect: 'deny', reason: 'policy_error', rule: 'fails' },
      matches: [{ id: 'reads' }, { id: 'fails', failed: true, would: 'deny' }],
    });
  });

  it('would have allowed what no other rule allows', async () => {
    const writes = `id: writes, when: 'request.method == "POST"', effect: allow, mode: shadow`;
    expect(await decided(rulesOf(reads, writes), { method: 'POST' })).toMatchObject({
      reason: 'no_matching_rule',
      would: { effect: 'allow', reason: null, rule: 'writes' },
      matches: [{ id: 'writes', would: 'allow' }],
    });
  });

  it('would have changed nothing where an enforced rule says the same first', async () => {
    const denies = `id: denies, when: 'true', effect: deny`;
    const decision = await decided(rulesOf(denies, noReads));
    expect(decision).toMatchObject({ rule: 'denies', matches: [{ id: 'denies' }, { id: 'no-reads', would: 'deny' }] });
    expect(decision.would).toBeUndefined();
  });

  it('would have given its own reason where it stands before the enforced rule', async () => {
    const denies = `id: denies, when: 'true', effect: deny`;
    expect(await decided(rulesOf(noReads, denies))).toMatchObject({
      rule: 'denies',
      would: { effect: 'deny', reason: 'rule_denied', rule: 'no-reads' },
    });
  });

  it('is judged alone, and all of them together', async () => {
    const throttles = `id: throttles, when: 'true', effect: throttle, mode: shadow`;
    const challenges = `id: challenges, when: 'true', effect: challenge, mode: shadow, challenge: { maxAge: 5m }`;
    expect(await decided(rulesOf(reads, throttles, challenges))).toMatchObject({
      effect: 'allow',
      would: { effect: 'challenge', reason: 'step_up_required', rule: 'challenges' },
      matches: [{ id: 'reads' }, { id: 'throttles', would: 'throttle' }, { id: 'challenges', would: 'challenge' }],
    });
  });
});

describe('a file in shadow mode', () => {
  it('enforces none of its rules, also not one that says otherwise', async () => {
    const text = `mode: shadow\n${rulesOf(`id: denies, when: 'true', effect: deny, mode: enforce`)}`;
    expect(await decided(text)).toMatchObject({
      reason: 'no_matching_rule',
      would: { effect: 'deny', reason: 'rule_denied', rule: 'denies' },
      matches: [{ id: 'denies', mode: 'shadow' }],
    });
  });
});

describe('enforcement: shadow', () => {
  it('lets pass what the rules refuse, and records what they said', async () => {
    const denies = `id: denies, when: 'true', effect: deny`;
    expect(await decided(rulesOf(reads, denies, noReads), {}, 'shadow')).toEqual({
      effect: 'allow',
      rule: 'postern:shadow',
      would: { effect: 'deny', reason: 'rule_denied', rule: 'denies' },
      matches: [
        { id: 'reads', effect: 'allow', mode: 'shadow', failed: false, would: 'allow' },
        { id: 'denies', effect: 'deny', mode: 'shadow', failed: false, would: 'deny' },
        { id: 'no-reads', effect: 'deny', mode: 'shadow', failed: false, would: 'deny' },
      ],
    });
  });

  it('lets pass what no rule allows, and what cannot be judged', async () => {
    expect(await decided(rulesOf(reads), { method: 'POST' }, 'shadow')).toMatchObject({
      rule: 'postern:shadow',
      would: { effect: 'deny', reason: 'no_matching_rule', rule: null },
    });
    const byQuery = `id: by-query, when: '"x" in request.query', effect: allow`;
    expect(await decided(rulesOf(byQuery), { query: '%ff' }, 'shadow')).toMatchObject({
      rule: 'postern:shadow',
      would: { effect: 'deny', reason: 'policy_error', rule: null },
    });
  });

  it('names the rule that allows, and no other outcome, where the rules allow', async () => {
    const decision = await decided(rulesOf(reads), {}, 'shadow');
    expect(decision).toMatchObject({ effect: 'allow', rule: 'reads', matches: [{ mode: 'shadow', would: 'allow' }] });
    expect(decision.would).toBeUndefined();
  });
});

describe('what shadow rules would have brought about', () => {
  const whens = ['true', 'false', 'token.claims.absent == "x"'].map((source) => compiled(source));
  const context = contextWith();
  const someRules = fc
    .array(
      fc.record({
        when: fc.constantFrom(...whens),
        effect: fc.constantFrom('allow', 'deny', 'throttle', 'challenge'),
        mode: fc.constantFrom('enforce', 'shadow'),
      }),
      { minLength: 1, maxLength: 8 },
    )
    .map((rules) => rules.map((rule, index): Rule => ({ ...rest, ...rule, id: `rule-${index}` })));
  const rest = {
    description: undefined,
    routes: null,
    message: undefined,
    challenge: null,
    place: { file: 'rules.yaml', line: 1 },
  };
  const decide = (rules: readonly Rule[]) =>
    createDecide({ ruleSet: { rules }, onRuleError: () => {} })(context, { route: 'r', fallsInMs: new Map() });
  const said = (decision: Decision) => ({
    effect: effectOf(decision),
    reason: decision.effect === 'allow' ? null : decision.reason,
    rule: decision.rule ?? null,
  });

  it('is what they do when they are enforced, all of them or one alone', () => {
    const enforced = (rules: readonly Rule[], which: (rule: Rule) => boolean) =>
      decide(rules.map((rule) => (which(rule) ? { ...rule, mode: 'enforce' } : rule)));
    fc.assert(
      fc.property(someRules, (rules) => {
        const decision = decide(rules);
        expect(decision.would ?? said(decision)).toEqual(said(enforced(rules, () => true)));
        for (const { id, mode, would } of decision.matches ?? []) {
          const alone = said(enforced(rules, (rule) => rule.id === id));
          expect(would).toBe(mode === 'shadow' ? alone.effect : undefined);
        }
        // Whatever is in shadow mode, the decision is that of the other rules.
        expect(said(decision)).toEqual(said(decide(rules.filter(({ mode }) => mode === 'enforce'))));
      }),
      { numRuns: 2000 },
    );
  });
});
