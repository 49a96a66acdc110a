import { createHash } from 'node:crypto';
import { appendFileSync, copyFileSync, cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ReplayOptions, replay } from '../../src/cli/replay.ts';
import { loadConfig } from '../../src/config/load.ts';
import { freePorts, startDemoParts } from '../../src/demo/parts.ts';
import { runTour } from '../../src/demo/tour.ts';
import type { ReplayReport } from '../../src/policy/replay-report.ts';
import { writeFiles } from '../policy/tests/files.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { type CallOptions, type Harness, startSidecar } from '../support/sidecar.ts';
import { postern } from './postern-process.ts';

const oldRules = `rules:
  - { id: reads, when: 'request.method == "GET" && "read" in token.scopes', effect: allow }
  - { id: writes, when: 'request.method == "POST" && request.headers["x-team"] == "blue"', effect: allow }
  - { id: not-there, when: 'request.url_path.startsWith("/api/secret")', effect: deny }
  - { id: ten, when: 'rate.calls > 40', effect: throttle }
`;
const newRules = `rules:
  - { id: reads, when: 'request.method == "GET" && "read" in token.scopes', effect: allow }
  - { id: writes, when: 'request.method == "POST" && request.headers["x-team"] in ["blue", "red"]', effect: allow }
  - { id: not-here, when: 'request.url_path.startsWith("/api/secret")', effect: deny }
  - { id: no-tags, when: 'has(request.query.tag) && request.query["tag"][0] == "internal"', effect: deny }
  - { id: login, when: 'request.url_path == "/api/sensitive"', effect: challenge, challenge: { acrValues: [urn:strong] } }
  - { id: ten, when: 'rate.calls > 30', effect: throttle }
`;

type Call = readonly [path: string, options: CallOptions];

/** A mix of calls of which every one of the rules is about some; always the same. */
const calls: readonly Call[] = Array.from({ length: 48 }, (_, index): Call => {
  const digest = createHash('sha256').update(`call ${index}`).digest();
  const pick = <Item>(at: number, items: readonly Item[]) => items[(digest[at] ?? 0) % items.length] as Item;
  const path = pick(0, ['/api/x', '/api/x?tag=internal', '/api/secret/1', '/api/sensitive', '/elsewhere']);
  const team = pick(1, ['blue', 'red', 'green']);
  const method = pick(2, ['GET', 'POST', 'DELETE']);
  const token = pick(3, [{}, {}, {}, { token: '' }]);
  return [path, { method, fields: { 'x-team': team, 'x-api-key': 's3cret' }, ...token }];
});

type Recorded = { readonly file: string; readonly outcomes: readonly Outcome[] };
type Outcome = { readonly effect: string; readonly reason: string | null; readonly rule: string | null };

/** Runs the calls through a sidecar with these rules. */
async function recorded(rules: string, inputs: 'read' | 'all', made: Harness[]): Promise<Recorded> {
  const harness = await startSidecar({ rules, config: { audit: { inputs } } });
  made.push(harness);
  const outcomes: Outcome[] = [];
  for (const [path, options] of calls) {
    const { decision, reason, rule } = await harness.record((await harness.call(path, options)).decision);
    outcomes.push({ effect: decision, reason, rule });
  }
  return { file: join(dirname(harness.configFile), 'audit.jsonl'), outcomes };
}

async function replayed(audit: readonly string[], changes: Partial<ReplayOptions> = {}) {
  const { io, stdout, stderr } = createCapturedIo();
  const options = { audit, examples: 5, failOnFlip: false, json: true, nowMs: Date.now(), ...changes };
  const code = await replay(options, io);
  return { code, stdout: stdout(), stderr: stderr() };
}

type Told = ReplayReport & { readonly unread: number; readonly elapsedMs: number };
const parsed = (text: string) => JSON.parse(text) as Told;
const rulesFile = (text: string) => [join(writeFiles({ 'rules.yaml': text }), 'rules.yaml')];

