/** Files of rules and of their tests: named as they are, or found in folders. Bounded, whatever path is given. */

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Problem } from '../errors.ts';

const fileBytesMax = 1_048_576;
const filesMax = 1000;
const folderDepthMax = 16;
// A path that was not meant, such as the root folder, is not to be searched for minutes.
const entriesMax = 10_000;

type Search = {
  readonly files: Set<string>;
  readonly problems: Problem[];
  readonly isWanted: (name: string) => boolean;
  entriesLeft: number;
};

/** Files as given, folders sorted; each file once, however often it is reached. `isWanted` judges names in folders. */
export async function findFiles(
  paths: readonly string[],
  problems: Problem[],
  isWanted: (name: string) => boolean,
): Promise<readonly string[]> {
  const search: Search = { files: new Set(), problems, isWanted, entriesLeft: entriesMax };
  for (const path of paths) await collect(path, 0, search);
  if (search.entriesLeft < 0) {
    problems.push({
      file: paths[0] ?? 'rules',
      message: `there are more than ${entriesMax} files and folders to search`,
    });
    return [];
  }
  if (search.files.size <= filesMax) return [...search.files];
  problems.push({ file: paths[0] ?? 'rules', message: `there are more than ${filesMax} rule files` });
  return [];
}

/** Files named *.test.yaml are tests of rules. */
export function isTestFile(name: string): boolean {
  return /\.test\.ya?ml$/.test(name);
}

export function isRuleFile(name: string): boolean {
  return /\.ya?ml$/.test(name) && !isTestFile(name);
}

async function collect(path: string, depth: number, search: Search): Promise<void> {
  const { files, problems, isWanted } = search;
  try {
    const found = await stat(path);
    if (found.isFile()) {
      if (found.size <= fileBytesMax) files.add(path);
      else problems.push({ file: path, message: 'is larger than 1 MiB' });
    } else if (!found.isDirectory()) {
      problems.push({ file: path, message: 'is neither a file nor a folder' });
    } else if (depth > folderDepthMax) {
      problems.push({ file: path, message: `lies more than ${folderDepthMax} folders deep` });
    } else {
      const entries = await readdir(path, { withFileTypes: true });
      search.entriesLeft -= entries.length;
      // Hidden entries are left out: Kubernetes mounts a ConfigMap as links into a hidden folder, which would otherwise
      // be read twice.
      const wanted = entries.filter(
        (entry) => !entry.name.startsWith('.') && (entry.isDirectory() || isWanted(entry.name)),
      );
      for (const name of wanted.map((entry) => entry.name).toSorted()) {
        if (search.entriesLeft < 0) return;
        await collect(join(path, name), depth + 1, search);
      }
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    problems.push({ file: path, message: `cannot be read (${code}); check the path and its permissions` });
  }
}
