/**
 * What was sent, and what the upstream saw of it. Judged by these alone, never by what Postern says: times are of this
 * process, in which agents and upstream both are, so they compare.
 */

/** What a call can be revoked by. */
export type Handles = { readonly agent: string; readonly jti: string; readonly jkt: string; readonly subject: string };
export type HandleKind = keyof Handles;

/** A call as it was sent. The same proof may be sent in several. */
export type SentCall = {
  readonly handles: Handles;
  readonly proofId: string;
  readonly isLimited: boolean;
  readonly sentMs: number;
};

export type Violation = {
  readonly kind: 'revoked' | 'replayed' | 'over-limit' | 'unknown';
  readonly text: string;
};

export type Ledger = {
  /** Notes a call that is about to be sent, and gives it an id for the upstream to see. */
  readonly send: (call: Omit<SentCall, 'sentMs'>) => string;
  /** The upstream has got it. */
  readonly arrive: (id: string) => void;
  /** The admin API has confirmed it: from this moment on no new call may pass. */
  readonly revoke: (kind: HandleKind, value: string) => void;
  readonly isRevoked: (handles: Handles) => boolean;
  readonly hasArrived: (proofId: string) => boolean;
  /** Redis has lost the counts: what was sent before does not count with what comes. */
  readonly loseCounts: () => void;
  readonly arrivals: () => number;
  readonly violations: readonly Violation[];
};

export type LedgerOptions = {
  readonly limit: number;
  readonly limitWindowMs: number;
  /** Calls and proofs are forgotten after it: longer than a proof is accepted and a call takes. */
  readonly keptMs: number;
};

const kinds = ['agent', 'jti', 'jkt', 'subject'] as const satisfies readonly HandleKind[];
/** Calls noted between two sweeps. */
const sweepEvery = 1000;

export function createLedger({ limit, limitWindowMs, keptMs }: LedgerOptions): Ledger {
  const calls = new Map<string, SentCall>();
  const arrivedProofs = new Map<string, { readonly first: string; readonly atMs: number }>();
  const revokedMs = new Map<string, number>();
  /** By agent: when the calls that passed the limited rule were sent, latest first. */
  const limited = new Map<string, number[]>();
  const violations: Violation[] = [];
  let sent = 0;
  let arrived = 0;
  let countsSinceMs = 0;

  const violate = (kind: Violation['kind'], id: string, call: SentCall | undefined, detail: string) =>
    violations.push({ kind, text: `call ${id} ${detail}: ${JSON.stringify(call ?? null)}` });

  function sweep(): void {
    const beforeMs = performance.now() - keptMs;
    for (const [id, { sentMs }] of calls) if (sentMs < beforeMs) calls.delete(id);
    for (const [proof, { atMs }] of arrivedProofs) if (atMs < beforeMs) arrivedProofs.delete(proof);
    for (const [agent, [latestMs = 0]] of limited) if (latestMs < beforeMs) limited.delete(agent);
  }

  /**
   * A call is judged after it was sent and before it arrives. So where limit + 1 calls were sent within one window before
   * the arrival of the last of them, all were judged within one window, and one too many has passed.
   */
  function countLimited(id: string, call: SentCall, nowMs: number): void {
    if (call.sentMs < countsSinceMs) return;
    const passed = limited.get(call.handles.agent) ?? [];
    limited.set(call.handles.agent, passed);
    passed.push(call.sentMs);
    passed.sort((a, b) => b - a);
    passed.length = Math.min(passed.length, limit + 1);
    const earliestMs = passed[limit];
    if (earliestMs !== undefined && nowMs - earliestMs < limitWindowMs) {
      violate('over-limit', id, call, `is number ${limit + 1} within ${Math.round(nowMs - earliestMs)} ms`);
    }
  }

  return {
    send(call) {
      sent += 1;
      if (sent % sweepEvery === 0) sweep();
      const id = `c${sent}`;
      calls.set(id, { ...call, sentMs: performance.now() });
      return id;
    },
    arrive(id) {
      arrived += 1;
      const nowMs = performance.now();
      const call = calls.get(id);
      if (call === undefined) return void violate('unknown', id, call, 'was never sent, or long ago');
      const revoked = kinds.find((kind) => (revokedMs.get(`${kind} ${call.handles[kind]}`) ?? nowMs) < call.sentMs);
      if (revoked !== undefined) {
        const sinceMs = call.sentMs - (revokedMs.get(`${revoked} ${call.handles[revoked]}`) ?? 0);
        violate('revoked', id, call, `was sent ${Math.round(sinceMs)} ms after its ${revoked} had been revoked`);
      }
      const other = arrivedProofs.get(call.proofId);
      if (other === undefined) arrivedProofs.set(call.proofId, { first: id, atMs: nowMs });
      else violate('replayed', id, call, `uses the proof of ${other.first} ${Math.round(nowMs - other.atMs)} ms later`);
      if (call.isLimited) countLimited(id, call, nowMs);
    },
    revoke(kind, value) {
      const key = `${kind} ${value}`;
      if (!revokedMs.has(key)) revokedMs.set(key, performance.now());
    },
    isRevoked: (handles) => kinds.some((kind) => revokedMs.has(`${kind} ${handles[kind]}`)),
    hasArrived: (proofId) => arrivedProofs.has(proofId),
    loseCounts() {
      countsSinceMs = performance.now();
      limited.clear();
    },
    arrivals: () => arrived,
    violations,
  };
}
