/** Scores of behaviour as rules see them. */

import type { DriftScores } from '../drift-scores.ts';
import { DriftRecord } from './variables.ts';

/** What a call that is not judged looks like: no history, so nothing to be far from. */
const unjudged = new DriftRecord();

/** `readsTop`: whether some rule asks why, which takes longer than everything else here. */
export function driftRecordOf(drift: DriftScores | undefined, readsTop: boolean): DriftRecord {
  if (drift === undefined) return unjudged;
  const record = new DriftRecord();
  record.score = drift.score;
  record.novelty = drift.novelty;
  record.sequence = drift.sequence;
  record.destination = drift.destination;
  record.tainted = drift.tainted;
  record.rate = drift.rate;
  record.sustained = drift.sustained;
  record.ready = drift.ready;
  record.samples = BigInt(drift.samples);
  record.alarms = BigInt(drift.alarms);
  record.peers = BigInt(drift.peers);
  record.latched = drift.latched;
  record.stale = drift.stale;
  if (readsTop) record.top = drift.top();
  return record;
}
