/** Runs the pod of deploy/kubernetes as processes of this machine: its commands, environment and files. */

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startJwksServer } from '../support/jwks-server.ts';
import { createKey } from '../support/keys.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { dpopFields } from '../support/tokens.ts';
import {
  type Container,
  containerOf,
  kubernetesFolder,
  projectFolder,
  readPodSpec,
  readPodSpecWithSignals,
  withSignals,
} from './manifests.ts';
import { mountVolumes } from './mounts.ts';
import { untilReady } from './readiness.ts';
import { replaceWords } from './replacements.ts';
import { type StartedProcess, startProcess } from './started-process.ts';

export type Pod = {
  readonly postern: StartedProcess;
  /** Where the app listens: loopback, as only Postern reaches it in a pod. */
  readonly appOrigin: string;
  readonly dataOrigin: string;
  readonly adminOrigin: string;
  /** Fields of a call of GET `path` at the public origin, by an agent whose token has this scope. */
  readonly authorize: (path: string, scope: string) => { readonly authorization: string; readonly dpop: string };
  /** Keys of the Secret of the pod. */
  readonly secrets: ReadonlyMap<string, string>;
  /** The folder that stands for / of the sidecar. */
  readonly root: string;
  readonly close: () => Promise<void>;
};

export type PodOptions = {
  /** With the component signals. */
  readonly hasSignals?: boolean;
  /** More files for a mounted folder, by its path in the container. */
  readonly more?: ReadonlyMap<string, ReadonlyMap<string, string>>;
};

/** What agents call in the manifest: its listen.publicOrigin, and the audience of its route. */
const publicOrigin = 'https://orders.example.com';

/** The tables name all that is changed of what the manifest states. */
export async function startPod({ hasSignals = false, more = new Map() }: PodOptions = {}): Promise<Pod> {
  const root = mkdtempSync(join(tmpdir(), 'postern-pod-'));
  const closers: (() => Promise<unknown>)[] = [async () => rmSync(root, { recursive: true })];
  const close = async () => {
    for (const closer of closers.toReversed()) await closer();
  };
  try {
    const pod = hasSignals ? readPodSpecWithSignals() : readPodSpec();
    const secrets = await makeSecrets(root);
    const mount = (container: Container, rewrite: (path: string, content: string) => string) =>
      mountVolumes(root, container, { pod, secrets, rewrite, more });

    const app = containerOf(pod, 'app');
    mount(app, (_, content) => content);
    const appTable = new Map([
      ['node', process.execPath],
      ['/app', join(root, '/app')],
      ['/run/secrets/app', join(root, '/run/secrets/app')],
      ['127.0.0.1:3000', '127.0.0.1:0'],
    ]);
    const appCommand = replaceWords([...(app.command ?? []), ...(app.args ?? [])], appTable);
    const appProcess = await startProcess(appCommand, environmentOf(app));
    closers.push(appProcess.stop);
    const appOrigin = appProcess.started.listening ?? '';

    const issuer = await startJwksServer();
    closers.push(issuer.close);
    const redis = await startDeployedRedis(join(root, 'secrets/postern-redis/users.acl'));
    closers.push(redis.stop);

    const container = containerOf(pod, 'postern');
    const configTable = new Map([
      ['/etc/postern-rules', join(root, '/etc/postern-rules')],
      ['/etc/postern-agents', join(root, '/etc/postern-agents')],
      ['/run/secrets/postern', join(root, '/run/secrets/postern')],
      ['0.0.0.0:8080', '0.0.0.0:0'],
      ['0.0.0.0:9901', '0.0.0.0:0'],
      ['http://127.0.0.1:3000', appOrigin],
      ['https://login.example.com', issuer.issuer],
      ['redis://postern-redis:6379/0', `redis://127.0.0.1:${redis.port}/0`],
    ]);
    const signalsTable = new Map([
      ['/run/secrets/postern-signals', join(root, '/run/secrets/postern-signals')],
      ['0.0.0.0:9902', '0.0.0.0:0'],
      ['https://example.okta.com', issuer.issuer],
    ]);
    const configOf = (content: string) =>
      hasSignals
        ? replaceWords([withSignals(content)], new Map([...configTable, ...signalsTable]))
        : replaceWords([content], configTable);
    mount(container, (path, content) =>
      path === '/etc/postern/postern.yaml' ? (configOf(content)[0] ?? '') : content,
    );
    const args = replaceWords(container.args ?? [], new Map([['/etc/postern', join(root, '/etc/postern')]]));
    // The image's entry point is the compiled form of this very file; see image.test.ts.
    const entryPoint = [process.execPath, join(projectFolder, 'src/main.ts')];
    const postern = await startProcess([...entryPoint, ...args], environmentOf(container));
    closers.push(postern.stop);
    const adminOrigin = postern.started.admin ?? '';
    await untilReady(`${adminOrigin}${container.readinessProbe?.httpGet?.path}`);
    const agentKey = createKey();
    const authorize = (path: string, scope: string) => {
      const accessToken = issuer.mint({ audience: publicOrigin, agentKey, scope });
      return dpopFields({ key: agentKey, method: 'GET', url: `${publicOrigin}${path}`, accessToken });
    };
    const dataOrigin = postern.started.listening ?? '';
    const podSecrets = secrets.get('postern') ?? new Map();
    return { postern, appOrigin, dataOrigin, adminOrigin, authorize, secrets: podSecrets, root, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Exactly what the manifest states, over what the image sets. */
function environmentOf(container: Container): Readonly<Record<string, string>> {
  const stated = Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value]));
  return container.name === 'postern' ? { NODE_ENV: 'production', ...stated } : stated;
}

/** Runs make-secrets.sh, and gives what kubectl would make of its folders: Secrets by name, and values by key. */
async function makeSecrets(root: string): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
  const folder = join(root, 'secrets');
  const keyFile = join(root, 'key-of-the-api');
  writeFileSync(keyFile, randomBytes(32).toString('base64url'));
  await promisify(execFile)('sh', [join(kubernetesFolder, 'make-secrets.sh'), folder, keyFile], { timeout: 10_000 });
  const made = readdirSync(folder).map((name) => {
    const files = readdirSync(join(folder, name));
    return [name, new Map(files.map((file) => [file, readFileSync(join(folder, name, file), 'utf8')]))] as const;
  });
  return new Map([...made, ['postern-signals', new Map([['push-token', randomBytes(32).toString('base64url')]])]]);
}

/** Redis with the users and, but for its places, all settings of deploy/kubernetes/redis. */
function startDeployedRedis(usersFile: string): Promise<RedisServer> {
  const settings = new Map(
    readFileSync(join(kubernetesFolder, 'redis/redis.conf'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split(' ') as [string, string]),
  );
  settings.set('aclfile', usersFile).set('save', '').delete('dir');
  return startRedis({ extraArguments: [...settings].flatMap(([name, value]) => [`--${name}`, value]) });
}
