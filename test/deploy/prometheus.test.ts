import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { reasons } from '../../src/decision.ts';
import { deployFolder, readDocument } from './manifests.ts';

const folder = join(deployFolder, 'prometheus');
const run = promisify(execFile);
const promtool = (args: readonly string[], cwd = folder) => run('promtool', [...args], { cwd, timeout: 60_000 });

type Alert = { alert: string; expr: string; for?: string; labels: { severity: string }; annotations: object };
type Tests = { tests: { name: string }[] };
type ScrapeConfig = {
  job_name: string;
  authorization: object;
  kubernetes_sd_configs?: object;
  relabel_configs?: object;
};

const alerts = readDocument<{ groups: { rules: Alert[] }[] }>(join(folder, 'alert-rules.yaml')).groups.flatMap(
  ({ rules }) => rules,
);

// promtool evaluates every rule at every half minute of every case: seconds of CPU, on a machine that may be busy.
describe('Prometheus rules', { timeout: 60_000 }, () => {
  const temporary: string[] = [];
  afterEach(() => {
    for (const path of temporary.splice(0)) rmSync(path, { recursive: true });
  });

  it('are valid to promtool', async () => {
    const { stdout } = await promtool(['check', 'rules', 'recording-rules.yaml', 'alert-rules.yaml']);
    expect(stdout).toContain(`SUCCESS: ${alerts.length} rules found`);
  });

  it('pass their unit tests in promtool', async () => {
    const { stdout } = await promtool(['test', 'rules', 'alert-rules.test.yaml']);
    expect(stdout).toContain('SUCCESS');
  });

  it('fail their unit tests, alert by alert, once no alert can fire', async () => {
    const output = await outputOfSabotaged('vector(1) < 0');
    const missed = [...output.matchAll(/exp: \{.*?alertname="(\w+)"/g)].map((match) => match[1]);
    expect(new Set(missed)).toEqual(new Set(alerts.map(({ alert }) => alert)));
  });

  it('fail their unit tests once every alert always fires', async () => {
    const output = await outputOfSabotaged('vector(1)');
    expect(output.match(/exp: nil/g)?.length).toBeGreaterThanOrEqual(alerts.length);
  });

  /** What promtool says of the unit tests when every alert has this expression instead of its own. */
  async function outputOfSabotaged(expr: string): Promise<string> {
    const copy = mkdtempSync(join(tmpdir(), 'postern-rules-'));
    temporary.push(copy);
    for (const file of ['recording-rules.yaml', 'alert-rules.test.yaml']) {
      writeFileSync(join(copy, file), readFileSync(join(folder, file)));
    }
    const groups = [{ name: 'postern-alerts', interval: '1m', rules: alerts.map((rule) => ({ ...rule, expr })) }];
    writeFileSync(join(copy, 'alert-rules.yaml'), stringify({ groups }));
    return promtool(['test', 'rules', 'alert-rules.test.yaml'], copy).then(
      () => '',
      (error: { stderr: string }) => error.stderr,
    );
  }

  it('have a case for each alert in which it fires, and one in which it is silent', () => {
    const names = readDocument<Tests>(join(folder, 'alert-rules.test.yaml')).tests.map(({ name }) => name);
    for (const { alert } of alerts) {
      expect(names.filter((name) => name.startsWith(`${alert} fires`))).toHaveLength(1);
      expect(names.filter((name) => name.startsWith(`${alert} is silent`))).toHaveLength(1);
    }
  });

  it('tell who is woken, what happens and what to do', () => {
    for (const { labels, annotations } of alerts) {
      expect(['page', 'ticket']).toContain(labels.severity);
      expect(Object.keys(annotations)).toEqual(['summary', 'description', 'action']);
    }
  });

  it('name only reasons that there are', () => {
    const known: readonly string[] = reasons;
    const matchers = alerts.flatMap(({ expr }) => [...expr.matchAll(/reason=~?"([a-z_|]+)"/g)]);
    expect(matchers.length).toBeGreaterThan(2);
    for (const [, names = ''] of matchers) for (const name of names.split('|')) expect(known).toContain(name);
  });
});

describe('Prometheus configurations', () => {
  it('are valid to promtool', async () => {
    const { stdout } = await promtool(['check', 'config', '--syntax-only', 'prometheus.yml']);
    expect(stdout).toContain('SUCCESS');
  });

  it('scrape as the job that the alerts name, with the admin token', () => {
    for (const file of ['prometheus.yml', 'kubernetes.yml']) {
      const { scrape_configs: jobs } = readDocument<{ scrape_configs: ScrapeConfig[] }>(join(folder, file));
      expect(jobs.map(({ job_name: name }) => name)).toEqual(['postern']);
      expect(jobs[0]?.authorization).toEqual({
        type: 'Bearer',
        credentials_file: expect.stringMatching(/admin-token$/),
      });
    }
    expect(alerts.filter(({ expr }) => expr.includes('job=')).map(({ expr }) => expr)).toEqual([
      'up{job="postern"} == 0',
    ]);
  });

  it('keep the port of the manifest, and label each series with namespace and pod', () => {
    const { scrape_configs: jobs } = readDocument<{ scrape_configs: ScrapeConfig[] }>(join(folder, 'kubernetes.yml'));
    expect(jobs[0]?.relabel_configs).toEqual([
      { source_labels: ['__meta_kubernetes_pod_container_port_name'], regex: 'postern-admin', action: 'keep' },
      { source_labels: ['__meta_kubernetes_namespace'], target_label: 'namespace' },
      { source_labels: ['__meta_kubernetes_pod_name'], target_label: 'pod' },
    ]);
  });
});
