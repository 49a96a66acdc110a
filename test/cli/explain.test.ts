import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ExplainOptions, explain } from '../../src/cli/explain.ts';
import { writeFiles } from '../policy/tests/files.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';
import { postern } from './postern-process.ts';

const rules = `rules:
  - { id: blue-reads, when: 'request.method == "GET" && request.headers["x-team"] == "blue"', effect: allow }
  - { id: five-a-minute, when: 'rate.calls > 50', effect: throttle }
`;

let harness: Harness;
let auditFile: string;
beforeAll(async () => {
  harness = await startSidecar({ rules });
  auditFile = join(dirname(harness.configFile), 'audit.jsonl');
});
afterAll(() => harness.close());

async function run(changes: Partial<ExplainOptions>) {
  const { io, stdout, stderr } = createCapturedIo();
  const code = await explain({ admin: harness.sidecar.adminOrigin, json: true, ...changes }, io);
  return { code, stdout: stdout(), stderr: stderr() };
}

async function called(team: string): Promise<string> {
  const { decision } = await harness.call('/api/x', { fields: { 'x-team': team, 'x-api-key': 's3cret' } });
  await harness.record(decision);
  return decision;
}

describe('postern explain', () => {
  it('explains a decision of a running sidecar', async () => {
    const decision = await called('red');
    const { code, stdout } = await run({ decision });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      recorded: { id: decision, decision: 'deny', reason: 'no_matching_rule' },
      isSamePolicy: true,
      missing: [],
      explanation: {
        effect: 'deny',
        reason: 'no_matching_rule',
        rules: [
          { id: 'blue-reads', result: 'not matched' },
          { id: 'five-a-minute', result: 'not matched' },
        ],
        toFlip: {
          needs: 'any',
          rules: [{ rule: 'blue-reads', changes: [{ source: 'request.headers["x-team"] == "blue"', mustBe: true }] }],
        },
      },
    });
    const text = (await run({ decision, json: false })).stdout;
    expect(text).toContain('recorded   deny (no_matching_rule)');
    expect(text).toContain('request.headers["x-team"]  =  "red"');
    expect(text).toContain('blue-reads matched: request.headers["x-team"] == "blue" were true');
  });

  it('explains a record of an audit file, by the rules of a configuration or by others', async () => {
    const decision = await called('blue');
    const audit = [auditFile];
    const same = JSON.parse((await run({ decision, audit, config: harness.configFile })).stdout);
    expect(same).toMatchObject({
      isSamePolicy: true,
      missing: [],
      explanation: { effect: 'allow', rule: 'blue-reads' },
    });
    const folder = writeFiles({
      'x.yaml': `rules:
  - { id: red-reads, when: 'request.headers["x-team"] == "red"', effect: allow }
  - { id: no-agents, when: 'request.headers["user-agent"] == "x"', effect: deny }
`,
    });
    const other = JSON.parse((await run({ decision, audit, rules: [folder] })).stdout);
    expect(other).toMatchObject({
      recorded: { decision: 'allow', rule: 'blue-reads' },
      isSamePolicy: false,
      missing: ['request.headers[user-agent]'],
      explanation: { effect: 'deny', reason: 'policy_error', rule: 'no-agents' },
    });
    const { stdout } = await run({ decision, audit, rules: [folder], json: false });
    expect(stdout).toContain('These are not the rules that decided then.');
    expect(stdout).toContain('does not hold, and the rules read: request.headers[user-agent]');
  });

  it('says so where no rule was asked', async () => {
    const { decision } = await harness.call('/api/x', { token: '' });
    await harness.record(decision);
    const { code, stdout } = await run({ decision, json: false });
    expect(code).toBe(0);
    expect(stdout).toContain('deny (token_missing)');
    expect(stdout).toContain('No rule was asked');
  });

  it('explains a request that is described, by its path as a call would be', async () => {
    const folder = writeFiles({
      'given.yaml': 'request: { path: /api/x, headers: { x-team: blue } }\nrate: { calls: 51 }\n',
      'nowhere.yaml': 'request: { path: /elsewhere }\n',
      'wrong.yaml': 'request: { pth: /x }\n',
    });
    const config = harness.configFile;
    const { stdout } = await run({ given: join(folder, 'given.yaml'), config });
    expect(JSON.parse(stdout)).toMatchObject({
      explanation: { effect: 'throttle', rule: 'five-a-minute', toFlip: { rules: [{ rule: 'five-a-minute' }] } },
    });
    const nowhere = await run({ given: join(folder, 'nowhere.yaml'), config, json: false });
    expect(nowhere.stdout).toContain('no_route');
    const wrong = await run({ given: join(folder, 'wrong.yaml'), config, json: false });
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toMatch(/wrong\.yaml:1:12: unknown key request\.pth; did you mean "path"\?/);
  });

  it('ends with 1 for a decision that is not there, and 2 for what cannot be asked', async () => {
    expect((await run({ decision: 'unknown' })).code).toBe(1);
    expect((await run({ decision: 'unknown', audit: [auditFile], config: harness.configFile })).code).toBe(1);
    expect((await run({})).code).toBe(2);
    expect((await run({ decision: 'x', audit: ['/nonexistent'] })).code).toBe(2);
    expect((await run({ decision: await called('red'), audit: [auditFile] })).code).toBe(2);
    expect((await run({ decision: 'x', admin: 'http://127.0.0.1:1' })).code).toBe(3);
    expect(await postern(['explain'])).toMatchObject({ code: 2 });
  });
});

describe('POST /v1/explain', () => {
  it('takes a decision or a description, and nothing else', async () => {
    const asked = (body: object) => harness.admin('POST', '/v1/explain', body);
    expect((await asked({ decision: await called('red') })).status).toBe(200);
    expect((await asked({ decision: 'unknown' })).status).toBe(404);
    const described = await asked({ given: { request: { path: '/api/x', headers: { 'x-team': 'blue' } } } });
    expect(JSON.parse(described.text)).toMatchObject({ explanation: { effect: 'allow', rule: 'blue-reads' } });
    expect(JSON.parse((await asked({ given: { request: { path: '/elsewhere' } } })).text)).toEqual({
      refused: { reason: 'no_route', cause: null },
    });
    for (const body of [
      {},
      { given: { request: { pth: '/' } } },
      { decision: 'x', given: {} },
      { given: { rate: { x: 1 } } },
    ]) {
      expect((await asked(body)).status).toBe(400);
    }
    expect((await harness.admin('GET', '/v1/explain')).status).toBe(405);
  });
});

describe('audit.inputs', () => {
  it('keeps what rules read, and nothing where it is off', async () => {
    const record = await harness.record(await called('blue'));
    expect(record.inputs).toEqual({ values: { 'request.headers[x-team]': 'blue' }, missing: [] });
    expect(JSON.stringify(record)).not.toContain('s3cret');
    const other = await startSidecar({ rules, config: { audit: { inputs: 'off' } } });
    try {
      const { decision } = await other.call('/api/x', { fields: { 'x-team': 'blue' } });
      expect(await other.record(decision)).toMatchObject({ decision: 'allow', inputs: null });
      const { io, stdout } = createCapturedIo();
      await explain({ admin: other.sidecar.adminOrigin, decision, json: true }, io);
      expect(JSON.parse(stdout())).toMatchObject({ recorded: { decision: 'allow' }, explanation: null });
    } finally {
      await other.close();
    }
  });
});
