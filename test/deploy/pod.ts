/** Runs the pod of deploy/kubernetes as processes of this machine: its commands, environment and files. */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startJwksServer } from '../support/jwks-server.ts';
import { createKey } from '../support/keys.ts';
import { startRedis } from '../support/redis-server.ts';
import { dpopFields } from '../support/tokens.ts';
import { type Container, containerOf, projectFolder, readPodSpec } from './manifests.ts';
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
  readonly secrets: ReadonlyMap<string, string>;
  readonly close: () => Promise<void>;
};

export type PodOptions = {
  /** More files for a mounted folder, by its path in the container. */
  readonly more?: ReadonlyMap<string, ReadonlyMap<string, string>>;
};

/** What agents call in the manifest: its listen.publicOrigin, and the audience of its route. */
const publicOrigin = 'https://orders.example.com';

/** The tables name all that is changed of what the manifest states. */
export async function startPod({ more = new Map() }: PodOptions = {}): Promise<Pod> {
  const root = mkdtempSync(join(tmpdir(), 'postern-pod-'));
  const closers: (() => Promise<unknown>)[] = [async () => rmSync(root, { recursive: true })];
  const close = async () => {
    for (const closer of closers.toReversed()) await closer();
  };
  try {
    const pod = readPodSpec();
    const secrets = new Map(
      ['admin-token', 'api-key', 'redis-password'].map((key) => [key, randomBytes(32).toString('base64url')]),
    );
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
    const redis = await startRedis({ password: secrets.get('redis-password') ?? '' });
    closers.push(redis.stop);

    const container = containerOf(pod, 'postern');
    const configTable = new Map([
      ['/etc/postern-rules', join(root, '/etc/postern-rules')],
      ['/run/secrets/postern', join(root, '/run/secrets/postern')],
      ['0.0.0.0:8080', '0.0.0.0:0'],
      ['0.0.0.0:9901', '0.0.0.0:0'],
      ['http://127.0.0.1:3000', appOrigin],
      ['https://login.example.com', issuer.issuer],
      ['redis://postern-redis:6379/0', `redis://127.0.0.1:${redis.port}/0`],
    ]);
    mount(container, (path, content) =>
      path === '/etc/postern/postern.yaml' ? (replaceWords([content], configTable)[0] ?? '') : content,
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
    return { postern, appOrigin, dataOrigin: postern.started.listening ?? '', adminOrigin, authorize, secrets, close };
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