describe('postern replay', () => {
  const made: Harness[] = [];
  let before: Recorded;
  let after: Recorded;
  let all: Recorded;
  beforeAll(async () => {
    before = await recorded(oldRules, 'read', made);
    all = await recorded(oldRules, 'all', made);
    after = await recorded(newRules, 'read', made);
  });
  afterAll(async () => {
    for (const harness of made) await harness.close();
  });

  it('finds no flip with the rules that decided', async () => {
    for (const { file } of [before, all, after]) {
      const rules = rulesFile(file === after.file ? newRules : oldRules);
      const { code, stdout } = await replayed([file], { rules, failOnFlip: true });
      expect(code).toBe(0);
      const report = parsed(stdout);
      expect(report).toMatchObject({
        decisions: calls.length,
        policies: 1,
        flips: 0,
        changes: { refused: 0, allowed: 0, otherwise: 0, otherRule: 0 },
        untold: { total: 0 },
        rules: [],
        examples: [],
        unread: 0,
      });
      expect(report.replayed + report.notByRules.total).toBe(calls.length);
      expect(report.notByRules.reasons).toMatchObject({
        token_missing: expect.any(Number),
        no_route: expect.any(Number),
      });
    }
  });

  it('counts exactly the flips that the same calls show in a sidecar with the other rules', async () => {
    const { code, stdout } = await replayed([all.file], { rules: rulesFile(newRules), failOnFlip: true });
    expect(code).toBe(1);
    const report = parsed(stdout);
    const pairs = all.outcomes.map((was, index) => [was, after.outcomes[index] ?? was] as const);
    const counted = (is: (was: Outcome, now: Outcome) => boolean) => pairs.filter(([was, now]) => is(was, now)).length;
    const changes = {
      refused: counted((was, now) => was.effect === 'allow' && now.effect === 'deny'),
      allowed: counted((was, now) => was.effect === 'deny' && now.effect === 'allow'),
      otherwise: counted((was, now) => was.effect === now.effect && was.reason !== now.reason),
      otherRule: counted((was, now) => was.effect === now.effect && was.reason === now.reason && was.rule !== now.rule),
    };
    expect(report).toMatchObject({ changes, untold: { total: 0, variables: {} } });
    expect(report.flips).toBe(changes.refused + changes.allowed + changes.otherwise);
    // There is something of each kind, or the comparison says little.
    for (const count of Object.values(changes)) expect(count).toBeGreaterThan(0);
    const byPair = new Map<string, number>();
    for (const [was, now] of pairs) {
      if (was.effect === now.effect && was.reason === now.reason && was.rule === now.rule) continue;
      const pair = `${was.rule} ${now.rule}`;
      byPair.set(pair, (byPair.get(pair) ?? 0) + 1);
    }
    const sum = (row: ReplayReport['changes']) => row.refused + row.allowed + row.otherwise + row.otherRule;
    expect(new Map(report.rules.map((row) => [`${row.from} ${row.to}`, sum(row)]))).toEqual(byPair);
    expect(report.routes).toEqual([{ route: 'api', ...changes }]);
    expect(report.agents).toHaveLength(1);
    const [example] = report.examples;
    expect(example).toMatchObject({ kind: 'refused', from: { effect: 'allow', reason: null } });
    expect(readFileSync(all.file, 'utf8')).toContain(example?.id);
    expect(readFileSync(all.file, 'utf8')).not.toContain('s3cret');
  });

  it('says what cannot be told, and by which variable, where records hold only what the other rules read', async () => {
    const { stdout, code } = await replayed([before.file], { rules: rulesFile(newRules), failOnFlip: true });
    expect(code).toBe(1);
    const report = parsed(stdout);
    expect(report.untold.total).toBeGreaterThan(0);
    expect(Object.keys(report.untold.variables)).toEqual(['request.query[tag]']);
    expect(report.replayed + report.untold.total + report.notByRules.total).toBe(calls.length);
    const onlyUntold = `rules: [{ id: reads, when: 'request.query.size() == 0', effect: allow }]`;
    const untold = await replayed([before.file], { rules: rulesFile(onlyUntold), failOnFlip: true, json: false });
    expect(untold.code).toBe(1);
    expect(untold.stdout).toMatch(/cannot be told, for the records do not hold request\.query \d+; see audit\.inputs/);
    expect(untold.stdout).toContain('0 would flip');
  });

  it('warns where no rule of the set allows anything, as where part of a set was named', async () => {
    const shadow = `rules: [{ id: a, when: 'true', effect: allow, mode: shadow }, { id: d, when: 'true', effect: deny }]`;
    for (const [text, told] of [
      [shadow, 'whole rule set'],
      [newRules, ''],
    ] as const) {
      const { code, stderr } = await replayed([all.file], { rules: rulesFile(text) });
      expect({ code, stderr }).toEqual({ code: 0, stderr: told === '' ? '' : expect.stringContaining(told) });
    }
  });

  it('tells people by rule, route and agent, with examples', async () => {
    const { stdout } = await replayed([all.file], { rules: rulesFile(newRules), json: false, examples: 1 });
    expect(stdout).toMatch(/^48 decisions, \S+Z to \S+Z\n\d+ replayed against 6 rules in \d\.\d s\n/);
    expect(stdout).toMatch(/\d+ were not decided by rules: (token_missing|no_route) \d+/);
    expect(stdout).toMatch(/\n\d+ would flip: \d+ allowed calls? would be refused, \d+ refused calls? would pass/);
    expect(stdout).toContain('not-there -> not-here');
    expect(stdout).toMatch(/by route\n +\d+ {2}api/);
    expect(stdout).toMatch(/allow by (reads|writes) -> (deny|throttle|challenge) \(/);
    expect(stdout.split('for example')[1]?.trim().split('\n')).toHaveLength(8);
  });

  it('takes only what is asked for', async () => {
    const rules = rulesFile(newRules);
    const count = async (changes: Partial<ReplayOptions>) =>
      parsed((await replayed([all.file], { rules, ...changes })).stdout).decisions;
    expect(await count({ route: ['api'] })).toBe(calls.filter(([path]) => path !== '/elsewhere').length);
    expect(await count({ route: ['other'] })).toBe(0);
    expect(await count({ agent: ['nobody'] })).toBe(0);
    expect(await count({ since: '1h' })).toBe(calls.length);
    expect(await count({ until: '1h' })).toBe(0);
    const { time } = JSON.parse(readFileSync(all.file, 'utf8').split('\n')[10] ?? '') as { time: string };
    const earlier = await count({ until: time });
    expect(earlier).toBeGreaterThan(0);
    expect(earlier + (await count({ since: time }))).toBe(calls.length);
  });

  it('knows meters and routes from a configuration, or meters from the records', async () => {
    const config = made[0]?.configFile ?? '';
    expect(parsed((await replayed([before.file], { config })).stdout)).toMatchObject({ flips: 0 });
    const elsewhere = `rules: [{ id: reads, routes: [nowhere], when: 'rate.calls > 1', effect: allow }]`;
    expect((await replayed([before.file], { config, rules: rulesFile(elsewhere) })).code).toBe(2);
    expect((await replayed([before.file], { rules: rulesFile(elsewhere) })).code).toBe(0);
    const unknown = `rules: [{ id: reads, when: 'rate.unknown > 1', effect: allow }]`;
    expect((await replayed([before.file], { rules: rulesFile(unknown) })).code).toBe(2);
  });

  it('passes over what is no record, and refuses what it cannot use', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'postern-replay-')), 'audit.jsonl');
    copyFileSync(before.file, file);
    appendFileSync(file, '{"type":"revocation","v":1}\nnot json\n{"type":"decision","id":"torn');
    const rules = rulesFile(oldRules);
    const { stdout, stderr } = await replayed([file], { rules, json: false });
    expect(stdout).toContain('48 decisions');
    expect(stderr).toContain('2 lines are no whole JSON values');
    expect((await replayed(['/nonexistent.jsonl'], { rules })).code).toBe(2);
    expect((await replayed([file], { rules, since: 'yesterday' })).code).toBe(2);
    expect((await replayed([file])).code).toBe(2);
    expect((await replayed([file], { rules: rulesFile('rules: [{}]') })).code).toBe(2);
  });

  it('shows its progress on a terminal only', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'postern-replay-')), 'audit.jsonl');
    const lines = readFileSync(before.file, 'utf8').repeat(200);
    writeFileSync(file, lines);
    const rules = rulesFile(oldRules);
    const { io, stderr } = createCapturedIo();
    Object.assign(io.stderr, { isTTY: true });
    await replay({ audit: [file], rules, examples: 1, failOnFlip: false, json: true, nowMs: 0 }, io);
    expect(stderr()).toMatch(/\r[\d,]+ lines, \d+%/);
    expect(stderr().endsWith('\r\x1b[K')).toBe(true);
    expect((await replayed([before.file], { rules })).stderr).toBe('');
  });

  it('is a command', async () => {
    const [rules = ''] = rulesFile(newRules);
    const { code, stdout } = await postern([
      'replay',
      '--audit',
      all.file,
      '--rules',
      rules,
      '--json',
      '--fail-on-flip',
    ]);
    expect(code).toBe(1);
    expect(parsed(stdout).flips).toBeGreaterThan(0);
    expect(await postern(['replay', '--rules', rules])).toMatchObject({ code: 2 });
  });
});

