/** Lays out the volumes of a pod under a folder, as the kubelet does under /. */

import { mkdirSync, mkdtempSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Container, type PodSpec, readConfigMaps, readSecretKeys } from './manifests.ts';

type Files = ReadonlyMap<string, string>;

export type MountOptions = {
  readonly pod: PodSpec;
  /** Values in place of the placeholders of the Secrets, by Secret and key. */
  readonly secrets: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Last word on the content of each file, by its path in the container. */
  readonly rewrite: (path: string, content: string) => string;
  /** More files for a mounted folder, by its path in the container. */
  readonly more?: ReadonlyMap<string, Files>;
};

/** Writes what `container` mounts. Each mount path lies below `root` afterwards. */
export function mountVolumes(root: string, container: Container, options: MountOptions): void {
  for (const { name, mountPath } of container.volumeMounts ?? []) {
    const files = new Map([...volumeFiles(name, options), ...(options.more?.get(mountPath) ?? [])]);
    writeVolume(
      join(root, mountPath),
      new Map([...files].map(([file, content]) => [file, options.rewrite(join(mountPath, file), content)])),
    );
  }
}

function volumeFiles(name: string, { pod, secrets }: MountOptions): Files {
  const volume = pod.volumes.find((candidate) => candidate.name === name);
  if (volume?.configMap !== undefined) {
    const files = readConfigMaps().get(volume.configMap.name);
    if (files === undefined) throw new Error(`no generator makes the ConfigMap ${volume.configMap.name}`);
    return files;
  }
  if (volume?.secret === undefined) throw new Error(`volume ${name} is neither a ConfigMap nor a Secret`);
  const { secretName, items } = volume.secret;
  const known = readSecretKeys().get(secretName) ?? [];
  return new Map(
    items.map(({ key, path }) => {
      const value = secrets.get(secretName)?.get(key);
      if (!known.includes(key) || value === undefined) throw new Error(`the Secret ${secretName} has no key ${key}`);
      return [path, value];
    }),
  );
}

/** The kubelet's AtomicWriter: files in a dated folder, `..data` leading to it, and a link for each file. */
function writeVolume(folder: string, files: Files): void {
  mkdirSync(folder, { recursive: true });
  updateVolume(folder, files);
  for (const file of files.keys()) symlinkSync(join('..data', file), join(folder, file));
}

/** What the kubelet does when a ConfigMap has changed: another dated folder, to which `..data` leads from one moment on. */
export function updateVolume(folder: string, files: Files): void {
  const dated = mkdtempSync(join(folder, '..2026_11_01_00_00_00.'));
  for (const [file, content] of files) writeFileSync(join(dated, file), content);
  symlinkSync(basename(dated), join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
}
