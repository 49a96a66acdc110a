/** JSON Web Signatures, mutated in their parts, and signed again or not. */

import type { SigningKey } from '../support/keys.ts';
import type { Random } from '../support/random.ts';
import { signJws } from '../support/tokens.ts';
import { mutateJson, mutateText, writeJson } from './mutate.ts';

export type JwsSeed = {
  readonly header: Readonly<Record<string, unknown>>;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly key: SigningKey;
};

const oddCompact = [
  '.',
  '..',
  '=',
  '==',
  '-',
  '_',
  '+',
  '/',
  'A',
  'eyJ',
  ' ',
  '\n',
  ',',
  '%2E',
  'é',
  'e30',
  'bnVsbA',
  'W10',
];

/** Most keep a good signature, for what has none is refused before anything else is looked at. */
export function writeJws(random: Random, seeds: readonly JwsSeed[], oddities?: readonly unknown[]): string {
  const seed = random.pick(seeds);
  const parts = { header: seed.header as unknown, payload: seed.payload as unknown };
  for (let count = random.pick([0, 1, 1, 1, 2, 4]); count > 0; count--) {
    const part = random.percent(35) ? 'header' : 'payload';
    parts[part] = mutateJson(random, parts[part], oddities);
  }
  const key = random.percent(95) ? seed.key : random.pick(seeds).key;
  const compact = signJws({ header: writeJson(random, parts.header), payload: writeJson(random, parts.payload), key });
  return random.percent(80) ? compact : mutateText(random, compact, oddCompact, signJws(seed));
}
