/** The newest requests of an agent: what each weighed as evidence, and which were alarms. Replicas unite theirs. */

/** Alarms are counted among this many. */
export const recentMax = 200;
/** `sustained` is a mean over this many. */
export const sustainedWindow = 100;
/** Fewer than these count as so many, of which those missing say nothing: one odd request is no habit. */
const sustainedMin = 20;
/** Evidence is kept in steps of 1/512, the lowest bit telling an alarm. */
const evidenceSteps = 512;
const evidenceMax = 30;

export type Recent = {
  length: number;
  /** Place of the next entry. */
  next: number;
  alarms: number;
  /** Sum of the encoded evidence of the newest sustainedWindow entries. */
  sum: number;
  /** A ring of recentMax entries once they are so many; until then just long enough. */
  atMs: Float64Array;
  evidence: Int16Array;
};

const entriesAtFirst = 8;
const entryBytes = 8 + 2;
const noTimes = new Float64Array(0);
const noEvidence = new Int16Array(0);

export function createRecent(): Recent {
  return { length: 0, next: 0, alarms: 0, sum: 0, atMs: noTimes, evidence: noEvidence };
}

/** One entry: the evidence in nats, cut to ±30, and whether it was an alarm. */
export function encodeEvidence(evidence: number, isAlarm: boolean): number {
  const cut = Math.max(-evidenceMax, Math.min(evidenceMax, evidence));
  return (Math.round(cut * evidenceSteps) & ~1) | (isAlarm ? 1 : 0);
}

/** The evidence of an entry, in nats. */
export function decodeEvidence(encoded: number): number {
  return (encoded & ~1) / evidenceSteps;
}

/** Appends an entry, which is taken as the newest. */
export function addRecent(recent: Recent, atMs: number, encoded: number): void {
  if (recent.length === recent.atMs.length && recent.length < recentMax) grow(recent);
  const { evidence, next } = recent;
  if (recent.length === recentMax) recent.alarms -= (evidence[next] ?? 0) & 1;
  else recent.length++;
  if (recent.length > sustainedWindow) {
    recent.sum -= (evidence[(next - sustainedWindow + recentMax) % recentMax] ?? 0) & ~1;
  }
  recent.atMs[next] = atMs;
  evidence[next] = encoded;
  recent.alarms += encoded & 1;
  recent.sum += encoded & ~1;
  recent.next = (next + 1) % recentMax;
}

function grow(recent: Recent): void {
  const capacity = Math.min(recentMax, Math.max(entriesAtFirst, 2 * recent.length));
  const memory = new ArrayBuffer(capacity * entryBytes);
  const atMs = new Float64Array(memory, 0, capacity);
  const evidence = new Int16Array(memory, 8 * capacity, capacity);
  atMs.set(recent.atMs);
  evidence.set(recent.evidence);
  recent.atMs = atMs;
  recent.evidence = evidence;
}

/** Mean evidence over the newest requests, in nats. */
export function meanEvidence(recent: Recent): number {
  const length = Math.min(recent.length, sustainedWindow);
  return recent.sum / Math.max(length, sustainedMin) / evidenceSteps;
}

/**
 * Keeps the newest of both, in order of time: the same in whatever order they meet, and however often. What both hold is
 * one request, which one of them was told of; and so are two of the same millisecond that weigh the same.
 */
export function uniteRecent(into: Recent, from: Recent): void {
  if (from.length === 0) return;
  const left = recentEntries(into).sort(inOrder);
  const right = recentEntries(from).sort(inOrder);
  const united: Entry[] = [];
  for (let at = 0, other = 0; at < left.length || other < right.length; ) {
    const [mine, its] = [left[at], right[other]];
    const order = mine === undefined ? 1 : its === undefined ? -1 : inOrder(mine, its);
    const next = order <= 0 ? mine : its;
    if (next !== undefined) united.push(next);
    if (order <= 0) at++;
    if (order >= 0) other++;
  }
  clearRecent(into);
  for (const { atMs, encoded } of united.slice(-recentMax)) addRecent(into, atMs, encoded);
}

type Entry = { readonly atMs: number; readonly encoded: number };

/** What was judged at once, or told by another replica, may have been noted in another order. */
export function inOrder(left: Entry, right: Entry): number {
  return left.atMs - right.atMs || left.encoded - right.encoded;
}

/** Oldest first. */
export function recentEntries({ length, next, atMs, evidence }: Recent): Entry[] {
  return Array.from({ length }, (_, index) => {
    const at = (next - length + index + recentMax) % recentMax;
    return { atMs: atMs[at] ?? 0, encoded: evidence[at] ?? 0 };
  });
}

export function clearRecent(recent: Recent): void {
  recent.length = 0;
  recent.next = 0;
  recent.alarms = 0;
  recent.sum = 0;
}
