import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { configSchema } from '../../src/config/schema.ts';
import {
  containerOf,
  deployFolder,
  kubernetesFolder,
  type PodSpec,
  projectFolder,
  readConfigMaps,
  readDocument,
  readDocuments,
  readKustomization,
  readPodSpec,
  readPodSpecWithSignals,
  readSecretKeys,
  type Volume,
  withSignals,
} from './manifests.ts';
import { updateVolume } from './mounts.ts';
import { type Pod, startPod } from './pod.ts';
import { until } from './readiness.ts';
import { replaceWords } from './replacements.ts';

const pod = readPodSpec();
const postern = containerOf(pod, 'postern');
const app = containerOf(pod, 'app');
const configText = readConfigMaps().get('postern-config')?.get('postern.yaml') ?? '';
const config = configSchema.parse(parse(configText));

describe('the kustomize base', () => {
  it('names only files that exist, and leaves the Secret with its placeholders out', () => {
    const { resources, configMapGenerator } = readKustomization();
    const files = [...resources, ...configMapGenerator.flatMap((generator) => generator.files)];
    expect(files.filter((file) => !existsSync(join(kubernetesFolder, file)))).toEqual([]);
    expect(files).not.toContain('secret.example.yaml');
  });

  it('runs Postern as a native sidecar beside the app', () => {
    expect(pod.initContainers.map(({ name, restartPolicy }) => ({ name, restartPolicy }))).toEqual([
      { name: 'postern', restartPolicy: 'Always' },
    ]);
    expect(pod.containers.map(({ name }) => name)).toEqual(['app']);
  });

  it('gives neither container more than it needs', () => {
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    expect(pod.automountServiceAccountToken).toBe(false);
    for (const container of [postern, app]) {
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      expect(container.resources?.limits?.memory).toBeDefined();
      expect((container.volumeMounts ?? []).filter(({ readOnly }) => readOnly !== true)).toEqual([]);
    }
  });

  it('probes the admin port, which the configuration opens with a token', () => {
    const paths = [postern.startupProbe, postern.livenessProbe, postern.readinessProbe].map((probe) => probe?.httpGet);
    const port = 'postern-admin';
    expect(paths).toEqual([
      { path: '/livez', port },
      { path: '/livez', port },
      { path: '/readyz', port },
    ]);
    const admin = postern.ports?.find(({ name }) => name === port);
    expect(config.admin.address).toBe(`0.0.0.0:${admin?.containerPort}`);
    expect(config.admin.tokenFile).toBe('/run/secrets/postern/admin-token');
  });

  it('leaves time to stop: the app lingers, then Postern drains', () => {
    const lingerSeconds = app.lifecycle?.preStop.sleep.seconds ?? 0;
    expect(lingerSeconds).toBeGreaterThan(0);
    const drainSeconds = (config.shutdown.delay + config.shutdown.deadline) / 1000;
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(lingerSeconds + drainSeconds);
  });

  it('mounts every Secret key that it documents, and the key of the API only where it is used', () => {
    type Redis = { kind: string; spec: { template: { spec: { volumes: Volume[] } } } };
    const documents = readDocuments<Redis>(join(kubernetesFolder, 'redis/redis.yaml'));
    const redisVolumes = documents.find(({ kind }) => kind === 'StatefulSet')?.spec.template.spec.volumes ?? [];
    const volumes = [...readPodSpecWithSignals().volumes, ...redisVolumes];
    for (const [name, keys] of readSecretKeys()) {
      const mounted = volumes.flatMap(({ secret }) => (secret?.secretName === name ? secret.items : []));
      expect(new Set(mounted.map(({ key }) => key)), name).toEqual(new Set(keys));
    }
    const files = ['admin-token', 'api-key', 'redis-password'].map((key) => `/run/secrets/postern/${key}`);
    for (const file of files) expect(configText).toContain(file);
  });

  it('gives configuration, rules and agents to running pods under names that stay', () => {
    const { configMapGenerator } = readKustomization();
    const stay = configMapGenerator.filter(({ options }) => options?.disableNameSuffixHash === true);
    expect(stay.map(({ name }) => name)).toEqual(['postern-config', 'postern-rules', 'postern-agents']);
    // A mount with subPath never follows its ConfigMap.
    const mounts = (postern.volumeMounts ?? []).filter(({ name }) => stay.some((map) => map.name === name));
    expect(mounts.map((mount) => Object.keys(mount).toSorted())).toEqual(
      stay.map(() => ['mountPath', 'name', 'readOnly']),
    );
  });

  it('has a Sentinel variant that is a store', () => {
    const text = readFileSync(join(deployFolder, 'README.md'), 'utf8');
    const [, stated = ''] = /```yaml\n(store:[^`]*)```/.exec(text) ?? [];
    const { store } = configSchema.parse({ ...parse(configText), ...parse(stated) });
    expect(store).toMatchObject({ sentinelName: 'postern', username: config.store.username });
  });

  it('opens the port for security events with its component only', () => {
    const withComponent = configSchema.parse(parse(withSignals(configText)));
    expect(config.signals.transmitters).toEqual([]);
    expect(withComponent.signals.transmitters.map(({ name }) => name)).toEqual(['okta']);
    const port = containerOf(readPodSpecWithSignals(), 'postern').ports?.find(({ name }) => name === 'signals');
    expect(withComponent.signals.address).toBe(`0.0.0.0:${port?.containerPort}`);
    const folder = join(kubernetesFolder, 'signals');
    const component = readDocument<{ resources: string[]; patches: { path: string }[] }>(
      join(folder, 'kustomization.yaml'),
    );
    const files = [...component.resources, ...component.patches.map(({ path }) => path)];
    expect(files.filter((file) => !existsSync(join(folder, file)))).toEqual([]);
    expect(files).not.toContain('secret.example.yaml');
    const service = readDocument<{ spec: { ports: { targetPort: string }[] } }>(join(folder, 'service.yaml'));
    expect(service.spec.ports.map(({ targetPort }) => targetPort)).toEqual(['signals']);
    const policy = readDocument<{ spec: { policyTypes: string[]; ingress: { ports: { port: number }[] }[] } }>(
      join(folder, 'network-policy.yaml'),
    );
    expect(policy.spec.policyTypes).toEqual(['Ingress']);
    expect(policy.spec.ingress.flatMap(({ ports }) => ports.map((one) => one.port))).toEqual([port?.containerPort]);
  });

  it('keeps the store in Redis and the upstream on the loopback of the pod', () => {
    expect(config.store.kind).toBe('redis');
    expect(config.routes.map(({ upstream }) => upstream)).toEqual(['http://127.0.0.1:3000']);
    expect(app.args?.[0]).toBe('127.0.0.1:3000');
  });

  it('leads the Service to the data port and nowhere else', () => {
    const service = readDocument<{ spec: { ports: { targetPort: string }[] } }>(join(kubernetesFolder, 'service.yaml'));
    expect(service.spec.ports.map(({ targetPort }) => targetPort)).toEqual(['http']);
    const data = postern.ports?.find(({ name }) => name === 'http');
    expect(config.listen.address).toBe(`0.0.0.0:${data?.containerPort}`);
  });

  it('lets agents reach the data port and monitoring the admin port, and no one else anything', () => {
    const policy = readDocument<{
      spec: { policyTypes: string[]; ingress: { from: object[]; ports: { port: number }[] }[]; egress: object[] };
    }>(join(kubernetesFolder, 'network-policy.yaml'));
    expect(policy.spec.policyTypes).toEqual(['Ingress', 'Egress']);
    const fromNamespace = (name: string, port: number) => ({
      from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': name } } }],
      ports: [{ protocol: 'TCP', port }],
    });
    expect(policy.spec.ingress).toEqual([fromNamespace('agents', 8080), fromNamespace('monitoring', 9901)]);
  });

  it('ships a Redis that evicts nothing, keeps its data and has no password in its arguments or environment', () => {
    type Document = { kind: string; spec: { template: { spec: PodSpec }; volumeClaimTemplates: object[] } };
    const documents = readDocuments<Document>(join(kubernetesFolder, 'redis/redis.yaml'));
    const stateful = documents.find(({ kind }) => kind === 'StatefulSet');
    const [container] = stateful?.spec.template.spec.containers ?? [];
    expect(stateful?.spec.volumeClaimTemplates).toHaveLength(1);
    expect(container?.args).toEqual(['/etc/redis/redis.conf']);
    expect(container?.env).toBeUndefined();
    const settings = readFileSync(join(kubernetesFolder, 'redis/redis.conf'), 'utf8').split('\n');
    const stated = ['maxmemory-policy noeviction', 'appendonly yes', 'appendfsync everysec', 'dir /data'];
    expect(settings).toEqual(expect.arrayContaining(stated));
    const places = (container?.volumeMounts ?? []).map(({ mountPath }) => mountPath);
    expect(places).toEqual(['/data', '/etc/redis', '/run/secrets/postern-redis']);
    expect(settings).toContain('aclfile /run/secrets/postern-redis/users.acl');
  });

  it('lets Postern log in to Redis as a user that may do what the README says, and nobody else', () => {
    const users = readFileSync(join(kubernetesFolder, 'redis/users.acl'), 'utf8');
    const readme = readFileSync(join(projectFolder, 'README.md'), 'utf8');
    const [, stated = ''] = /ACL SETUSER postern on >PASSWORD ([^`]*)```/.exec(readme) ?? [];
    const rules = stated.replace(/\\\n/g, '').trim().split(/\s+/);
    expect(rules).toContain('~postern:*');
    expect(users.split('\n')).toEqual([
      'user default off',
      `user postern on #SHA256_OF_THE_PASSWORD ${rules.join(' ')}`,
      '',
    ]);
    expect(config.store).toMatchObject({ username: 'postern', prefix: 'postern:' });
  });
});

