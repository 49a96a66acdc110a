/** A baseline, or a delta of one, as bytes: what the store holds and what an operator exports. */

import { type ActionTable, actionsMax, slotForAction } from './action-table.ts';
import { type Baseline, createBaseline, standings } from './baseline.ts';
import { closeEmptyTables, openTables } from './baseline-tables.ts';
import { type DestinationMemory, generationWords } from './destination-memory.ts';
import { openReader, openWriter, type Reader, type Writer } from './packed.ts';
import { addRecent, inOrder, recentEntries, recentMax } from './recent.ts';

const magic = 0x50_44_42;
/** Raised when the layout, or the meaning of a number in it, changes: older bytes are then refused, not misread. */
export const formatVersion = 3;

/** No baseline is longer. */
export const baselineBytesMax = 32 * 1024;
/** The epochs and generations that bytes may claim; a day is a generation, so this is some 2,700 years. */
const epochMax = 1_000_000;
const timeMax = 8.64e15;
const countMax = 0xffffffff;

export function encodeBaseline(baseline: Baseline): Uint8Array {
  const writer = openWriter();
  writer.number(magic);
  writer.number(formatVersion);
  for (const [name] of numbers) writer.number(baseline[name]);
  writer.number(standings.indexOf(baseline.standing));
  writeActions(writer, baseline.actions);
  writer.cells(baseline.pairs);
  writer.cells(baseline.histograms);
  writer.cells(baseline.hours);
  writer.cells(baseline.fields.named);
  writer.cells(baseline.fields.fresh);
  writeMemory(writer, baseline.destinations);
  writeMemory(writer, baseline.shown);
  const entries = recentEntries(baseline.recent).sort(inOrder);
  writer.number(entries.length);
  let before = 0;
  for (const { atMs, encoded } of entries) {
    writer.number(atMs - before);
    writer.number(encoded + 0x8000);
    before = atMs;
  }
  return writer.end();
}

/** Null for bytes that are no baseline of this version, whatever they are. */
export function decodeBaseline(bytes: Uint8Array): Baseline | null {
  if (bytes.length > baselineBytesMax) return null;
  const reader = openReader(bytes);
  if (reader.number(magic) !== magic || reader.number(formatVersion) !== formatVersion) return null;
  const baseline = createBaseline();
  for (const [name, max] of numbers) baseline[name] = reader.number(max);
  const standing = standings[reader.number(standings.length - 1)];
  if (standing === undefined) return null;
  baseline.standing = standing;
  openTables(baseline);
  readActions(reader, baseline.actions);
  reader.cells(baseline.pairs);
  reader.cells(baseline.histograms);
  reader.cells(baseline.hours);
  reader.cells(baseline.fields.named, 0xff);
  reader.cells(baseline.fields.fresh, 0xff);
  closeEmptyTables(baseline);
  readMemory(reader, baseline.destinations);
  readMemory(reader, baseline.shown);
  const length = reader.number(recentMax);
  let atMs = 0;
  for (let index = 0; index < length && reader.isSound(); index++) {
    atMs += reader.number(timeMax);
    if (atMs > timeMax) return null;
    addRecent(baseline.recent, atMs, reader.number(0xffff) - 0x8000);
  }
  return reader.isSound() && reader.isAtEnd() && isConsistent(baseline) ? baseline : null;
}

const numbers = [
  ['epoch', epochMax],
  ['epochAtMs', timeMax],
  ['calibrationEpoch', epochMax],
  ['firstAtMs', timeMax],
  ['lastAtMs', timeMax],
  ['standingAtMs', timeMax],
  ['samples', 2 ** 48],
  ['weight', 2 ** 48],
  ['newWeight', 2 ** 48],
  ['contributed', 2 ** 48],
  ['calibrated', 2 ** 48],
  ['group', countMax],
  ['groupAtMs', timeMax],
  ['groupGiven', 2 ** 48],
  ['named', countMax],
  ['fresh', countMax],
  ['strange', countMax],
  ['tainted', countMax],
] as const;

/** A part is never more than its whole: shares computed from them stay between 0 and 1. */
function isConsistent(baseline: Baseline): boolean {
  const { weight, newWeight, named, fresh, strange, tainted, fields } = baseline;
  if (newWeight > weight) return false;
  if (fresh > named || strange > fresh || tainted > fresh) return false;
  return fields.named.every((count, cell) => (fields.fresh[cell] ?? 0) <= count);
}

function writeActions(writer: Writer, table: ActionTable): void {
  const slots = Array.from(table.keys.keys()).filter((slot) => table.keys[slot] !== 0);
  // In order of key: equal tables give equal bytes, wherever their slots are.
  slots.sort((left, right) => (table.keys[left] ?? 0) - (table.keys[right] ?? 0));
  writer.number(slots.length);
  let before = 0;
  for (const slot of slots) {
    const key = table.keys[slot] ?? 0;
    writer.number(key - before);
    writer.number(table.counts[slot] ?? 0);
    writer.number(table.followers[slot] ?? 0);
    before = key;
  }
}

function readActions(reader: Reader, table: ActionTable): void {
  const length = reader.number(actionsMax);
  let key = 0;
  for (let index = 0; index < length && reader.isSound(); index++) {
    const step = reader.number(countMax);
    key += step;
    // Keys rise, or one would be met twice; and 0 marks a free slot.
    if (step === 0 || key > countMax) {
      reader.refuse();
      return;
    }
    const slot = slotForAction(table, key);
    table.counts[slot] = reader.number(countMax);
    table.followers[slot] = reader.number(0xffff);
  }
}

function writeMemory(writer: Writer, memory: DestinationMemory): void {
  writer.number(memory.generation);
  writer.number(memory.olderGeneration);
  writer.words(memory.newer);
  writer.words(memory.older);
}

function readMemory(reader: Reader, memory: DestinationMemory): void {
  memory.generation = reader.number(epochMax);
  memory.olderGeneration = reader.number(epochMax);
  if (memory.olderGeneration > memory.generation) reader.refuse();
  memory.newer = reader.words(generationWords) ?? memory.newer;
  memory.older = reader.words(generationWords) ?? memory.older;
}
