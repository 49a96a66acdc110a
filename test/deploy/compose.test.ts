import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { parse } from 'yaml';
import { configSchema } from '../../src/config/schema.ts';
import { besides, deployFolder, projectFolder, readDocument } from './manifests.ts';
import { untilReady } from './readiness.ts';
import { replaceWords } from './replacements.ts';
import { type StartedProcess, startProcess } from './started-process.ts';

type Service = {
  readonly image?: string;
  readonly command?: readonly string[];
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly secrets?: readonly string[];
  readonly network_mode?: string;
};
type Compose = {
  readonly services: Readonly<Record<string, Service>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
  readonly volumes: Readonly<Record<string, null>>;
};

const folder = join(deployFolder, 'compose');
const compose = readDocument<Compose>(join(folder, 'compose.yaml'));
const services = new Map(Object.entries(compose.services));
const configText = readFileSync(join(folder, 'postern.yaml'), 'utf8');
const config = configSchema.parse(parse(configText));
const mounts = [...services.values()].flatMap(({ volumes = [] }) =>
  volumes.map((volume) => {
    const [source = '', target = ''] = volume.split(':');
    return { source, target };
  }),
);
const made = ['admin-token', 'agent-key.json', 'api-key', 'grafana-password', 'issuer-key.json', 'jwks.json'];

const laptop = (args: readonly string[]) =>
  promisify(execFile)(process.execPath, [join(folder, 'laptop.mjs'), ...args], { timeout: 20_000 });

