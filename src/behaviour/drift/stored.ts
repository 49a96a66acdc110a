/** A baseline as the store has it: with what people decided about it, which every replica is to follow. */

import type { Baseline } from './baseline.ts';
import { decodeBaseline, encodeBaseline } from './codec.ts';

export const verdicts = ['none', 'safe', 'compromised'] as const;
export type Verdict = (typeof verdicts)[number];

export type StoredBaseline = {
  /** Raised whenever the baseline was replaced by another: what was learned onto the one before is void. */
  readonly generation: number;
  /** What a person last said of it, and when; 0 for never. */
  readonly verdict: Verdict;
  readonly verdictAtMs: number;
  readonly baseline: Baseline;
  /** What was done while the agent was latched, or doubtful; null for nothing. It is learned or dropped as one with it. */
  readonly quarantine: Baseline | null;
};

const format = 2;
const headBytes = 18;
const timeMax = 8.64e15;

export function encodeStored(stored: StoredBaseline): Uint8Array {
  const { generation, verdict, verdictAtMs, baseline, quarantine } = stored;
  const body = encodeBaseline(baseline);
  const tail = quarantine === null ? nothing : encodeBaseline(quarantine);
  const bytes = new Uint8Array(headBytes + body.length + tail.length);
  const view = viewOf(bytes);
  view.setUint8(0, format);
  view.setUint32(1, generation);
  view.setUint8(5, verdicts.indexOf(verdict));
  view.setFloat64(6, verdictAtMs);
  view.setUint32(14, body.length);
  bytes.set(body, headBytes);
  bytes.set(tail, headBytes + body.length);
  return bytes;
}

const nothing = new Uint8Array(0);

/** The same without what waits, for a snapshot. */
export function withoutQuarantine(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(0, headBytes + viewOf(bytes).getUint32(14));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Null for bytes that are none of these. */
export function decodeStored(bytes: Uint8Array): StoredBaseline | null {
  if (bytes.length < headBytes) return null;
  const view = viewOf(bytes);
  const verdict = verdicts[view.getUint8(5)];
  const verdictAtMs = view.getFloat64(6);
  const isTime = verdictAtMs >= 0 && verdictAtMs <= timeMax;
  if (view.getUint8(0) !== format || verdict === undefined || !isTime) return null;
  const end = headBytes + view.getUint32(14);
  const baseline = end > bytes.length ? null : decodeBaseline(bytes.subarray(headBytes, end));
  const quarantine = end >= bytes.length ? null : decodeBaseline(bytes.subarray(end));
  if (baseline === null || (quarantine === null && end < bytes.length)) return null;
  return { generation: view.getUint32(1), verdict, verdictAtMs, baseline, quarantine };
}
