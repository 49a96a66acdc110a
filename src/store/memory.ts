/**
 * The store of a single process: the embedded default. It forgets everything when the process ends and shares nothing
 * with other replicas, so revocations and single use hold within this process only.
 */

import { StoreFault } from '../errors.ts';
import { createExpiryQueue } from './expiry-queue.ts';
import { createMemoryRevocations } from './memory-revocations.ts';
import { countHit, type MeterBuckets } from './meters.ts';
import type { CheckAnswer, CheckRequest, MeterHit, Store } from './port.ts';
import { vetCheckRequest, vetRevocation } from './vet.ts';

export type MemoryStoreOptions = {
  /** Milliseconds since the epoch. Judges how long a proof is remembered. */
  readonly clock: () => number;
  /** Proofs remembered at once, about 200 bytes each. A proof beyond it is a fault: none is forgotten early. */
  readonly maxProofs?: number;
  /** Meter and identity pairs counted at once, up to 700 bytes each. */
  readonly maxMeterKeys?: number;
  readonly maxRevocations?: number;
};

/** What the store holds right now, for metrics and for tests of its bounds. */
export type MemoryStoreSize = { readonly proofs: number; readonly meterKeys: number; readonly revocations: number };

export type MemoryStore = Store & { size(): MemoryStoreSize };

export function createMemoryStore(options: MemoryStoreOptions): MemoryStore {
  const { clock, maxProofs = 250_000, maxMeterKeys = 50_000, maxRevocations = 1_000_000 } = options;
  const proofs = createProofs(maxProofs);
  const meters = createMeters(maxMeterKeys);
  const revocations = createMemoryRevocations(maxRevocations);
  let isClosed = false;

  function assertOpen(): void {
    if (isClosed) throw new StoreFault('the memory store is closed');
  }

  return {
    async check(request: CheckRequest): Promise<CheckAnswer> {
      assertOpen();
      vetCheckRequest(request);
      const revokedIndex = revocations.firstRevoked(request.handles, request.issuedAtMs, request.nowMs);
      if (revokedIndex >= 0) return { revokedIndex, isReplay: false, counts: [], fallsInMs: [] };
      const nowMs = clock();
      const { singleUse } = request;
      if (singleUse !== null && proofs.isUsed(singleUse.key, nowMs)) {
        return { revokedIndex: -1, isReplay: true, counts: [], fallsInMs: [] };
      }
      // Room for everything is asked for before anything is taken: a fault uses up neither proof nor counter.
      meters.makeRoom(request.meters, request.nowMs);
      if (singleUse !== null) proofs.use(singleUse.key, nowMs, singleUse.lifetimeMs);
      return { revokedIndex: -1, isReplay: false, ...meters.count(request.meters, request.nowMs) };
    },
    async revoke(entry) {
      assertOpen();
      vetRevocation(entry);
      revocations.revoke(entry, clock());
    },
    async lift(id) {
      assertOpen();
      return revocations.lift(id, clock());
    },
    async revocations(page) {
      assertOpen();
      return revocations.list(page);
    },
    async changes(since) {
      assertOpen();
      return revocations.changes(since);
    },
    async copy() {
      assertOpen();
      return { entries: revocations.all(clock()), next: null };
    },
    async restore(entries) {
      assertOpen();
      // What is in this process is lost with it, and those who could give it back are gone too.
      return entries.filter(({ id }) => !revocations.has(id)).map(({ id }) => id);
    },
    async ping(): Promise<void> {
      assertOpen();
    },
    async close(): Promise<void> {
      isClosed = true;
    },
    size: () => ({ proofs: proofs.size(), meterKeys: meters.size(), revocations: revocations.size() }),
  };
}

function createProofs(maxProofs: number) {
  const expiries = new Map<string, number>();
  const queue = createExpiryQueue();

  function isUsed(key: string, nowMs: number): boolean {
    const expiresAtMs = expiries.get(key);
    return expiresAtMs !== undefined && expiresAtMs > nowMs;
  }

  /** The caller has asked isUsed first; nothing runs between the two. */
  function use(key: string, nowMs: number, lifetimeMs: number): void {
    queue.sweep(nowMs, (due) => {
      const expiresAtMs = expiries.get(due) ?? 0;
      if (expiresAtMs > nowMs) return expiresAtMs;
      expiries.delete(due);
      return null;
    });
    const isKnown = expiries.has(key);
    if (!isKnown && expiries.size >= maxProofs) {
      throw new StoreFault(
        `the memory store remembers ${maxProofs} proofs, all within their lifetime; raise its bound or use Redis`,
      );
    }
    expiries.set(key, nowMs + lifetimeMs);
    if (!isKnown) queue.add(key, nowMs + lifetimeMs);
  }

  return { isUsed, use, size: () => expiries.size };
}

function createMeters(maxMeterKeys: number) {
  const buckets = new Map<string, MeterBuckets>();
  const queue = createExpiryQueue();

  // The window is part of the key: a changed window cuts time differently, so it starts a count of its own.
  const keyOf = (hit: MeterHit) => `${hit.windowMs}:${hit.key}`;

  function makeRoom(hits: readonly MeterHit[], nowMs: number): void {
    queue.sweep(nowMs, (due) => {
      const expiresAtMs = buckets.get(due)?.expiresAtMs ?? 0;
      if (expiresAtMs > nowMs) return expiresAtMs;
      buckets.delete(due);
      return null;
    });
    if (buckets.size + hits.length <= maxMeterKeys) return;
    const added = new Set<string>();
    for (const hit of hits) if (hit.cost > 0 && !buckets.has(keyOf(hit))) added.add(keyOf(hit));
    if (buckets.size + added.size <= maxMeterKeys) return;
    throw new StoreFault(`the memory store counts ${maxMeterKeys} meter keys already; raise its bound or use Redis`);
  }

  function count(hits: readonly MeterHit[], nowMs: number): { counts: number[]; fallsInMs: number[] } {
    const counts: number[] = [];
    const fallsInMs: number[] = [];
    for (const hit of hits) {
      const key = keyOf(hit);
      let meter = buckets.get(key);
      const isNew = meter === undefined && hit.cost > 0;
      if (isNew) {
        meter = { indexes: [], counts: [], expiresAtMs: 0 };
        buckets.set(key, meter);
      }
      const reading = countHit(meter, hit, nowMs);
      if (isNew && meter !== undefined) queue.add(key, meter.expiresAtMs);
      counts.push(reading.count);
      fallsInMs.push(reading.fallsInMs);
    }
    return { counts, fallsInMs };
  }

  return { makeRoom, count, size: () => buckets.size };
}
