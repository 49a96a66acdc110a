/** What people do with baselines: look at them, say whether an agent is sound, and put back what was good. */

import type { DriftStore } from '../../store/drift-port.ts';
import { slotCount } from './action-table.ts';
import { createBaseline, setStanding, unit } from './baseline.ts';
import { decodeBaseline, encodeBaseline } from './codec.ts';
import { confirmCompromise, confirmSafe, freeze, reset, unfreeze } from './drift.ts';
import { countAlarms } from './judge.ts';
import { dayMs, snapshotName } from './keeper.ts';
import { type KeptAgent, voidAlarms, wake } from './kept-agent.ts';
import type { Running } from './stage.ts';
import { decodeStored } from './stored.ts';

/** What may be done to a baseline. */
export const baselineActions = [
  ...(['freeze', 'unfreeze', 'confirm-safe', 'confirm-compromise'] as const),
  ...(['reset', 'rollback', 'import'] as const),
];
export type BaselineAction = (typeof baselineActions)[number];

export type Request = {
  readonly action: BaselineAction;
  /** Of rollback: the newest snapshot from before then is put back. */
  readonly beforeMs?: number | undefined;
  /** Of import: what an export gave. */
  readonly baseline?: unknown;
};

type Problem = { readonly problem: string };

export type Operate = {
  /** Null for an agent that has no baseline. All reject with StoreFault. */
  readonly show: (agent: string) => Promise<object | null>;
  readonly export: (agent: string) => Promise<object | null>;
  /** Holds here at once, and on every other replica as soon as it is told. */
  readonly act: (agent: string, request: Request) => Promise<object | Problem | null>;
};

export type OperateOptions = {
  readonly running: Running;
  readonly store: DriftStore;
  readonly clock: () => number;
  readonly snapshotDays: number;
  /** Requests, and time since the first, before an agent is ready. */
  readonly warmUp: { readonly requests: number; readonly time: number };
};

const operationsShown = 20;
/** Names of operations in an export: beside the baseline they fit into one request to the admin API. */
const namesBytesMax = 16 * 1024;
const exportFormat = 'postern-baseline';
const exportVersion = 1;