describe('the pod as the manifest states it', () => {
  let running: Pod;
  beforeAll(async () => {
    running = await startPod();
  });
  afterAll(() => running.close());

  const call = (path: string, headers: Record<string, string> = {}) =>
    fetch(`${running.dataOrigin}${path}`, { headers, signal: AbortSignal.timeout(5000) });

  it('probes the app from within: 0 while it serves, else not', async () => {
    const stated = app.readinessProbe?.exec?.command ?? [];
    const probe = (origin: string) => {
      const table = new Map([
        ['node', process.execPath],
        ['http://127.0.0.1:3000', origin],
      ]);
      const [file = '', ...args] = replaceWords(stated, table);
      return promisify(execFile)(file, args, { timeout: 10_000 });
    };
    await expect(probe(running.appOrigin)).resolves.toEqual({ stdout: '', stderr: '' });
    // Postern's own data port is no app: it refuses.
    await expect(probe(running.dataOrigin)).rejects.toMatchObject({ code: 1 });
  });

  it('refuses a call without a token', async () => {
    const response = await call('/orders');
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toMatch(/^DPoP /);
    expect(response.headers.get('postern-decision')).toMatch(/^[0-9a-f-]{36}$/);
    expect(await response.json()).toMatchObject({ reason: 'token_missing' });
  });

  it('lets an allowed call through with the real key, and with nothing of the agent', async () => {
    const bare = await fetch(`${running.appOrigin}/orders`, { signal: AbortSignal.timeout(5000) });
    expect(bare.status).toBe(401);
    await bare.text();
    const response = await call('/orders', running.authorize('/orders', 'orders:read'));
    const { orders, fields } = (await response.json()) as { orders: unknown[]; fields: string[] };
    expect(response.status).toBe(200);
    expect(orders).toHaveLength(1);
    expect(fields).toContain('authorization');
    expect(fields).not.toContain('dpop');
  });

  it('refuses a token without the scope that the rules ask for', async () => {
    const response = await call('/orders', running.authorize('/orders', 'orders:none'));
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ reason: 'scope_insufficient' });
  });

  it('answers probes to anyone, and metrics to the holder of the admin token only', async () => {
    const get = (path: string, headers: Record<string, string> = {}) =>
      fetch(`${running.adminOrigin}${path}`, { headers, signal: AbortSignal.timeout(5000) });
    const admin = { authorization: `Bearer ${running.secrets.get('admin-token')}` };
    expect((await get('/livez')).status).toBe(200);
    expect((await get('/readyz')).status).toBe(200);
    expect((await get('/metrics')).status).toBe(401);
    expect((await get('/v1/revocations')).status).toBe(401);
    expect((await get('/metrics', admin)).status).toBe(200);
    expect((await get('/v1/revocations', admin)).status).toBe(200);
  });

  it('has secrets that only their maker reads, and none of them but digests in Redis', () => {
    const folder = join(running.root, 'secrets');
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const paths = files.map(({ parentPath, name }) => join(parentPath, name));
    expect(paths.map((path) => statSync(path).mode & 0o777)).toEqual([0o600, 0o600, 0o600, 0o600]);
    const users = readFileSync(join(folder, 'postern-redis/users.acl'), 'utf8');
    expect(users).toContain(
      ` #${createHash('sha256')
        .update(running.secrets.get('redis-password') ?? '')
        .digest('hex')} `,
    );
    for (const secret of running.secrets.values()) expect(users).not.toContain(secret);
  });

  it('takes a changed ConfigMap of rules without a restart, and keeps the last good one over a bad one', async () => {
    const folder = join(running.root, '/etc/postern-rules');
    const given = readConfigMaps().get('postern-rules')?.get('orders.yaml') ?? '';
    const statusAfter = (rules: string, isAsWanted: (status: number) => boolean) => {
      updateVolume(folder, new Map([['orders.yaml', rules]]));
      return until(async () => {
        const response = await call('/orders', running.authorize('/orders', 'orders:read'));
        await response.text();
        return isAsWanted(response.status);
      });
    };
    await statusAfter(given.replace('"orders:read" in', '"orders:all" in'), (status) => status === 403);
    updateVolume(folder, new Map([['orders.yaml', 'rules: [{ id: bad }]']]));
    const admin = { authorization: `Bearer ${running.secrets.get('admin-token')}` };
    await until(async () => {
      const response = await fetch(`${running.adminOrigin}/metrics`, { headers: admin });
      return (await response.text()).includes('postern_reload_last_successful 0');
    });
    const response = await call('/orders', running.authorize('/orders', 'orders:read'));
    expect(await response.json()).toMatchObject({ status: 403, reason: 'scope_insufficient' });
    await statusAfter(given, (status) => status === 200);
  });

  it('drains and exits with 0 on SIGTERM, having logged no secret', async () => {
    const headers = running.authorize('/orders', 'orders:read');
    const response = await call('/orders', headers);
    await response.text();
    expect(response.status).toBe(200);
    expect(await running.postern.stop()).toBe(0);
    const records = running.postern.stdout();
    expect(records).toContain(response.headers.get('postern-decision'));
    const output = records + running.postern.stderr();
    const accessToken = headers.authorization.slice('DPoP '.length);
    for (const secret of [...running.secrets.values(), accessToken]) expect(output).not.toContain(secret);
  });
});