describe('the compose file', () => {
  it('mounts only files that exist, that setup makes, or volumes that it declares', () => {
    const missing = mounts.filter(({ source }) => {
      if (!source.startsWith('.')) return !(source in compose.volumes);
      const name = source.replace('./secrets/', '');
      return name === source ? !existsSync(join(folder, source)) : !made.includes(name);
    });
    expect(missing).toEqual([]);
    const secretFiles = Object.values(compose.secrets).map(({ file }) => file.replace('./secrets/', ''));
    expect(secretFiles.filter((file) => !made.includes(file))).toEqual([]);
    const named = new Set([...services.values()].flatMap(({ secrets = [] }) => secrets));
    expect(named).toEqual(new Set(Object.keys(compose.secrets)));
  });

  it('publishes ports on loopback only, and none of Redis', () => {
    const ports = [...services.values()].flatMap((service) => service.ports ?? []);
    expect(ports.length).toBeGreaterThan(3);
    expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
    expect(services.get('redis')?.ports).toBeUndefined();
  });

  it('runs a Redis that evicts nothing and keeps its data', () => {
    const command = services.get('redis')?.command ?? [];
    const optionOf = (option: string) => command[command.indexOf(option) + 1];
    expect(optionOf('--maxmemory-policy')).toBe('noeviction');
    expect(optionOf('--appendonly')).toBe('yes');
    expect(config.store).toMatchObject({ kind: 'redis', url: 'redis://redis:6379/0' });
  });

  it('gives Postern every file that its configuration names', () => {
    const { volumes = [], secrets = [] } = services.get('postern') ?? {};
    const present = [
      ...volumes.map((volume) => volume.split(':')[1] ?? ''),
      ...secrets.map((secret) => `/run/secrets/${secret}`),
    ];
    const named = [...configText.matchAll(/[ [](\/(?:etc|run)\/[\w/.-]+)/g)].map((match) => match[1]);
    expect(named).toHaveLength(4);
    expect(present).toEqual(expect.arrayContaining(named));
    expect(present).toContain('/etc/postern/postern.yaml');
  });

  it('lets Prometheus scrape the admin port with the token', () => {
    type Scrape = { static_configs: { targets: string[] }[]; authorization: { credentials_file: string } };
    const file = join(deployFolder, 'prometheus/prometheus.yml');
    const { rule_files: rules, scrape_configs: jobs } = readDocument<{
      rule_files: string[];
      scrape_configs: Scrape[];
    }>(file);
    const port = config.admin.address.split(':')[1];
    expect(jobs[0]?.static_configs[0]?.targets).toEqual([`postern:${port}`]);
    expect(jobs[0]?.authorization.credentials_file).toBe(config.admin.tokenFile);
    expect(services.get('prometheus')?.secrets).toEqual(['admin-token']);
    for (const rule of rules) expect(mounts.map(({ target }) => target)).toContain(`/etc/prometheus/${rule}`);
  });

  it('provisions Grafana with this Prometheus and the dashboard', () => {
    const provisioning = join(deployFolder, 'grafana/provisioning');
    const sources = readDocument<{ datasources: { url: string }[] }>(join(provisioning, 'datasources/prometheus.yaml'));
    expect(sources.datasources.map(({ url }) => services.has(new URL(url).hostname))).toEqual([true]);
    const providers = readDocument<{ providers: { options: { path: string } }[] }>(
      join(provisioning, 'dashboards/postern.yaml'),
    );
    const dashboard = mounts.find(({ source }) => source.endsWith('postern.json'));
    expect(dashboard?.target).toBe(`${providers.providers[0]?.options.path}/postern.json`);
    expect(existsSync(besides(join(folder, 'compose.yaml'), dashboard?.source ?? ''))).toBe(true);
  });

  it('puts the app into the network of Postern, which reaches it on loopback', () => {
    expect(services.get('app')?.network_mode).toBe('service:postern');
    expect(`http://${services.get('app')?.command?.[2]}`).toBe(config.routes[0]?.upstream);
  });
});

describe('the laptop', () => {
  const root = mkdtempSync(join(tmpdir(), 'postern-laptop-'));
  const secrets = join(root, 'secrets');
  const stops: StartedProcess['stop'][] = [];
  let origin = '';

  beforeAll(async () => {
    await laptop(['setup', secrets]);
    const rules = join(deployFolder, 'kubernetes/rules');
    const app = join(deployFolder, 'kubernetes/app/server.mjs');
    const upstream = await startProcess([process.execPath, app, '127.0.0.1:0', join(secrets, 'api-key')], {});
    stops.push(upstream.stop);
    const table = new Map([
      ['0.0.0.0:8080', '127.0.0.1:0'],
      ['0.0.0.0:9901', '0.0.0.0:0'],
      ['/run/secrets/admin-token', join(secrets, 'admin-token')],
      ['/run/secrets/api-key', join(secrets, 'api-key')],
      ['/etc/postern/jwks.json', join(secrets, 'jwks.json')],
      ['/etc/postern-rules', rules],
      ['http://127.0.0.1:3000', upstream.started.listening ?? ''],
      ['redis://redis:6379/0', inject('redisUrl')],
    ]);
    const file = join(root, 'postern.yaml');
    writeFileSync(file, replaceWords([configText], table)[0] ?? '');
    const command = [process.execPath, join(projectFolder, 'src/main.ts'), 'run', '--config', file, '--json'];
    const postern = await startProcess(command, {});
    stops.push(postern.stop);
    origin = postern.started.listening ?? '';
    await untilReady(`${postern.started.admin}/readyz`);
  });
  afterAll(async () => {
    for (const stop of stops.toReversed()) await stop();
    rmSync(root, { recursive: true });
  });

  it('makes its secrets once, in a folder that no other user opens', async () => {
    expect(readdirSync(secrets).toSorted()).toEqual(made);
    const before = made.map((name) => readFileSync(join(secrets, name), 'utf8'));
    await laptop(['setup', secrets]);
    expect(made.map((name) => readFileSync(join(secrets, name), 'utf8'))).toEqual(before);
    expect(statSync(secrets).mode & 0o777).toBe(0o700);
    for (const name of ['issuer-key.json', 'agent-key.json']) {
      expect(statSync(join(secrets, name)).mode & 0o777).toBe(0o600);
    }
    expect(readFileSync(join(secrets, 'jwks.json'), 'utf8')).not.toContain('"d"');
  });

  it('calls through Postern with a token and proof of its own', async () => {
    const { stdout } = await laptop(['call', 'GET', `${origin}/orders`, 'orders:read', secrets]);
    expect(JSON.parse(stdout)).toMatchObject({ orders: [{ id: '1001' }] });
  });

  it('exits with 1 and prints the reason where Postern denies', async () => {
    const denied = laptop(['call', 'GET', `${origin}/orders`, 'orders:none', secrets]);
    const { code, stdout } = await denied.then(
      () => ({ code: 0, stdout: '{}' }),
      (error: { code: number; stdout: string }) => error,
    );
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ reason: 'scope_insufficient' });
  });
});