describe('a replay of the demo', () => {
  type Line = Readonly<Record<string, string | null>>;

  /** The records that these rules decided, of which none flips by them, in a file of their own. */
  async function decidedBy(auditFile: string, rules: Partial<ReplayOptions>) {
    const { policy } = parsed((await replayed([auditFile], rules)).stdout);
    const lines = readFileSync(auditFile, 'utf8').split('\n').slice(0, -1);
    const records = lines.map((line) => JSON.parse(line) as Line).filter((record) => record.policy === policy);
    const file = join(mkdtempSync(join(tmpdir(), 'postern-replay-')), 'audit.jsonl');
    const decisions = records.filter(({ type }) => type === 'decision');
    writeFileSync(file, decisions.map((record) => `${JSON.stringify(record)}\n`).join(''));
    const report = parsed((await replayed([file], { ...rules, failOnFlip: true })).stdout);
    expect(report).toMatchObject({ decisions: decisions.length, flips: 0, untold: { total: 0 } });
    expect(report.changes.otherRule).toBe(0);
    expect(report.replayed).toBeGreaterThan(0);
    return { file, records: decisions };
  }

  it('finds nothing with its own rules, and every allowed call with a rule that denies all', async () => {
    const parts = await startDemoParts({ ports: freePorts, sessionFolder: null });
    try {
      const config = parts.configFile;
      const before = mkdtempSync(join(tmpdir(), 'postern-replay-'));
      const { rules } = (await loadConfig(config)).config;
      for (const path of rules) cpSync(path, before, { recursive: true });
      await runTour(parts, () => {});
      // The tour may change its rules on the way.
      await decidedBy(parts.auditFile, { config, rules: [before] });
      const { file, records } = await decidedBy(parts.auditFile, { config });

      const frozen = rulesFile(`rules: [{ id: frozen, when: 'request.method != ""', effect: deny }]`);
      const { stdout } = await replayed([file], { config, rules: [...rules, ...frozen], examples: 1000 });
      const report = parsed(stdout);
      const allowed = records.filter(({ decision }) => decision === 'allow').map(({ id }) => id);
      expect(allowed.length).toBeGreaterThan(1);
      expect(report.examples.filter(({ kind }) => kind === 'refused').map(({ id }) => id)).toEqual(allowed);
      // Everything else that the rules refused is now refused by the rule that denies all.
      const others = ['no_matching_rule', 'scope_insufficient', 'rate_limited', 'step_up_required'];
      expect(report.changes).toEqual({
        refused: allowed.length,
        allowed: 0,
        otherwise: records.filter(({ reason, rates }) => rates !== null && others.includes(reason ?? '')).length,
        otherRule: 0,
      });
    } finally {
      await parts.close();
    }
  }, 30_000);
});