export function createOperate({ running, store, clock, snapshotDays, warmUp }: OperateOptions): Operate {
  const { engine, keeper } = running;

  async function find(id: string): Promise<KeptAgent | null> {
    const kept = keeper.get(id);
    await keeper.read(kept);
    return kept.version === null && kept.agent.view.samples === 0 ? null : kept;
  }

  async function snapshotsOf(id: string): Promise<readonly string[]> {
    const today = Math.floor(clock() / dayMs);
    const days = Array.from({ length: snapshotDays + 1 }, (_, index) => today - index);
    const held = await store.has(days.map((day) => snapshotName(engine.nameOf(id), day)));
    return days.filter((_, index) => held[index]).map((day) => new Date(day * dayMs).toISOString().slice(0, 10));
  }

  async function view(kept: KeptAgent): Promise<object> {
    const { view: baseline, quarantine, id } = kept.agent;
    const { samples, weight, named, fresh, firstAtMs } = baseline;
    return {
      agent: id,
      standing: baseline.standing,
      since: timeOf(baseline.standingAtMs),
      ready: samples >= warmUp.requests && clock() - firstAtMs >= warmUp.time,
      samples,
      learned: Math.round(weight / unit),
      quarantined: Math.round((quarantine?.weight ?? 0) / unit),
      alarms: countAlarms(baseline),
      first_seen: timeOf(firstAtMs),
      last_seen: timeOf(baseline.lastAtMs),
      verdict: kept.verdictAtMs === 0 ? null : { verdict: kept.verdict, at: timeOf(kept.verdictAtMs) },
      new_destinations: named === 0 ? null : fraction(fresh / named),
      operations: operationsOf(kept).slice(0, operationsShown),
      latest_alarms: kept.alarms.list.toReversed().map(({ decision, atMs, explanation }) => ({
        decision,
        time: timeOf(atMs),
        ...explanation,
        top: explanation.top.map(({ usual, ...reason }) => ({ ...reason, usual: usual ?? [] })),
      })),
      generation: kept.generation,
      version: kept.version,
      snapshots: await snapshotsOf(id),
      stale: keeper.isStale(kept),
    };
  }

  /** Those taken most first, by name where one is known. */
  function operationsOf({ agent }: KeptAgent): readonly { readonly operation: string; readonly share: number }[] {
    const { actions, weight } = agent.view;
    const counted = [...actions.keys.entries()].flatMap(([slot, key]) => {
      const operation = engine.drift.nameOf(key);
      const count = actions.counts[slot] ?? 0;
      // An action of which nothing was learned is there for what came after it.
      return count === 0 || operation === undefined ? [] : [{ operation, share: fraction(count / weight) }];
    });
    return counted.toSorted((left, right) => right.share - left.share);
  }

  /** Of its operations those taken most, as far as there is room. */
  function namesOf(kept: KeptAgent): readonly string[] {
    const names: string[] = [];
    let bytes = 0;
    for (const { operation } of operationsOf(kept)) {
      bytes += Buffer.byteLength(JSON.stringify(operation)) + 1;
      if (bytes > namesBytesMax) break;
      names.push(operation);
    }
    return names;
  }

  /** Puts another baseline in the place of the one that there is, on every replica. */
  function replace(kept: KeptAgent, baseline: ReturnType<typeof createBaseline>): void {
    setStanding(baseline, 'learning', clock());
    kept.generation++;
    kept.verdict = 'none';
    kept.verdictAtMs = 0;
    forgetAlarms(kept, clock());
    reset(kept.agent, baseline);
    kept.agent.delta = null;
    wake(kept);
  }

  function forgetAlarms(kept: KeptAgent, sinceMs: number): void {
    voidAlarms(kept, sinceMs);
    kept.hasNewAlarms = true;
  }

  async function rollBack(kept: KeptAgent, beforeMs: number): Promise<Problem | null> {
    const latest = Math.floor(Math.min(beforeMs, clock()) / dayMs);
    for (let day = latest; day >= latest - snapshotDays - 1; day--) {
      const found = await store.read(snapshotName(engine.nameOf(kept.agent.id), day));
      const stored = found === null ? null : decodeStored(found.bytes);
      if (stored === null || stored.baseline.lastAtMs >= beforeMs) continue;
      replace(kept, stored.baseline);
      return null;
    }
    return { problem: 'There is no snapshot from before then.' };
  }

  function bringIn(kept: KeptAgent, given: unknown): Problem | null {
    const { format, version, fingerprint, operations, baseline } =
      typeof given === 'object' && given !== null ? asRecord(given) : {};
    if (format !== exportFormat || version !== exportVersion || typeof baseline !== 'string') {
      return { problem: 'Send what an export gave as the member baseline.' };
    }
    if (fingerprint !== engine.fingerprint) {
      return { problem: 'It was exported under another drift secret: its hashes mean nothing here.' };
    }
    const decoded = decodeBaseline(Buffer.from(baseline, 'base64'));
    if (decoded === null || !isNames(operations)) {
      return { problem: 'The baseline is damaged, or of another version of Postern.' };
    }
    engine.drift.recallNames(operations);
    replace(kept, decoded);
    return null;
  }

  /** Null where it was done. */
  async function perform(kept: KeptAgent, { action, beforeMs, baseline }: Request): Promise<Problem | null> {
    const { standing, standingAtMs } = kept.agent.view;
    // The latest decision holds on every replica, and clocks may differ.
    const nowMs = Math.max(clock(), standingAtMs + 1, kept.verdictAtMs + 1);
    const agent = wake(kept);
    if (action === 'freeze') {
      if (standing === 'latched') return { problem: 'It is latched: say confirm-safe or confirm-compromise first.' };
      freeze(agent, nowMs);
    } else if (action === 'unfreeze') {
      if (standing !== 'frozen') return { problem: `It is not frozen but ${standing}.` };
      unfreeze(agent, nowMs);
    } else if (action === 'confirm-safe' || action === 'confirm-compromise') {
      kept.verdict = action === 'confirm-safe' ? 'safe' : 'compromised';
      kept.verdictAtMs = nowMs;
      if (action === 'confirm-safe') confirmSafe(agent, nowMs);
      else confirmCompromise(agent, nowMs);
      forgetAlarms(kept, nowMs);
    } else if (action === 'reset') replace(kept, createBaseline());
    else if (action === 'rollback') return rollBack(kept, beforeMs ?? clock());
    else return bringIn(kept, baseline);
    return null;
  }

  return {
    async show(id) {
      const kept = await find(id);
      if (kept === null) return null;
      await keeper.readAlarms(kept);
      return view(kept);
    },
    async export(id) {
      const kept = await find(id);
      if (kept === null) return null;
      const baseline = Buffer.from(encodeBaseline(kept.agent.view)).toString('base64');
      const { fingerprint } = engine;
      const exported_at = new Date(clock()).toISOString();
      // A baseline knows operations by their hashes alone, and another store need not have met them.
      const operations = namesOf(kept);
      return {
        format: exportFormat,
        version: exportVersion,
        agent: id,
        exported_at,
        fingerprint,
        operations,
        baseline,
      };
    },
    async act(id, request) {
      // A baseline may be brought to an agent that has not called yet.
      const kept = (await find(id)) ?? (request.action === 'import' ? keeper.get(id) : null);
      if (kept === null) return null;
      const problem = await keeper.inTurn(kept, () => perform(kept, request));
      if (problem !== null) return problem;
      kept.isDirty = true;
      await keeper.write(kept);
      running.telling.changed(id);
      return view(kept);
    },
  };
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length <= slotCount && value.every((name) => typeof name === 'string');
}

const asRecord = (value: object) => value as Readonly<Record<string, unknown>>;
const timeOf = (ms: number) => (ms === 0 ? null : new Date(ms).toISOString());
const fraction = (value: number) => Math.round(value * 10_000) / 10_000;
