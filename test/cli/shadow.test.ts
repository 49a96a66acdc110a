import { appendFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type ShadowOptions, shadowReport } from '../../src/cli/shadow.ts';
import type { ShadowReport } from '../../src/policy/shadow-report.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { postern } from './postern-process.ts';

const rules = `rules:
  - { id: reads, when: 'request.method == "GET"', effect: allow }
  - { id: no-secrets, when: 'request.url_path.startsWith("/api/secret")', effect: deny, mode: shadow }
  - { id: writes, when: 'request.method == "POST"', effect: allow, mode: shadow }
  - { id: fails, when: 'request.url_path == "/api/broken" && token.claims.absent == "x"', effect: deny, mode: shadow }
`;

let harness: Harness | undefined;
afterEach(async () => {
  await harness?.close();
  harness = undefined;
});

async function reportOn(audit: readonly string[], changes: Partial<ShadowOptions> = {}) {
  const { io, stdout, stderr } = createCapturedIo();
  const code = await shadowReport({ audit, json: true, nowMs: Date.now(), ...changes }, io);
  return { code, stdout: stdout(), stderr: stderr() };
}

const parsed = (text: string) => JSON.parse(text) as ShadowReport & { readonly unread: number };

/** Makes the calls, and gives the file with their records. */
async function recorded(sidecar: Harness, calls: readonly (readonly [string, string])[]): Promise<string> {
  for (const [method, path] of calls) await sidecar.record((await sidecar.call(path, { method })).decision);
  return join(dirname(sidecar.configFile), 'audit.jsonl');
}

describe('postern shadow report', () => {
  it('says what each shadow rule alone, and all of them, would have changed in recorded calls', async () => {
    harness = await startSidecar({ rules });
    const file = await recorded(harness, [
      ['GET', '/api/open'],
      ['GET', '/api/secret/1'],
      ['GET', '/api/secret/2'],
      ['POST', '/api/open'],
      ['POST', '/api/secret/3'],
      ['GET', '/api/broken'],
    ]);
    const { code, stdout } = await reportOn([file]);
    expect(code).toBe(0);
    const report = parsed(stdout);
    expect(report).toMatchObject({ decisions: 6, policies: 1, unread: 0 });
    // A call to a secret place is denied whether or not writes are allowed.
    expect(report.together).toMatchObject({
      refused: 3,
      allowed: 1,
      otherwise: 0,
      rules: { 'no-secrets': 2, writes: 1, fails: 1 },
      routes: { api: 4 },
    });
    const byId = Object.fromEntries(report.rules.map((rule) => [rule.rule, rule]));
    expect(byId['no-secrets']).toMatchObject({
      effect: 'deny',
      matches: 3,
      failures: 0,
      alone: {
        refused: 2,
        allowed: 0,
        otherwise: 0,
        routes: { api: 2 },
        examples: [{ from: 'allow', to: 'deny' }, {}],
      },
    });
    expect(byId.writes).toMatchObject({ matches: 2, alone: { refused: 0, allowed: 2 } });
    expect(byId.fails).toMatchObject({ matches: 0, failures: 1, alone: { refused: 1 } });
    const text = (await reportOn([file], { json: false })).stdout;
    expect(text).toContain('3 allowed calls would have been refused, 1 refused call would have passed');
    expect(text).toContain(byId['no-secrets']?.alone.examples[0]?.id);
    expect(text).toMatch(
      /no-secrets \(deny\): \d match[\s\S]*?Alone: [^\n]*\. The other one would have come out as it did\.\n/,
    );
    expect(text).toMatch(/allow -> deny {2}GET \/api\/secret\/1 {2}by /);
  });

  it('counts the matches of shadow rules apart', async () => {
    harness = await startSidecar({ rules });
    await recorded(harness, [['GET', '/api/secret/1']]);
    const { text } = await harness.admin('GET', '/metrics');
    expect(text).toContain('postern_rule_matches_total{rule="no-secrets",effect="deny",mode="shadow"} 1');
    expect(text).toContain('postern_rule_matches_total{rule="reads",effect="allow",mode="enforce"} 1');
  });

  it('rehearses a whole rule set: nothing is refused by a rule, and everything else still is', async () => {
    harness = await startSidecar({
      rules: rules.replaceAll(', mode: shadow', ''),
      enforcement: 'shadow',
    });
    const file = await recorded(harness, [
      ['GET', '/api/open'],
      ['GET', '/api/secret/1'],
      ['DELETE', '/api/open'],
    ]);
    expect(harness.upstream.requests).toHaveLength(3);
    const denied = await harness.call('/api/open', { token: '' });
    expect(denied.reason).toBe('token_missing');
    const token = harness.mint();
    const proof = harness.proofFor('/api/open', token);
    expect((await harness.call('/api/open', { token, proof })).status).toBe(200);
    expect((await harness.call('/api/open', { token, proof })).reason).toBe('proof_replayed');
    const report = parsed((await reportOn([file])).stdout);
    expect(report.together).toMatchObject({ refused: 2, allowed: 0, rules: { 'no-secrets': 1, none: 1 } });
    const last = await harness.call('/api/secret/1');
    expect(await harness.record(last.decision)).toMatchObject({
      decision: 'allow',
      rule: 'postern:shadow',
      would: { effect: 'deny', reason: 'rule_denied', rule: 'no-secrets' },
      rules: [
        { id: 'reads', mode: 'shadow', would: 'allow' },
        { id: 'no-secrets', mode: 'shadow', would: 'deny' },
      ],
    });
    expect(harness.log.some((line) => line.includes('no rule is enforced'))).toBe(true);
  });
});

