/** A ConfigMap as a kubelet mounts it: files are links into `..data`, which is a link to a folder that is replaced. */

import { mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type ConfigMap = {
  /** Replaces all files at once, and removes the old ones afterwards. */
  readonly update: (files: Readonly<Record<string, string>>) => void;
};

export function mountConfigMap(folder: string, files: Readonly<Record<string, string>>): ConfigMap {
  mkdirSync(folder, { recursive: true });
  let version = 0;
  const update: ConfigMap['update'] = (next) => {
    version += 1;
    const stamp = `..2026_11_22_05_00_00.${String(version).padStart(9, '0')}`;
    mkdirSync(join(folder, stamp));
    for (const [name, text] of Object.entries(next)) writeFileSync(join(folder, stamp, name), text);
    const before = version === 1 ? null : readlinkSync(join(folder, '..data'));
    symlinkSync(stamp, join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    const known = readdirSync(folder).filter((name) => !name.startsWith('..'));
    for (const name of Object.keys(next)) {
      if (!known.includes(name)) symlinkSync(join('..data', name), join(folder, name));
    }
    for (const name of known) if (!Object.hasOwn(next, name)) rmSync(join(folder, name));
    if (before !== null) rmSync(join(folder, before), { recursive: true });
  };
  update(files);
  return { update };
}
