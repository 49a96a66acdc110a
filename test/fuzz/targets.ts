/** All that is fuzzed, by name. */

import { createConfigTarget } from './config-target.ts';
import type { FuzzTarget } from './fuzzer.ts';
import { createProofTarget } from './proof-target.ts';
import { createRequestTarget } from './request-target.ts';
import { createRulesTarget } from './rules-target.ts';
import { createTokenTarget } from './token-target.ts';

export const targets = {
  proof: createProofTarget,
  token: createTokenTarget,
  target: createRequestTarget,
  rules: createRulesTarget,
  config: createConfigTarget,
} as const satisfies Readonly<Record<string, () => FuzzTarget | Promise<FuzzTarget>>>;

export type TargetName = keyof typeof targets;
export const targetNames = Object.keys(targets) as readonly TargetName[];

export function isTargetName(name: string): name is TargetName {
  return Object.hasOwn(targets, name);
}

/** Where inputs are kept of which something did not hold. */
export const findsFolder = `${import.meta.dirname}/finds`;
