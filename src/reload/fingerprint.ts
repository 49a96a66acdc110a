/** What the files that a running set was made from hold, as one digest: the same exactly while they say the same. */

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { codeOf } from '../config/check-files.ts';
import type { Config } from '../config/schema.ts';
import type { Problem } from '../errors.ts';
import { findFiles, isRuleFile } from '../policy/find-files.ts';

/** In place of the digest of what is no file: a pipe, say, whose reader would wait for a writer. */
export const irregular = 'not a regular file';

// More than any of them may be.
const bytesMax = 33_554_432;

export type Fingerprint = {
  /** Of the whole set. */
  readonly digest: string;
  /** Of the configuration file alone. */
  readonly fileDigest: string;
  /** Where a change would show. */
  readonly folders: readonly string[];
};

/** Of a configuration file, its rule files and its OpenAPI documents. Content counts, not times or links. */
export async function fingerprintOf(
  file: string,
  { rules, routes }: Pick<Config, 'rules' | 'routes'>,
): Promise<Fingerprint> {
  const problems: Problem[] = [];
  const ruleFiles = await findFiles(rules, problems, isRuleFile);
  const documents = routes.flatMap(({ openapi }) => openapi ?? []);
  const fileDigest = await digestOf(file);
  const others = await digestsOf([...ruleFiles, ...documents]);
  return {
    // The order of rule files counts, for it is the order of the rules.
    digest: hashOf([fileDigest, others, problems.map((problem) => `${problem.file} ${problem.message}`)]),
    fileDigest,
    // A path of rules is watched itself where it is a folder, and in the folder that it lies in where it is a file.
    folders: [...new Set([file, ...ruleFiles, ...documents].map((path) => dirname(path)).concat(rules))],
  };
}

/** SHA-256, hex, of what a configuration says. It holds no secret, only names of the files and variables that do. */
export function configurationHash(config: Config): string {
  return createHash('sha256').update(JSON.stringify(config, inOrderOfName)).digest('hex');
}

/** The order in which keys are written changes nothing. */
function inOrderOfName(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([one], [other]) => (one < other ? -1 : 1)));
}

/** Of files in this order. One that cannot be read counts as why. */
export async function digestsOf(files: readonly string[]): Promise<string> {
  const digests: (readonly [string, string])[] = [];
  for (const file of files) digests.push([file, await digestOf(file)]);
  return hashOf(digests);
}

export async function digestOf(file: string): Promise<string> {
  try {
    // Without O_NONBLOCK, opening a pipe waits for its writer.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!(await handle.stat()).isFile()) return irregular;
      const hash = createHash('sha256');
      for await (const chunk of handle.createReadStream({ autoClose: false, end: bytesMax })) {
        hash.update(chunk as Buffer);
      }
      return hash.digest('base64url');
    } finally {
      await handle.close();
    }
  } catch (error) {
    return codeOf(error);
  }
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('base64url');
}