const record = (time: string, more: object = {}) =>
  JSON.stringify({
    type: 'decision',
    id: `id-${time}`,
    time,
    decision: 'allow',
    reason: null,
    route: 'api',
    policy: 'p',
    rules: [{ id: 'r', effect: 'deny', mode: 'shadow', failed: false, would: 'deny' }],
    would: { effect: 'deny', reason: 'rule_denied', rule: 'r' },
    agent: { id: 'agent-7' },
    request: { method: 'GET', path: '/x' },
    ...more,
  });

describe('audit files', () => {
  const write = (...lines: string[]) => {
    const file = join(mkdtempSync(join(tmpdir(), 'postern-shadow-')), 'audit.jsonl');
    writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
    return file;
  };

  it('are read together, and from a time on', async () => {
    const files = [write(record('2026-11-30T10:00:00.000Z')), write(record('2026-11-30T12:00:00.000Z'))];
    const nowMs = Date.parse('2026-11-30T13:00:00Z');
    for (const [since, decisions] of [
      [undefined, 2],
      ['2h', 1],
      ['2026-11-30T10:00:00Z', 2],
      ['2026-11-30T10:00:01Z', 1],
      ['2026-12-01', 0],
    ] as const) {
      expect(parsed((await reportOn(files, { since, nowMs })).stdout)).toMatchObject({ decisions });
    }
  });

  it('may hold other lines, torn ones and ones that are no JSON', async () => {
    const file = write(record('2026-11-30T10:00:00.000Z'), '{"type":"revocation","v":1}', 'not json', '');
    appendFileSync(file, '{"type":"decision","id":"torn');
    const { stdout, stderr } = await reportOn([file], { json: false });
    expect(stdout).toContain('1 decision, ');
    expect(stderr).toContain('3 lines');
  });

  it('with more names than are kept are still counted whole', async () => {
    const lines = Array.from({ length: 300 }, (_, index) =>
      record('2026-11-30T10:00:00.000Z', { agent: { id: `agent-${index}` } }),
    );
    const { agents } = parsed((await reportOn([write(...lines)])).stdout).rules[0]?.alone ?? {};
    expect(Object.keys(agents ?? {})).toHaveLength(201);
    expect(agents?.['(others)']).toBe(100);
  });

  it('cannot speak to a CI server or a terminal by what agents have put in them', async () => {
    const hostile = {
      ...{
        type: 'decision',
        id: 'one',
        time: '2026-11-22T10:00:00.000Z',
        decision: 'allow',
        reason: null,
        route: 'api',
      },
      ...{ policy: null, request: { method: 'GET', path: '/' }, agent: { id: 'a\n::error::b\x1b[2J' } },
      ...{ rules: [{ id: 'r', effect: 'deny', mode: 'shadow', failed: false, would: 'deny' }] },
    };
    const { stdout } = await reportOn([write(JSON.stringify(hostile))], { json: false });
    expect(stdout).toContain('a\\x0a::error::b\\x1b[2J');
    expect(stdout).not.toMatch(/^::/m);
  });

  it('that are not there are wrong usage, like a time that is none', async () => {
    expect((await reportOn(['/nonexistent.jsonl'])).code).toBe(2);
    expect((await reportOn([write()], { since: 'yesterday' })).code).toBe(2);
    expect(await postern(['shadow', 'report'])).toMatchObject({ code: 2 });
    const file = write(record('2026-11-30T10:00:00.000Z'));
    expect(await postern(['shadow', 'report', '--audit', file, '--json'])).toMatchObject({ code: 0 });
  });
});
