/** What of a changed configuration can take effect in a running sidecar. Everything that is not named here waits. */

import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../config/schema.ts';

/**
 * Keys that every request takes anew from the set that judges it. All others are bound to sockets, connections, keys or
 * counters that were made at the start: to change them under live requests would be to change what they rely on.
 */
export const reloadable: ReadonlySet<string> = new Set([
  'routes',
  'credentials',
  'meters',
  'rules',
  'enforcement',
  'reason',
  'agents.claims',
  'agents.refuse',
  'audit.onFailure',
  'audit.inputs',
  'limits.headerCount',
  'limits.body',
  'limits.boundBody',
  'limits.heldBodies',
  'limits.heldBodyTimeout',
  'limits.agentConcurrency',
  'shutdown',
  'log',
]);

/** A key whose new value waits for a restart; `kept` is the value that runs, where it is one to be shown. */
export type KeptKey = { readonly key: string; readonly kept: string | null };

/** The wanted configuration, as far as it needs no restart; the rest is as it runs, and named. */
export function settle(
  running: Config,
  wanted: Config,
): { readonly config: Config; readonly kept: readonly KeptKey[] } {
  const kept: KeptKey[] = [];
  const config = merge(running, wanted, '', kept) as Config;
  return { config, kept };
}

/** For logs and people. */
export function keptText({ key, kept }: KeptKey): string {
  return `${key} needs a restart${kept === null ? '' : `; kept ${kept}`}`;
}

function merge(running: unknown, wanted: unknown, path: string, kept: KeptKey[]): unknown {
  if (reloadable.has(path)) return wanted;
  if (isDeepStrictEqual(running, wanted)) return running;
  if (isSection(running) && isSection(wanted)) {
    const names = new Set([...Object.keys(running), ...Object.keys(wanted)]);
    const merged = [...names].map((name) => {
      const inner = path === '' ? name : `${path}.${name}`;
      return [name, merge(running[name], wanted[name], inner, kept)] as const;
    });
    return Object.fromEntries(merged.filter(([, value]) => value !== undefined));
  }
  // The URL of a store may hold a password.
  const isShown = typeof running === 'string' && !path.startsWith('store.');
  kept.push({ key: path, kept: isShown ? running : null });
  return running;
}

function isSection(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
