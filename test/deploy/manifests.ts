/** What the files of deploy/ say, read as they are. */

import { readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';

export const projectFolder = resolve(import.meta.dirname, '../..');
export const deployFolder = join(projectFolder, 'deploy');
export const kubernetesFolder = join(deployFolder, 'kubernetes');

export type Mount = { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean };
export type Volume = {
  readonly name: string;
  readonly configMap?: { readonly name: string };
  readonly secret?: { readonly secretName: string; readonly items: readonly { key: string; path: string }[] };
};
export type Probe = {
  readonly httpGet?: { readonly path: string; readonly port: string };
  readonly exec?: { readonly command: readonly string[] };
};
export type Container = {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly restartPolicy?: string;
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly lifecycle?: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
  readonly resources?: { readonly requests?: object; readonly limits?: { readonly memory?: string } };
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly volumeMounts?: readonly Mount[];
};
export type PodSpec = {
  readonly automountServiceAccountToken: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly initContainers: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly Volume[];
};
export type Kustomization = {
  readonly resources: readonly string[];
  readonly configMapGenerator: readonly {
    readonly name: string;
    readonly files: readonly string[];
    readonly options?: { readonly disableNameSuffixHash: boolean };
  }[];
};

/** Every document of a YAML file. Throws on the first that does not parse. */
export function readDocuments<Shape>(file: string): readonly Shape[] {
  return parseAllDocuments(readFileSync(file, 'utf8')).map((document) => {
    if ('errors' in document && document.errors.length > 0) throw new Error(`${file}: ${document.errors[0]?.message}`);
    return document.toJS() as Shape;
  });
}

/** The one document of a YAML file. */
export function readDocument<Shape>(file: string): Shape {
  const [document, ...more] = readDocuments<Shape>(file);
  if (document === undefined || more.length > 0) throw new Error(`${file} must hold one document`);
  return document;
}

type Workload = { readonly spec: { readonly template: { readonly spec: PodSpec } } };

export const readPodSpec = (): PodSpec =>
  readDocument<Workload>(join(kubernetesFolder, 'deployment.yaml')).spec.template.spec;

/** The pod as kustomize makes it with the component signals, whose patch adds to the sidecar and to the volumes. */
export function readPodSpecWithSignals(): PodSpec {
  const pod = readPodSpec();
  const patch = readDocument<Workload>(join(kubernetesFolder, 'signals/deployment.patch.yaml')).spec.template.spec;
  const initContainers = pod.initContainers.map((container) => {
    const more = patch.initContainers.find(({ name }) => name === container.name);
    const ports = [...(container.ports ?? []), ...(more?.ports ?? [])];
    return { ...container, ports, volumeMounts: [...(container.volumeMounts ?? []), ...(more?.volumeMounts ?? [])] };
  });
  return { ...pod, initContainers, volumes: [...pod.volumes, ...patch.volumes] };
}

/** The configuration with the section that waits in comments for the component signals. */
export function withSignals(configuration: string): string {
  const lines = configuration.split('\n');
  const from = lines.indexOf('# signals:');
  if (from === -1) throw new Error('the configuration has no signals in comments');
  return lines.map((line, index) => (index < from ? line : line.replace(/^# /, ''))).join('\n');
}

export const readKustomization = (): Kustomization => readDocument(join(kubernetesFolder, 'kustomization.yaml'));

/** The container by this name, sidecars included. */
export function containerOf(pod: PodSpec, name: string): Container {
  const found = [...pod.initContainers, ...pod.containers].find((container) => container.name === name);
  if (found === undefined) throw new Error(`the Deployment has no container ${name}`);
  return found;
}

/** Contents of the ConfigMaps that kustomize generates, by name and key. */
export function readConfigMaps(): ReadonlyMap<string, ReadonlyMap<string, string>> {
  return new Map(
    readKustomization().configMapGenerator.map(({ name, files }) => [
      name,
      new Map(files.map((file) => [basename(file), readFileSync(join(kubernetesFolder, file), 'utf8')])),
    ]),
  );
}

/** Keys of each Secret that pods wait for, by its name. */
export function readSecretKeys(): ReadonlyMap<string, readonly string[]> {
  type Secret = { readonly metadata: { readonly name: string }; readonly stringData: Readonly<Record<string, string>> };
  return new Map(
    ['', 'redis', 'signals'].map((folder) => {
      const secret = readDocument<Secret>(join(kubernetesFolder, folder, 'secret.example.yaml'));
      return [secret.metadata.name, Object.keys(secret.stringData)];
    }),
  );
}

/** The folder of a file that some other file of deploy/ names. */
export const besides = (file: string, relative: string): string => resolve(dirname(file), relative);
