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
};

const format = 1;
const headBytes = 14;
const timeMax = 8.64e15;

export function encodeStored({ generation, verdict, verdictAtMs, baseline }: StoredBaseline): Uint8Array {
  const body = encodeBaseline(baseline);
  const bytes = new Uint8Array(headBytes + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, format);
  view.setUint32(1, generation);
  view.setUint8(5, verdicts.indexOf(verdict));
  view.setFloat64(6, verdictAtMs);
  bytes.set(body, headBytes);
  return bytes;
}

/** Null for bytes that are none of these. */
export function decodeStored(bytes: Uint8Array): StoredBaseline | null {
  if (bytes.length < headBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const verdict = verdicts[view.getUint8(5)];
  const verdictAtMs = view.getFloat64(6);
  const isTime = verdictAtMs >= 0 && verdictAtMs <= timeMax;
  if (view.getUint8(0) !== format || verdict === undefined || !isTime) return null;
  const baseline = decodeBaseline(bytes.subarray(headBytes));
  return baseline === null ? null : { generation: view.getUint32(1), verdict, verdictAtMs, baseline };
}
