/** The shipped rules in front of an API: what agents are told, and what reaches the upstream. */

import { globSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { check } from '../../src/cli/check.ts';
import { writeConfiguration } from '../cli/configuration-file.ts';
import { createCapturedIo } from '../support/captured-io.ts';
import { type CallOptions, type Harness, publicOrigin, startSidecar } from '../support/sidecar.ts';

const library = resolve(import.meta.dirname, '../../rules');
type RuleFile = { readonly rules: readonly { readonly id: string; readonly message?: string }[] };

const files = globSync('*/*.yaml', { cwd: library })
  .filter((file) => !file.endsWith('.test.yaml'))
  .sort();
/** All but those of office hours, which depend on when the test runs. */
const rules = files
  .filter((file) => !file.endsWith('/hours.yaml'))
  .flatMap((file) => (parse(readFileSync(join(library, file), 'utf8')) as RuleFile).rules);
const messages = new Map(rules.map(({ id, message }) => [id, message]));

const registry = `agents:
  - { id: agent-7, owner: alice@example.com, team: web }
  - { id: reporter, owner: alice@example.com, team: analytics }
  - { id: paused, owner: alice@example.com, status: suspended }
`;

function registryFile(): string {
  const file = join(mkdtempSync(join(tmpdir(), 'postern-library-')), 'agents.yaml');
  writeFileSync(file, registry);
  return file;
}

const meters = {
  calls_per_minute: { by: 'agent.id', window: '1m' },
  spend_per_day: parse(/```yaml\n([\s\S]*?)```/.exec(readFileSync(join(library, 'guards/spend.md'), 'utf8'))?.[1] ?? '')
    .meters.spend_per_day,
};
const json = { 'content-type': 'application/json' };
const human = { auth_time: Math.floor(Date.now() / 1000) - 60 };

describe('the rule library in a sidecar', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startSidecar({
      rules: stringify({ rules }),
      route: { match: { pathPrefix: '/' }, inspectBody: { json: true } },
      config: { meters, agents: { file: registryFile() } },
    });
  });
  afterAll(() => harness.close());
  let upstreamCalls = 0;
  beforeEach(() => {
    upstreamCalls = harness.upstream.requests.length;
  });

  type Asked = CallOptions & { readonly scope?: string; readonly claims?: Readonly<Record<string, unknown>> };
  const call = (path: string, { scope = '', claims = human, ...options }: Asked = {}) =>
    harness.call(path, {
      ...options,
      token: harness.mint({ scope, claims }),
      fields: { 'agent-reason': 'OPS-123', ...options.fields },
    });
  const outcome = async (path: string, asked: Asked = {}) => {
    const { status, text, reason, decision } = await call(path, asked);
    const { rule } = await harness.record(decision);
    return { status, reason, rule, detail: reason === null ? null : JSON.parse(text).detail };
  };

  it('lets reads and writes pass that each rule agrees to, with the credential', async () => {
    expect(await outcome('/repos/a', { scope: 'repo:read' })).toMatchObject({ status: 200 });
    const write = { method: 'POST', scope: 'repo:write', fields: json, body: '{"title":"x"}' };
    expect(await outcome('/repos/a', write)).toMatchObject({ status: 200, rule: 'writes-need-the-write-scope' });
    expect(harness.upstream.requests).toHaveLength(upstreamCalls + 2);
  });

  it('tells which scope is missing', async () => {
    const answer = await call('/repos/a', { scope: 'repo:write' });
    expect([answer.status, answer.reason]).toEqual([403, 'scope_insufficient']);
    expect(answer.headers['www-authenticate']).toContain('scope="repo:read"');
  });

  it.each([
    ['methods that are not meant', { fields: { 'x-http-method-override': 'DELETE' } }, 'method-overrides-stay-out'],
    [
      'tokens for several APIs',
      { claims: { ...human, aud: [publicOrigin, 'https://b.example'] } },
      'audience-is-this-api-alone',
    ],
    ['chunked bodies', { body: Readable.from(['{}']), fields: json }, 'bodies-announce-their-size'],
    ['forms', { body: 'amount=5', fields: { 'content-type': 'text/plain' } }, 'bodies-are-json'],
    ['writes for nobody', { claims: {} }, 'writes-need-a-human'],
    ['writes without a reason', { fields: { 'agent-reason': [] } }, 'writes-need-a-reason'],
    ['writes without a ticket', { fields: { 'agent-reason': 'because' } }, 'writes-name-a-ticket'],
    ['strangers', { claims: { ...human, client_id: 'stranger' } }, 'agents-are-registered'],
    ['writes of read-only teams', { claims: { ...human, client_id: 'reporter' } }, 'read-only-agents-only-read'],
    [
      'chains that are too long',
      { claims: { ...human, act: { sub: 'agent-7', act: { sub: 'b', act: { sub: 'c' } } } } },
      'delegation-is-two-deep-at-most',
    ],
  ] as const)('keeps %s out, and tells the agent what to do', async (_what, asked, rule) => {
    const { detail, ...answer } = await outcome('/repos/a', { method: 'POST', scope: 'repo:write', ...asked } as Asked);
    expect(answer).toEqual({ status: 403, reason: 'rule_denied', rule });
    expect(detail).toBe(messages.get(rule));
    expect(harness.upstream.requests).toHaveLength(upstreamCalls);
  });

  it('asks for a new login before something is destroyed', async () => {
    const asked = { method: 'DELETE', scope: 'repo:write' };
    expect(await outcome('/repos/a', asked)).toMatchObject({ status: 200 });
    const answer = await call('/repos/a', { ...asked, claims: { auth_time: human.auth_time - 3600 } });
    expect([answer.status, answer.reason]).toEqual([401, 'step_up_required']);
    expect(answer.headers['www-authenticate']).toContain('max_age="900"');
  });

  it('holds payments against the limit of the scope, of one payment and of the day', async () => {
    const pay = (amount: unknown, more: object = {}) =>
      outcome('/payments', {
        method: 'POST',
        scope: 'payment:execute:under-90',
        fields: json,
        body: JSON.stringify({ amount, currency: 'EUR', ...more }),
      });
    expect(await pay(89.5)).toMatchObject({ status: 200, rule: 'payments-under-the-limit-of-the-scope' });
    expect(await pay(95)).toMatchObject({ reason: 'no_matching_rule' });
    expect(await pay(5, { Amount: 80 })).toMatchObject({ reason: 'no_matching_rule' });
    expect(await pay('5')).toMatchObject({ reason: 'policy_error' });
    expect(await pay(100.01)).toMatchObject({ reason: 'rule_denied', rule: 'payments-are-100-at-most' });
    expect(harness.upstream.requests).toHaveLength(upstreamCalls + 1);
    // Asked for until here: 289.51.
    await pay(85);
    await pay(85);
    expect(await pay(85)).toMatchObject({ status: 429, reason: 'rate_limited', rule: 'spend-500-a-day' });
  });

  it('lets tools of MCP pass by their scopes, and destructive ones never', async () => {
    const tool = (name: string) => ({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name } });
    const ask = (message: object) =>
      outcome('/mcp', {
        method: 'POST',
        scope: 'mcp:read mcp:tool:search mcp:tool:drop_table',
        fields: json,
        body: JSON.stringify(message),
      });
    const list = { jsonrpc: '2.0', id: 1, method: 'tools/list' };
    expect(await ask(list)).toMatchObject({ status: 200, rule: 'mcp-reads-need-the-read-scope' });
    expect(await ask(tool('search'))).toMatchObject({ status: 200, rule: 'mcp-tools-need-a-scope-each' });
    expect(await ask(tool('other'))).toMatchObject({ reason: 'no_matching_rule' });
    expect(await ask(tool('drop_table'))).toMatchObject({ rule: 'destructive-tools-stay-out' });
    expect(await ask([list])).toMatchObject({ reason: 'rule_denied', rule: 'batches-stay-out' });
  });
});

describe('postern check of the rule library', () => {
  const route = {
    name: 'api',
    match: { pathPrefix: '/' },
    upstream: 'http://127.0.0.1:1',
    audience: publicOrigin,
    credential: 'api-key',
    inspectBody: { json: true },
  };

  it.each(['', 'allow', 'guards', ...files])('has nothing to say about %s', async (part) => {
    const { file, write } = writeConfiguration({
      meters,
      agents: { file: 'agents.yaml' },
      routes: [route],
      rules: [join(library, part)],
    });
    write('agents.yaml', registry);
    const { io, stdout, stderr } = createCapturedIo();
    const code = await check({ config: file, json: false, env: {} }, io);
    expect(stdout().trim().split('\n')).toEqual([`ok ${file}`, expect.stringMatching(/^ {3}1 route, \d+ rules?,/)]);
    expect([code, stderr()]).toEqual([0, '']);
  });
});
