import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createMetrics } from '../../src/record/metrics.ts';
import { RawClient } from '../support/raw-http.ts';
import { type Harness, startSidecar } from '../support/sidecar.ts';

const sources = {
  version: '0.0.0',
  issuers: [],
  signals: { transmitters: [], contactAgesMs: () => [], verificationAgesMs: () => [] },
  credentialAgesMs: () => [],
  keySetAgesMs: () => [],
  drift: { countAgents: () => 3, countLatched: () => 1, isStoreReached: () => true },
  isStoreUp: async () => true,
  countRevocations: () => 0,
  mirrorAgeMs: () => 0,
  reload: () => ({ loadedAtMs: 0, isCurrent: true }),
  countAgents: async () => 0,
  isEnforcing: () => true,
};

/** Samples by name and labels, of Postern's own metrics. */
function samplesOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n').filter((line) => line.startsWith('postern_'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}

/** What promtool has to say about Postern's own metrics; throws where it can't even parse the text. */
async function lint(text: string): Promise<readonly string[]> {
  const child = spawn('promtool', ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
  }
  child.stdin.end(text);
  const [code] = (await once(child, 'close')) as [number];
  // 3 stands for findings; those about metrics of the library are its own affair.
  if (code !== 0 && code !== 3) throw new Error(`promtool: ${output}`);
  return output.split('\n').filter((line) => line.startsWith('postern_'));
}

describe('metrics of a running sidecar', () => {
  let harness: Harness;
  let text: string;
  beforeAll(async () => {
    harness = await startSidecar();
    const before = await harness.call('/api/x');
    await harness.call('/api/x', { method: 'POST', body: '{}' });
    for (const path of ['/api/forbidden', '/api/broken', `/nowhere/${'x'.repeat(50)}`]) await harness.call(path);
    await harness.call('/api/x', { token: 'not-a-token' });
    harness.upstream.answerWith((_incoming, response) => response.writeHead(418).end());
    await harness.call('/api/x');
    await new RawClient(harness.port).send('HELLO\r\n\r\n').end();
    expect((await harness.record(before.decision)).decision).toBe('allow');
    await vi.waitFor(async () => {
      text = (await harness.admin('GET', '/metrics')).text;
      expect(samplesOf(text).get('postern_audit_records_total{sink="file",outcome="written"}')).toBe(8);
    });
  });
  afterAll(() => harness.close());

  it('are text that promtool takes without a finding', async () => {
    expect(await lint(text)).toEqual([]);
    await expect(lint('postern_requests_total{ 1\n')).rejects.toThrow('promtool');
    expect(await lint('postern_requests 1\n# TYPE postern_x counter\npostern_x 1\n')).not.toEqual([]);
  });

  it('count each exchange once, by route, decision and reason', () => {
    const requests = [...samplesOf(text)].filter(([name]) => name.startsWith('postern_requests_total'));
    expect(Object.fromEntries(requests)).toEqual({
      'postern_requests_total{route="api",decision="allow",reason="none"}': 3,
      'postern_requests_total{route="api",decision="deny",reason="rule_denied"}': 1,
      'postern_requests_total{route="api",decision="deny",reason="policy_error"}': 1,
      'postern_requests_total{route="api",decision="deny",reason="token_invalid"}': 1,
      'postern_requests_total{route="none",decision="deny",reason="no_route"}': 1,
      'postern_requests_total{route="none",decision="deny",reason="request_malformed"}': 1,
    });
  });

  it('time decisions, stages, the store and the upstream', () => {
    const samples = samplesOf(text);
    expect(samples.get('postern_decision_seconds_count{route="api"}')).toBe(6);
    expect(samples.get('postern_decision_seconds_count{route="none"}')).toBe(2);
    expect(samples.get('postern_stage_seconds_count{stage="upstream"}')).toBe(3);
    expect(samples.get('postern_stage_seconds_count{stage="identify"}')).toBe(6);
    expect(samples.get('postern_upstream_seconds_count{route="api",code="200"}')).toBe(2);
    expect(samples.get('postern_upstream_seconds_count{route="api",code="418"}')).toBe(1);
    expect(samples.get('postern_store_seconds_count')).toBe(5);
    expect(samples.get('postern_store_up')).toBe(1);
    expect(samples.get('postern_revocations')).toBe(0);
  });

  it('count the rules that matched and those that could not be evaluated', () => {
    const samples = samplesOf(text);
    expect(samples.get('postern_rule_matches_total{rule="reads-need-read",effect="allow",mode="enforce"}')).toBe(4);
    expect(samples.get('postern_rule_matches_total{rule="nobody-deletes",effect="deny",mode="enforce"}')).toBe(1);
    expect(samples.get('postern_rule_errors_total{rule="cannot-evaluate"}')).toBe(1);
  });

  it('tell how old credentials and keys are, and what runs', () => {
    const samples = samplesOf(text);
    expect(samples.get('postern_credential_age_seconds{credential="api-key"}')).toBeGreaterThanOrEqual(0);
    expect(samples.get(`postern_jwks_age_seconds{issuer="${harness.issuer.issuer}"}`)).toBeGreaterThanOrEqual(0);
    expect(text).toMatch(/^postern_build_info\{version="[^"]+",node="26\.[^"]+"\} 1$/m);
  });

  it('name no agent, subject, path or token in any label', () => {
    const labels = text.match(/\{[^}]*\}/g)?.join('\n') ?? '';
    expect(labels).toContain('route="api"');
    for (const part of ['agent-7', 'user-1', '/api/', 'nowhere', 'not-a-token', '127.0.0.1:5']) {
      expect(labels.replaceAll(harness.issuer.issuer, '')).not.toContain(part);
    }
  });
});

describe('metrics read on demand', () => {
  it('leave out what cannot be said, and show it again when it can', async () => {
    let ages: [string, number][] = [['key', 1500]];
    let count: number | null = 7;
    let isUp = true;
    const metrics = createMetrics({
      ...sources,
      credentialAgesMs: () => ages,
      countRevocations: () => count,
      mirrorAgeMs: () => 2500,
      isStoreUp: async () => isUp,
      isEnforcing: () => isUp,
    });
    expect(await metrics.expose()).toContain('postern_credential_age_seconds{credential="key"} 1.5');
    expect(samplesOf(await metrics.expose()).get('postern_enforcement')).toBe(1);
    [ages, count, isUp] = [[], null, false];
    const samples = samplesOf(await metrics.expose());
    expect([...samples.keys()].filter((name) => name.startsWith('postern_credential_age'))).toEqual([]);
    expect(samples.has('postern_revocations')).toBe(false);
    expect(samples.get('postern_store_up')).toBe(0);
    expect(samples.get('postern_enforcement')).toBe(0);
    expect(samples.get('postern_revocation_mirror_age_seconds')).toBe(2.5);
    count = 8;
    expect(samplesOf(await metrics.expose()).get('postern_revocations')).toBe(8);
  });

  it('belong to one sidecar each', async () => {
    const [one, other] = [createMetrics(sources), createMetrics(sources)];
    one.countRuleError('a');
    expect(samplesOf(await one.expose()).get('postern_rule_errors_total{rule="a"}')).toBe(1);
    expect(await other.expose()).not.toContain('rule="a"');
  });
});
